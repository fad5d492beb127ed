"""The tests' own servers: with and without authentication."""

from pathlib import Path

import grpc
import pytest
from harness import ServerProcess

from ownerd.v1 import admin_pb2, dial_pb2


@pytest.mark.parametrize("auth", [False, True])
def test_the_stubs_of_a_server_may_do_everything(tmp_path: Path, auth: bool) -> None:
    with ServerProcess(tmp_path / "data", auth=auth) as server:
        admin, dial = server.admin_stub(), server.dial_stub()
        admin.CreateContactList(admin_pb2.CreateContactListRequest(list_id="L"))
        claim = dial_pb2.ClaimRequest(list_id="L", record_id="1", campaign_id="C")
        assert dial.Claim(claim).revision
        head = admin_pb2.ImportOwnershipRequest(list_id="L", conflict_strategy=1)
        assert admin.ImportOwnership(iter([head])).imported_count == 0
        (page,) = admin.ExportOwnership(admin_pb2.ExportOwnershipRequest(list_id="L"))
        assert not page.rows
        (entry, *_) = admin.ListAuditEntries(admin_pb2.ListAuditEntriesRequest()).entries
        assert entry.principal == ("admin" if auth else "anonymous")


def test_a_channel_of_its_own_is_nobody(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", auth=True) as server:
        assert server.token.startswith("ownerd_")
        call = server.channel(server.admin_address).unary_unary(
            "/ownerd.v1.AdminService/GetServerStatus"
        )
        with pytest.raises(grpc.RpcError) as refused:
            call(b"")
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
