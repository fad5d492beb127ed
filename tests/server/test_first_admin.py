"""The first administrator: its token at the first start, one that is lost, a server without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from guarded_server import LIST, RIGHTS, TOKEN, GuardedServer, audit, claims
from harness import ServerDidNotStart
from sanitizer import patient_s

from ownerd.v1 import admin_pb2


def test_the_first_start_writes_a_token_for_its_owner_only_and_says_where(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with GuardedServer(tmp_path / "data") as server:
            assert server.token_file.stat().st_mode & 0o777 == 0o600
            token = server.token_file.read_text().strip()
            assert TOKEN.fullmatch(token)
            (event,) = [e for e in server.events if e["event"] == "admin_token_written"]
            assert event["path"] == str(server.token_file)
            principal = server.root.admin(
                "GetPrincipal", admin_pb2.GetPrincipalRequest(principal_id="admin")
            ).principal
            assert {grant.right for grant in principal.grants} == set(RIGHTS.values())
            server.token_file.unlink()
            server.restart()
            assert not server.token_file.exists(), "a second start makes no second token"
            assert claims(server.caller(token)) == "NOT_FOUND"
    finally:
        os.umask(before)


def test_a_token_that_a_cut_off_start_left_behind_is_made_anew(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with GuardedServer(data, "--no-auth") as server:
        assert not server.token_file.exists()
    (data / "admin.token").write_text("ownerd_" + "x" * 43)
    (data / "admin.token.new").write_text("half")
    with GuardedServer(data) as server:
        assert server.root.admin("GetServerStatus", admin_pb2.GetServerStatusRequest()).version


def run_admin_token(data: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "ownerd.server", "admin-token", "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )
    return done.returncode, done.stdout, done.stderr


def test_a_lost_admin_token_is_renewed_on_the_server_itself(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run_admin_token(data)[0] == 2
    with GuardedServer(data) as server:
        lost = server.root.token
        assert run_admin_token(data)[0] == 3, "a server has the store open"
    code, out, err = run_admin_token(data)
    assert (code, err) == (0, "") and str(data / "admin.token") in out and not TOKEN.search(out)
    with GuardedServer(data) as server:
        assert server.root.token != lost
        (entry,) = audit(server, action="RotateToken")
        assert entry.principal == "ownerd"


def test_a_token_file_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with GuardedServer(data, "--no-auth"):
        pass
    (data / "admin.token").mkdir()
    with pytest.raises(ServerDidNotStart) as found:
        GuardedServer(data).start()
    assert found.value.exit_code == 4 and "token" in found.value.log_text


def test_without_authentication_everybody_is_anonymous_and_may_do_everything(
    tmp_path: Path,
) -> None:
    with GuardedServer(tmp_path / "data", "--no-auth") as server:
        server.caller(None).admin(
            "CreateContactList", admin_pb2.CreateContactListRequest(list_id=LIST)
        )
        # A token is not looked at: a client may have one from elsewhere.
        assert claims(server.caller("ownerd_nonsense")) == "OK"
        request = admin_pb2.ListAuditEntriesRequest()
        (entry,) = server.caller(None).admin("ListAuditEntries", request).entries
        assert entry.principal == "anonymous"
