"""`ownerctl principal`: what is sent, and that a token is shown once and in one place."""

import csv
import io
import json
import stat

import grpc
import pytest
from fake_admin import token_text
from terminal import UUID4, table_of

from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2 as pb

FIRST = token_text(2)  # of a principal that is the fake's first change


def create(ctl, *options):
    code, _, err = ctl("principal", "create", "P", *options)
    assert code == 0, err


def test_a_principal_is_created_with_the_rights_that_the_options_say(ctl, fake):
    code, out, err = ctl(
        "principal",
        "create",
        "P",
        "--right",
        "dial",
        "--right",
        "view",
        "--lists",
        "cust*",
        "--lists",
        "vip",
        "--campaigns",
        "spring",
        "--hide-holders",
        "--certificate-name",
        "DNS:a.example",
        "--calls-per-s",
        100,
        "--records-per-s",
        5000,
        "--token-ttl",
        "90d",
        "--reason",
        "launch",
    )
    assert code == 0
    request = fake.last(pb.CreatePrincipalRequest)
    patterns = {"lists": ["cust*", "vip"], "campaigns": ["spring"]}
    assert request.principal == pb.Principal(
        principal_id="P",
        grants=[{"right": 1, **patterns}, {"right": 2, **patterns}],
        hide_holders=True,
        certificate_names=["DNS:a.example"],
        calls_per_s=100,
        records_per_s=5000,
    )
    assert request.token_ttl.seconds == 90 * 86_400 and request.reason == "launch"
    assert UUID4.fullmatch(request.request_id)
    assert out == FIRST + "\n"  # alone, for $(...)
    assert "Created principal P" in err and "only now" in err and FIRST not in err


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_a_program_finds_the_token_in_the_answer(ctl, form):
    code, out, err = ctl("principal", "create", "P", "--right", "dial", "-o", form)
    assert (code, err) == (0, "")
    row = next(csv.DictReader(io.StringIO(out))) if form == "csv" else json.loads(out)
    assert row["token"] == FIRST and row["principal_id"] == "P"


def test_a_token_is_saved_in_a_new_file_that_only_its_owner_reads(ctl, tmp_path):
    file = tmp_path / "token"
    code, out, err = ctl("principal", "create", "P", "--save-token", file)
    assert (code, err) == (0, "")
    assert str(file) in out and FIRST not in out
    assert file.read_text() == FIRST + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = tmp_path / "again"
    row = json.loads(ctl("principal", "rotate", "P", "--save-token", again, "-o", "json")[1])
    assert row["token"] is None and row["token_file"] == str(again)
    assert again.read_text() == token_text(3) + "\n"


def test_a_file_that_exists_is_left_alone_and_no_token_is_made(ctl, fake, tmp_path):
    file = tmp_path / "token"
    file.write_text("precious")
    code, out, err = ctl("principal", "create", "P", "--save-token", file)
    assert (code, out) == (Exit.OUTPUT_FILE, "") and str(file) in err
    assert file.read_text() == "precious" and not fake.requests
    assert ctl("principal", "create", "P", "--save-token", tmp_path / "no" / "f")[0] == 14
    assert not fake.requests


def test_a_file_is_gone_where_no_token_came(ctl, fake, tmp_path):
    fake.fail_next("CreatePrincipal", grpc.StatusCode.PERMISSION_DENIED, "needs admin")
    code, _, err = ctl("principal", "create", "P", "--save-token", tmp_path / "token")
    assert (code, err) == (Exit.PERMISSION, "ownerctl: needs admin\n")
    assert not (tmp_path / "token").exists()


def test_a_token_that_was_lost_on_the_way_is_told(ctl, fake, tmp_path):
    fake.token_is_lost = True
    code, out, err = ctl("principal", "create", "P", "--save-token", tmp_path / "token")
    assert (code, out) == (Exit.UNAVAILABLE, "")
    assert "ownerctl principal rotate P" in err and err.count("\n") == 1
    assert not (tmp_path / "token").exists()


def test_a_principal_without_a_token_is_shown(ctl, fake):
    code, out, err = ctl(
        "principal", "create", "P", "--no-token", "--certificate-name", "DNS:a.example"
    )
    assert (code, err) == (0, "") and fake.last(pb.CreatePrincipalRequest).no_token
    assert ["Tokens", "none: it signs in with a certificate"] in table_of(out)
    assert "without a token" in out


def test_it_is_shown_with_its_rights_and_the_names_of_its_tokens(ctl):
    create(ctl, "--right", "dial", "--lists", "cust*", "--campaigns", "spring", "--token-ttl", "1d")
    _, out, _ = ctl("principal", "show", "P")
    assert ["May", "dial on lists cust* for campaigns spring"] in table_of(out)
    token = "0000000000000002, of 2027-01-15 08:00:00, until 2027-01-16 08:00:00"
    assert ["Tokens", token] in table_of(out)
    shown = json.loads(ctl("principal", "show", "P", "-o", "json")[1])
    assert shown["grants"] == [{"right": "dial", "lists": ["cust*"], "campaigns": ["spring"]}]
    assert shown["tokens"] == [
        {
            "token_id": "0000000000000002",
            "create_time": "2027-01-15T08:00:00Z",
            "expire_time": "2027-01-16T08:00:00Z",
        }
    ]
    assert shown["calls_per_s"] is None and shown["hide_holders"] is False
    assert FIRST not in out + json.dumps(shown)


def test_principals_are_listed_over_all_pages_in_every_form(ctl, monkeypatch):
    monkeypatch.setattr("ownerd.ctl.connect.channel.PAGE_SIZE", 2)
    for name in "abcde":
        ctl("principal", "create", name, "--right", "view")
    listed = json.loads(ctl("principal", "list", "-o", "json")[1])["principals"]
    assert [row["principal_id"] for row in listed] == list("abcde")
    rows = list(csv.DictReader(io.StringIO(ctl("principal", "ls", "-o", "csv")[1])))
    assert rows[0]["may"] == "view" and rows[0]["token_ids"] == "0000000000000002"
    lines = ctl("principal", "ls", "-o", "jsonl")[1].splitlines()
    assert [json.loads(line)["principal_id"] for line in lines] == list("abcde")
    assert table_of(ctl("principal", "ls")[1])[1][:3] == ["a", "view", "none"]


@pytest.mark.parametrize(
    ("options", "path", "value"),
    [
        (["--hide-holders"], "hide_holders", {"hide_holders": True}),
        (["--show-holders"], "hide_holders", {}),
        (["--certificate-name", "DNS:b"], "certificate_names", {"certificate_names": ["DNS:b"]}),
        (["--no-certificate-names"], "certificate_names", {}),
        (["--calls-per-s", "9"], "calls_per_s", {"calls_per_s": 9}),
        (["--records-per-s", "0"], "records_per_s", {}),
    ],
)
def test_set_changes_only_what_is_named(ctl, fake, options, path, value):
    create(ctl, "--right", "dial", "--hide-holders", "--certificate-name", "DNS:a")
    code, _, err = ctl("principal", "set", "P", *options, "--yes")
    assert (code, err) == (0, "")
    request = fake.last(pb.UpdatePrincipalRequest)
    assert list(request.update_mask.paths) == [path]
    assert request.principal == pb.Principal(principal_id="P", **value)


def test_set_without_a_setting_or_with_a_stale_etag_changes_nothing(ctl, fake):
    create(ctl)
    assert ctl("principal", "set", "P")[0] == Exit.USAGE
    assert ctl("principal", "set", "P", "--calls-per-s", 1, "--etag", "old")[0] == Exit.ABORTED
    assert fake.principals["P"].calls_per_s == 0


def may(fake):
    return [(g.right, list(g.lists), list(g.campaigns)) for g in fake.principals["P"].grants]


def test_rights_are_added_to_those_that_are_there_and_taken_away(ctl, fake):
    create(ctl, "--right", "dial", "--campaigns", "spring")
    assert ctl("principal", "grant", "P", "--right", "dial", "--campaigns", "summer")[0] == 0
    assert ctl("principal", "grant", "P", "--right", "view", "--right", "admin")[0] == 0
    spring, summer = (1, [], ["spring"]), (1, [], ["summer"])
    assert may(fake) == [spring, summer, (2, [], []), (5, [], [])]
    assert fake.last(pb.UpdatePrincipalRequest).etag  # what another grants meanwhile is not lost
    _, out, _ = ctl("principal", "grant", "P", "--right", "view")
    assert "has that already" in out
    assert (
        ctl("principal", "ungrant", "P", "--yes", "--right", "dial", "--campaigns", "summer")[0]
        == 0
    )
    assert may(fake) == [spring, (2, [], []), (5, [], [])]
    assert ctl("principal", "ungrant", "P", "--right", "dial", "--right", "admin", "--yes")[0] == 0
    assert may(fake) == [(2, [], [])]


@pytest.mark.parametrize(
    "options", [["--right", "configure"], ["--right", "dial", "--lists", "spring"]]
)
def test_a_grant_that_is_not_there_cannot_be_taken_away(ctl, fake, options):
    create(ctl, "--right", "dial", "--campaigns", "spring")
    code, _, err = ctl("principal", "ungrant", "P", *options)
    assert code == Exit.NOT_FOUND and "dial for campaigns spring" in err
    assert may(fake) == [(1, [], ["spring"])]


def test_a_grant_on_top_of_anothers_change_is_refused(ctl, fake):
    create(ctl)
    fake.fail_next("UpdatePrincipal", grpc.StatusCode.ABORTED, "etag: changed")
    assert ctl("principal", "grant", "P", "--right", "dial")[0] == Exit.ABORTED


@pytest.mark.parametrize(
    "words",
    [
        ["create", "P", "--right", "everything"],
        ["create", "P", "--right", "admin", "--lists", "L"],
        ["create", "P", "--no-token", "--save-token", "f"],
        ["create", "P", "--no-token", "--token-ttl", "1d"],
        ["create", "P", "--calls-per-s", "-1"],
        ["create", "P", "--token", "x"],
        ["set", "P", "--certificate-name", "DNS:a", "--no-certificate-names"],
        ["grant", "P"],
        ["ungrant", "P"],
        ["revoke", "P"],
        ["revoke", "P", "00", "--all"],
        ["can", "P"],
        ["can", "P", "fly"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(ctl, fake, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    fake.principals["P"] = pb.Principal(principal_id="P")
    code, out, err = ctl("principal", *words)
    assert (code, out) == (Exit.USAGE, "") and err.count("\n") == 1
    assert not any(hasattr(request, "request_id") for request in fake.requests)
    assert not list(tmp_path.iterdir())


def test_two_tokens_are_valid_until_the_old_one_is_ended(ctl, fake):
    create(ctl)
    code, out, err = ctl("principal", "rotate", "P", "--token-ttl", "30d", "--reason", "monthly")
    assert (code, out) == (0, token_text(3) + "\n") and "only now" in err
    assert fake.last(pb.RotateTokenRequest).token_ttl.seconds == 30 * 86_400
    ended = ctl("principal", "revoke", "P", "--old", "--yes")
    assert ended[:2] == (0, "Ended 1 token of principal P.\n")
    assert [token.token_id for token in fake.principals["P"].tokens] == [f"{3:016x}"]
    asked = len(fake.requests)
    assert ctl("principal", "revoke", "P", "--old")[:2] == (0, "Ended 0 tokens of principal P.\n")
    assert len(fake.requests) == asked + 1  # a look


def test_tokens_are_ended_by_id_or_all(ctl, fake):
    create(ctl)
    ctl("principal", "rotate", "P")
    row = json.loads(ctl("principal", "revoke", "P", f"{2:016x}", "--yes", "-o", "json")[1])
    assert row["revoked_count"] == 1
    assert ctl("principal", "revoke", "P", "--all", "--yes", "--reason", "leak")[0] == 0
    assert fake.last(pb.RevokeTokensRequest).reason == "leak"
    assert not fake.principals["P"].tokens


def test_a_principal_is_deleted(ctl, fake):
    create(ctl)
    assert ctl("principal", "delete", "P", "--yes")[:2] == (0, "Deleted principal P.\n")
    assert ctl("principal", "delete", "P")[0] == Exit.NOT_FOUND
    assert not fake.principals
