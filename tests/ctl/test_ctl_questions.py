"""What ends holds or somebody's access asks first and says how many; nothing else asks."""

import io

import pytest
from fake_admin import own
from terminal import answer_with

from ownerd.ctl.terminal.exits import Exit
from ownerd.v1 import admin_pb2 as pb

CHANGES = (
    pb.ReleaseOwnershipRequest,
    pb.ReleaseRecordsRequest,
    pb.DeleteContactListRequest,
    pb.UpdateOwnershipPolicyRequest,
    pb.SignalCampaignRequest,
    pb.RevokeTokensRequest,
    pb.DeletePrincipalRequest,
    pb.UpdatePrincipalRequest,
    pb.RotateTokenRequest,
    pb.ImportOwnershipRequest,
)
# What is done, and what the question says of how many.
ENDING = [
    ("release L --all", "3 records"),
    ("release L --campaign C1", "3 records"),
    ("release L --record r00000 --record none", "1 record"),
    ("list delete L --force", "3 ownerships and 2 reservations"),
    ("campaign stop C1 --end-reservations", "2 dials"),
    ("campaign stop C1 --list L --end-reservations", "2 dials"),
    ("policy set L --duration 1h", "4 owned records"),
    ("principal revoke P --all", "2 tokens"),
    ("principal revoke P --old", "1 token"),
    ("principal revoke P 0000000000000003", "1 token"),
    ("principal delete P", "2 tokens and 2 certificate names"),
    ("principal ungrant P --right dial", "1 grant"),
    ("principal set P --no-certificate-names", "2 certificate names"),
    ("principal set P --certificate-name DNS:a", "1 certificate name"),
    ("principal rotate P", "1 token"),
    ("import L rows.csv --on-conflict overwrite", "2 records"),
]


@pytest.fixture
def house(ctl, fake, tmp_path, monkeypatch):
    """A list with three owned records and two dials, and a principal with two tokens.

    And a file that takes two of the records, and gives one to its owner.
    """
    monkeypatch.chdir(tmp_path)
    names = "i3_identity,i3_campaignownerid,i3_campaignownerexpiration"
    tmp_path.joinpath("rows.csv").write_text(f"{names}\nr00000,C2,\nr00001,C2,\nr00002,C1,\n")
    ctl("list", "create", "L")
    own(fake, "L", 3)
    fake.reserved_count, fake.shortened_count = 2, 4
    names = ["--certificate-name", "DNS:a", "--certificate-name", "DNS:b"]
    ctl("principal", "create", "P", "--right", "dial", "--right", "view", *names)
    ctl("principal", "rotate", "P")
    fake.requests.clear()
    return fake


def changes(fake):
    """Return what was sent to change something."""
    return [
        request
        for request in fake.requests
        if isinstance(request, CHANGES) and not getattr(request, "dry_run", False)
    ]


@pytest.mark.parametrize(("words", "count"), ENDING, ids=[words for words, _ in ENDING])
def test_what_ends_something_says_how_many_and_takes_no_for_an_answer(
    ctl, house, monkeypatch, words, count
):
    answer_with(monkeypatch, "n\n")
    code, out, err = ctl(*words.split())
    assert (code, out) == (Exit.DECLINED, "")
    assert count in err and "[y/N]" in err and "nothing was changed" in err
    assert not changes(house)


@pytest.mark.parametrize(("words", "_count"), ENDING, ids=[words for words, _ in ENDING])
def test_what_ends_something_needs_yes_where_nobody_can_be_asked(
    ctl, house, monkeypatch, words, _count
):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, out, err = ctl(*words.split())
    assert (code, out) == (Exit.USAGE, "")
    assert "--yes" in err and err.count("\n") == 1
    assert not changes(house)
    assert ctl(*words.split(), "--yes")[0] == 0
    assert len(changes(house)) == 1


@pytest.mark.parametrize(
    "words",
    [
        "campaign stop C1",
        "campaign stop C1 --list L",
        "campaign recycle C1",
        "campaign reset C1",
        "list delete L",
        "policy set L --disable",
        "policy set L --reservation-ttl 1s",
        "policy set L --renewal-window 0s",
        "principal set P --calls-per-s 1",
        "principal set P --certificate-name DNS:a --certificate-name DNS:b",
        "principal grant P --right configure",
        "wrapup delete Busy",
        "import L rows.csv --on-conflict skip",
        "import L rows.csv --on-conflict overwrite --dry-run",
    ],
)
def test_what_ends_nothing_does_not_ask(ctl, house, monkeypatch, words):
    house.codes["Busy"] = pb.WrapUpCode(code="Busy")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, _, err = ctl(*words.split())
    assert "--yes" not in err
    assert code == (Exit.FAILED_PRECONDITION if words == "list delete L" else 0)


def test_a_policy_change_that_shortens_nothing_does_not_ask(ctl, house, monkeypatch):
    house.shortened_count = 0
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert ctl("policy", "set", "L", "--duration", "9d")[0] == 0
    assert ctl("policy", "set", "L", "--no-expiration")[0] == 0


def test_r16_a_plain_stop_ends_nothing_and_says_so(ctl, house):
    code, out, _ = ctl("campaign", "stop", "C1", "--reason", "lunch")
    assert (code, out) == (0, "Campaign C1 stopped; nothing else changed (all lists).\n")
    assert not house.last(pb.SignalCampaignRequest).end_reservations
    code, out, _ = ctl("campaign", "stop", "C1", "--end-reservations", "--yes")
    assert (code, out) == (0, "Campaign C1 stopped; 2 reservations ended (all lists).\n")


def test_a_supervisor_without_view_is_asked_about_a_single_record(ctl, house, monkeypatch):
    answer_with(monkeypatch, "y\n")
    code, out, err = ctl("release", "L", "--record", "r00000")
    assert (code, out) == (0, "Released 1 record of list L.\n") and "r00000" in err
    assert {type(request) for request in house.requests} == {pb.ReleaseRecordsRequest}
