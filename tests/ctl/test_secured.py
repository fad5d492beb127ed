"""ownerctl and the client against a real server with TLS that asks everybody who they are."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ServerProcess, poll
from tls_files import Authority, Files

from ownerd import client as client_package
from ownerd.client import Client, Grant, Right
from ownerd.ctl import cli
from ownerd.ctl.terminal.exits import Exit

Run = Callable[..., tuple[int, str, str]]


class Secured(ServerProcess):
    """A server with TLS and authentication; `ca` is the file to trust it by."""

    def __init__(self, directory: Path) -> None:
        authority = Authority()
        files = Files(directory / "tls", authority.issue("127.0.0.1"))
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(authority.pem)
        super().__init__(directory / "data", *files.arguments, auth=True)

    @property
    def token_file(self) -> Path:
        return self.directory / "admin.token"

    def client(self, **who: Any) -> Client:
        return Client(self.dial_address, admin_target=self.admin_address, ca_file=self.ca, **who)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with Secured(tmp_path_factory.mktemp("secured")) as server:
        yield server


@pytest.fixture(scope="module")
def root(secured: Secured) -> Iterator[Client]:
    """A client of the first administrator."""
    with secured.client(token_file=secured.token_file) as client:
        yield client


@pytest.fixture
def ctl(
    secured: Secured, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run ownerctl as nobody; returns exit code, stdout and stderr."""
    monkeypatch.setenv("OWNERD_SERVER", secured.admin_address)
    monkeypatch.setenv("OWNERD_DIAL", secured.dial_address)
    monkeypatch.setenv("OWNERD_CA", str(secured.ca))

    def run(*arguments: Any) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def admin(ctl: Run, secured: Secured, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ownerctl as the first administrator."""
    monkeypatch.setenv("OWNERD_TOKEN_FILE", str(secured.token_file))
    return ctl


@pytest.fixture
def opened(root: Client, unique: str) -> str:
    """A list that protects its records."""
    root.create_list(unique, client_package.Policy(enabled=True))
    return unique


def test_nobody_learns_anything_and_is_told_where_a_token_is(ctl: Run, secured: Secured) -> None:
    code, out, err = ctl("status")
    assert (code, out) == (Exit.PERMISSION, "") and "admin.token" in err and err.count("\n") == 1
    wrong = secured.directory.parent / "wrong"
    wrong.write_text("ownerd_" + "x" * 43)
    code, _, err = ctl("status", "--token-file", wrong)
    assert code == Exit.PERMISSION and "not valid" in err and "ownerd_" not in err


def test_the_first_administrator_does_everything_that_ownerctl_can(
    admin: Run, opened: str, tmp_path: Path
) -> None:
    assert admin("campaign", "set", opened, "--name", "N")[0] == 0
    for words in (
        ["status"],
        ["list", "ls"],
        ["owners", opened],
        ["record", "ls", opened],
        ["export", opened, tmp_path / "e.csv"],
        ["import", opened, tmp_path / "e.csv"],
        ["release", opened, "--all", "--yes"],
        ["audit"],
        ["wrapup", "ls"],
        ["principal", "ls"],
        ["record", "show", opened, "1"],
    ):
        code, _, err = admin(*words)
        assert (code, err) == (0, ""), words


def test_a_supervisor_releases_and_does_not_configure(
    admin: Run, opened: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    code, _, err = admin(
        "principal",
        "create",
        opened,
        "--right",
        "view",
        "--right",
        "ownership_control",
        "--lists",
        opened,
        "--save-token",
        token,
    )
    assert code == 0, err
    assert admin("release", opened, "--all", "--yes", "--token-file", token)[0] == 0
    code, _, err = admin("policy", "set", opened, "--disable", "--token-file", token)
    assert code == Exit.PERMISSION and "configure" in err
    assert admin("owners", opened + "x", "--token-file", token)[0] == Exit.PERMISSION
    asked = ("principal", "can", opened, "ownership_control", "--list")
    assert admin(*asked, opened)[0] == 0
    code, out, _ = admin(*asked, opened + "x")
    assert code == 1 and out.startswith("no: ")
    shown = json.loads(admin("principal", "show", opened, "-o", "json")[1])
    assert [grant["right"] for grant in shown["grants"]] == ["view", "ownership_control"]
    assert shown["grants"][0]["lists"] == [opened] and len(shown["tokens"]) == 1


def test_grants_settings_and_names_are_changed_one_by_one(admin: Run, unique: str) -> None:
    assert admin("principal", "create", unique, "--right", "dial", "--no-token")[0] == 0
    name = f"DNS:{unique}.example"
    for words in (
        ["grant", unique, "--right", "view"],
        ["ungrant", unique, "--right", "dial"],
        ["set", unique, "--certificate-name", name, "--calls-per-s", 9, "--hide-holders"],
    ):
        code, _, err = admin("principal", *words)
        assert (code, err) == (0, "")
    shown = json.loads(admin("principal", "show", unique, "-o", "json")[1])
    assert [grant["right"] for grant in shown["grants"]] == ["view"]
    assert (shown["certificate_names"], shown["calls_per_s"]) == ([name], 9)
    code, _, err = admin("principal", "create", unique + "b", "--certificate-name", name)
    assert code == Exit.FAILED_PRECONDITION and unique in err
    assert admin("principal", "create", unique)[0] == Exit.ALREADY_EXISTS
    assert admin("principal", "set", unique, "--show-holders", "--etag", "1")[0] == Exit.ABORTED
    wrong = ("principal", "set", unique, "--certificate-name", "dialer.example")
    assert admin(*wrong)[0] == Exit.INVALID_ARGUMENT
    assert admin("principal", "delete", unique)[0] == 0
    assert admin("principal", "show", unique)[0] == Exit.NOT_FOUND


def test_the_last_administrator_stays(admin: Run) -> None:
    for words in (
        ["revoke", "admin", "--all"],
        ["delete", "admin"],
        ["ungrant", "admin", "--right", "admin"],
    ):
        assert admin("principal", *words)[0] == Exit.FAILED_PRECONDITION


def test_a_token_is_rotated_under_a_client_that_stays_connected(
    secured: Secured, root: Client, opened: str, tmp_path: Path
) -> None:
    grant = Grant(Right.DIAL, opened, opened)
    issued = root.create_principal(opened, [grant])
    file = tmp_path / "token"
    file.write_text(issued.token)
    with secured.client(token_file=file) as dialer:
        assert dialer.claim(opened, "1", opened).allowed
        new = root.rotate_token(opened)
        assert len(new.principal.tokens) == 2
        assert dialer.claim(opened, "1", opened).allowed  # the old one is still good
        file.write_text(new.token)
        assert dialer.claim(opened, "1", opened).allowed
        old_id = issued.principal.tokens[0].token_id
        assert root.revoke_tokens(opened, old_id) == 1
        assert dialer.claim(opened, "1", opened).allowed
        with pytest.raises(client_package.PermissionDenied, match="dial"):
            dialer.claim(opened, "1", "another")
        assert root.revoke_tokens(opened, all_tokens=True) == 1
        with pytest.raises(client_package.Unauthenticated):
            dialer.claim(opened, "1", opened)
    with secured.client(token=issued.token) as late, pytest.raises(client_package.Unauthenticated):
        late.claim(opened, "1", opened)


def test_a_client_over_its_rate_limit_is_told_how_long_to_wait(
    secured: Secured, root: Client, opened: str
) -> None:
    issued = root.create_principal(opened, [Grant(Right.DIAL)], calls_per_s=1)
    with secured.client(token=issued.token) as dialer:
        dialer.claim(opened, "1", "C")
        with pytest.raises(client_package.ResourceExhausted) as refused:
            dialer.claim(opened, "1", "C")
    assert refused.value.retry_after_s is not None and 0 < refused.value.retry_after_s <= 1


def test_a_dialer_may_be_kept_from_seeing_whose_a_record_is(
    secured: Secured, root: Client, opened: str
) -> None:
    issued = root.create_principal(opened, [Grant(Right.DIAL)], hide_holders=True)
    root.claim(opened, "1", "rival")
    with secured.client(token=issued.token) as dialer:
        denied = dialer.claim(opened, "1", "C")
    assert not denied.allowed and denied.holder is not None and not denied.holder.campaign_id
    assert root.check_access(opened, Right.DIAL).allowed
    assert not root.check_access(opened, Right.VIEW).allowed


def test_who_was_refused_is_in_the_audit(
    admin: Run, secured: Secured, root: Client, opened: str
) -> None:
    issued = root.create_principal(opened, [Grant(Right.DIAL, (), "mine")])
    with (
        secured.client(token=issued.token) as dialer,
        pytest.raises(client_package.PermissionDenied),
    ):
        dialer.claim(opened, "1", "theirs")

    def found() -> Any:
        out = admin("audit", "--refused", "--principal", opened, "-o", "jsonl")[1]
        return [json.loads(line) for line in out.splitlines()]

    (entry,) = poll(found, "the refusal in the audit")
    assert (entry["refusal"], entry["action"]) == ("permission_denied", "Claim")
    assert entry["affected_count"] == 1


def test_bench_shows_token_and_ca_to_the_dial_listener(admin: Run, ctl: Run, root: Client) -> None:
    pytest.importorskip("ownerd.load.http2", reason="built without libnghttp2")
    before = [found.list_id for found in root.lists()]
    load = ("--seconds", "0.3", "--warm-up", "0.1", "--records", "500", "--in-flight", "4")
    code, out, err = admin("bench", *load, "-o", "json")
    assert (code, err) == (0, ""), err
    row = json.loads(out)
    assert row["calls_per_s"] > 0 and row["error_count"] == 0
    assert [found.list_id for found in root.lists()] == before


def test_a_context_holds_all_that_is_needed(
    ctl: Run, secured: Secured, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SERVER", "DIAL", "CA"):
        monkeypatch.delenv(f"OWNERD_{name}")
    made = ctl(
        "context",
        "add",
        "here",
        "--server",
        secured.admin_address,
        "--ca",
        secured.ca,
        "--token-file",
        secured.token_file,
        "--use",
    )
    assert made[0] == 0
    assert ctl("status")[0] == 0
    assert secured.token not in config.read_text() + "".join(map(str, made))
