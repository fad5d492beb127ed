"""A real server, set up by a file: applied, compared, printed, pruned; and who one is to it."""

import io
import json
import sys

import pytest
import yaml
from harness import ServerProcess
from terminal import answer_with

from ownerd.client import Client
from ownerd.ctl import cli
from ownerd.ctl.terminal.exits import Exit

FILE = """
settings: {unknown_wrap_up_code: attempt}
wrapup_codes: {Gone: Busy}
lists:
  west: {shares_ownership_with: customers}
  customers: {enabled: yes, duration: 2d3h}
campaigns: {spring: Spring Renewals}
principals:
  dialer:
    grants: [{right: dial, lists: [customers], campaigns: [spring]}]
  machine: {grants: [dial], certificate_names: ["DNS:m"]}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("apply") / "data", auth=True) as process:
        yield process


@pytest.fixture
def ctl(server, capsys, monkeypatch):
    """Run ownerctl against the server; `as_` is a token in the place of the administrator's."""
    monkeypatch.setenv("OWNERD_SERVER", server.admin_address)

    def run(*arguments, as_=None, stdin=None):
        monkeypatch.setenv("OWNERD_TOKEN", as_ or server.token)
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def applied(ctl, tmp_path):
    """The file, as the server is; and a directory with the tokens that this made."""
    file = tmp_path / "ownerd.yaml"
    file.write_text(FILE)
    code, _, err = ctl("apply", "-f", file, "--yes", "--prune", "--save-tokens", tmp_path / "t")
    assert code == 0, err
    return file


def test_a_file_is_applied_once_and_then_there_is_nothing_to_do(ctl, applied, tmp_path):
    code, out, _ = ctl("apply", "-f", applied, "--prune")
    assert (code, out.startswith("Nothing to change")) == (0, True)
    assert ctl("diff", "-f", applied, "--prune")[0] == 0
    shown = json.loads(ctl("get-config", "lists", "principals", "-o", "json")[1])
    assert shown["lists"] == {
        "customers": {
            "enabled": True,
            "duration": "2d3h",
            "renewal_window": "default",
            "reservation_ttl": "15m",
        },
        "west": {"shares_ownership_with": "customers"},
    }
    assert set(shown["principals"]) == {"admin", "dialer", "machine"}, "whoever applies stays"
    everything = ctl("get-config")[1]
    assert yaml.safe_load(everything)["campaigns"] == {"spring": {"name": "Spring Renewals"}}
    assert ctl("diff", "-f", "-", "--prune", stdin=everything)[0] == 0


def test_only_what_is_new_and_has_no_certificate_gets_a_token(ctl, applied, tmp_path):
    ctl("apply", "-f", "-", "--save-tokens", tmp_path / "new", stdin="principals: {a/../b: {}}")
    (path,) = (tmp_path / "new").iterdir()
    assert path.name == "a%2F..%2Fb.token" and path.stat().st_mode & 0o777 == 0o600
    assert "a/../b" in ctl("whoami", as_=path.read_text().strip())[1]


def test_a_difference_is_shown_and_changes_nothing(ctl, applied):
    changed = FILE.replace("2d3h", "1h").replace("Spring Renewals", "Summer")
    code, out, _ = ctl("diff", "-f", "-", stdin=changed)
    assert (code, out.splitlines()) == (
        Exit.DECLINED,
        [
            "~ list customers",
            "  - duration: 2d3h",
            "  + duration: 1h",
            "~ campaign spring",
            "  - name: Spring Renewals",
            "  + name: Summer",
        ],
    )
    assert ctl("apply", "--dry-run", "-f", "-", stdin=changed)[:2] == (0, out)
    rows = json.loads(ctl("diff", "-f", "-", "-o", "json", stdin=changed)[1])["changes"]
    assert [(row["action"], row["id"], row["after"]) for row in rows] == [
        ("update", "customers", {"duration": "1h"}),
        ("update", "spring", {"name": "Summer"}),
    ]
    assert ctl("diff", "-f", applied)[0] == 0


def test_what_ends_ownership_or_rights_is_counted_and_asked_for(ctl, applied, server, monkeypatch):
    with Client(server.dial_address, token=server.token) as client:
        client.report("customers", "1", "spring", "Busy")
    less = applied.with_name("less.yaml")
    less.write_text("lists: {}\nprincipals: {dialer: {grants: []}, machine: {}}\n")
    answer_with(monkeypatch, "n\n")
    code, out, err = ctl("apply", "-f", less, "--prune")
    assert (code, out) == (Exit.DECLINED, "")
    assert "delete 2 things" in err and "1 ownership of list customers" in err
    assert "1 grant of principal dialer" in err and "- list west" in err
    shorter = applied.with_name("shorter.yaml")
    shorter.write_text("lists: {customers: {duration: 1s}}")
    answer_with(monkeypatch, "n\n")
    assert "end 1 ownership sooner of list customers" in ctl("apply", "-f", shorter)[2]
    code, _, err = ctl("apply", "-f", "-", stdin="lists: {customers: {duration: 1s}}")
    assert code == Exit.USAGE and "--yes" in err
    assert ctl("diff", "-f", applied, "--prune")[0] == 0
    answer_with(monkeypatch, "y\n")
    assert ctl("apply", "-f", less, "--prune")[0] == 0
    assert yaml.safe_load(ctl("get-config", "lists")[1]) == {"lists": {}}


def test_what_the_server_refuses_is_told_with_its_place(ctl, applied):
    text = "campaigns: {new: New}\nwrapup_codes:\n  Odd: {category: Unheard-of}\n"
    code, _, err = ctl("apply", "-f", "-", stdin=text)
    assert code == Exit.INVALID_ARGUMENT and err.startswith("ownerctl: stdin:3:3: wrap-up code Odd")


def test_a_file_that_is_wrong_is_refused_whole(ctl, tmp_path):
    code, out, err = ctl("apply", "-f", "-", stdin="lists: {a: {on: 1}, b: {off: 2}}")
    assert (code, out) == (Exit.INPUT_FILE, "")
    assert [line.split()[0] for line in err.splitlines()] == [
        "ownerctl:",
        "stdin:1:13:",
        "stdin:1:25:",
    ]
    assert ctl("apply", "-f", tmp_path / "none")[0] == Exit.INPUT_FILE
    assert ctl("get-config", "-o", "csv")[0] == Exit.USAGE


def test_one_knows_who_one_is_and_what_one_may(ctl, applied):
    token = ctl("principal", "rotate", "dialer", "--yes")[1].strip()
    shown = json.loads(ctl("whoami", "-o", "json", as_=token)[1])
    assert (shown["principal_id"], shown["asks_nobody"]) == ("dialer", False)
    assert shown["by"].removeprefix("token ") in {each["token_id"] for each in shown["tokens"]}
    on = ("--list", "customers")
    assert ctl("can-i", "dial", *on, "--campaign", "spring", as_=token)[0] == 0
    code, out, _ = ctl("can-i", "dial", *on, "--campaign", "other", as_=token)
    assert code == Exit.DECLINED and out.startswith("no: 'dialer'")
    assert ctl("principal", "can", "admin", "view", as_=token)[0] == Exit.PERMISSION


def test_ones_own_token_is_rotated_in_its_file_and_lasts_no_longer(ctl, applied, tmp_path):
    file = tmp_path / "own.token"
    ctl("principal", "create", "own", "--token-ttl", "1h", "--save-token", file)
    first = file.read_text()
    longer = ("principal", "rotate", "--token-ttl", "2h", "--token-file", file)
    code, _, err = ctl(*longer)
    assert code == Exit.INVALID_ARGUMENT and "3600s" in err
    code, out, err = ctl("principal", "rotate", "--in-place", "--token-file", file)
    assert code == 0 and "own" in out, err
    assert file.read_text() != first and file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("own.*")] == ["own.token"]
    shown = json.loads(ctl("whoami", "-o", "json", "--token-file", file)[1])
    ends = [token["expire_time"] for token in shown["tokens"]]
    assert len(ends) == 2 and None not in ends
    assert ctl("principal", "rotate", "--in-place")[0] == Exit.USAGE
    ctl("principal", "delete", "own", "--yes")
    assert ctl("whoami", "--token-file", file)[0] == Exit.PERMISSION
