"""A small ownerd server for tests of its clients: the real rpcs over real gRPC, dicts behind them.

It keeps every request, and `fail_next` makes the next calls of an rpc fail, so that a test can see
what a client sends and how it takes errors. It knows little of the ownership rules: that is tested
against the real server.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import admin_pb2_grpc, dial_pb2, dial_pb2_grpc

NOW_S = 1_800_000_000  # 2027-01-15 08:00:00 UTC


class FakeServer(admin_pb2_grpc.AdminServiceServicer, dial_pb2_grpc.DialServiceServicer):
    """Holds lists, rows and requests; `address` is where it listens."""

    def __init__(self) -> None:
        self.address = ""
        self.lists: dict[str, pb.ContactList] = {}
        self.rows: dict[str, dict[str, pb.OwnershipRow]] = defaultdict(dict)
        self.reserved_count = 0
        self.campaigns: dict[str, str] = {}
        self.codes: dict[str, pb.WrapUpCode] = {}
        self.entries: list[pb.AuditEntry] = []
        self.alarms: list[pb.Alarm] = []
        self.requests: list[Any] = []
        self.failures: dict[str, list[tuple[grpc.StatusCode, str]]] = defaultdict(list)
        self.export_breaks = False  # after its first message
        self.revision = 0

    def fail_next(self, rpc: str, code: grpc.StatusCode, details: str, count: int = 1) -> None:
        """Let the next `count` calls of an rpc fail."""
        self.failures[rpc] += [(code, details)] * count

    def last(self, kind: type) -> Any:
        """Return the latest request of a type."""
        return next(r for r in reversed(self.requests) if isinstance(r, kind))

    def _enter(self, rpc: str, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        if self.failures[rpc]:
            context.abort(*self.failures[rpc].pop(0))
        list_id = getattr(request, "list_id", "")
        if list_id and list_id not in self.lists and rpc != "CreateContactList":
            context.abort(grpc.StatusCode.NOT_FOUND, f'list_id: no contact list "{list_id}"')

    def _next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def CreateContactList(self, request, context):
        self._enter("CreateContactList", request, context)
        if request.list_id in self.lists:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f'list_id: "{request.list_id}" exists')
        made = pb.ContactList(list_id=request.list_id, policy=request.policy, etag="1")
        if not made.policy.HasField("reservation_ttl"):
            made.policy.reservation_ttl.seconds = 300
        made.create_time.seconds = made.update_time.seconds = NOW_S
        self.lists[request.list_id] = made
        return pb.CreateContactListResponse(list=made, revision=self._next_revision())

    def GetContactList(self, request, context):
        self._enter("GetContactList", request, context)
        return pb.GetContactListResponse(list=self.lists[request.list_id], revision=self.revision)

    def ListContactLists(self, request, context):
        self._enter("ListContactLists", request, context)
        shown, token = self._page(sorted(self.lists), request)
        lists = [self.lists[list_id] for list_id in shown]
        return pb.ListContactListsResponse(lists=lists, next_page_token=token)

    def _page(self, keys: list[str], request: Any) -> tuple[list[str], str]:
        keys = [key for key in keys if key > request.page_token]
        size = request.page_size or 100
        return keys[:size], keys[size - 1] if len(keys) > size else ""

    def DeleteContactList(self, request, context):
        self._enter("DeleteContactList", request, context)
        if self.rows[request.list_id] and not request.force:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "live ownership; set force")
        del self.lists[request.list_id]
        return pb.DeleteContactListResponse(revision=self._next_revision())

    def UpdateOwnershipPolicy(self, request, context):
        self._enter("UpdateOwnershipPolicy", request, context)
        contact_list = self.lists[request.list_id]
        if request.etag not in ("", contact_list.etag):
            context.abort(grpc.StatusCode.ABORTED, "etag: the list has changed; read it again")
        for path in request.update_mask.paths:
            contact_list.policy.ClearField(path)
        contact_list.policy.MergeFrom(request.policy)
        contact_list.etag = str(self._next_revision())
        return pb.UpdateOwnershipPolicyResponse(list=contact_list, revision=self.revision)

    def ListOwners(self, request, context):
        self._enter("ListOwners", request, context)
        owners: dict[str, pb.Owner] = {}
        for row in self.rows[request.list_id].values():
            name = row.campaign_name or row.campaign_id
            new = pb.Owner(campaign_id=row.campaign_id, campaign_name=name)
            owner = owners.setdefault(row.campaign_id, new)
            owner.owned_count += 1
            if row.HasField("expire_time"):
                owner.earliest_expire_time.CopyFrom(row.expire_time)
        if self.reserved_count:
            owners["reserver"] = pb.Owner(
                campaign_id="reserver", campaign_name="R", reserved_count=self.reserved_count
            )
        answer = pb.ListOwnersResponse(
            owners=[owners[key] for key in sorted(owners)],
            total_owned_count=sum(owner.owned_count for owner in owners.values()),
            total_reserved_count=self.reserved_count,
            revision=self.revision,
        )
        answer.time.seconds = NOW_S
        return answer

    def ReleaseOwnership(self, request, context):
        self._enter("ReleaseOwnership", request, context)
        rows = self.rows[request.list_id]
        chosen = [
            record_id
            for record_id, row in rows.items()
            if request.all_campaigns or row.campaign_id in request.campaign_ids
        ]
        if not request.dry_run:
            for record_id in chosen:
                del rows[record_id]
            self._next_revision()
        return pb.ReleaseOwnershipResponse(released_count=len(chosen), revision=self.revision)

    def ReleaseRecords(self, request, context):
        self._enter("ReleaseRecords", request, context)
        rows = self.rows[request.list_id]
        released = [rows.pop(r, None) for r in request.record_ids]
        count = sum(row is not None for row in released)
        return pb.ReleaseRecordsResponse(released_count=count, revision=self._next_revision())

    def ListOwnedRecords(self, request, context):
        self._enter("ListOwnedRecords", request, context)
        rows = self.rows[request.list_id]
        wanted = [r for r in sorted(rows) if self._is_wanted(rows[r], request)]
        shown, token = self._page(wanted, request)
        answer = pb.ListOwnedRecordsResponse(next_page_token=token, revision=self.revision)
        for record_id in shown:
            row = rows[record_id]
            record = answer.records.add(
                record_id=record_id, campaign_id=row.campaign_id, campaign_name=row.campaign_name
            )
            record.acquire_time.seconds = NOW_S
            if row.HasField("expire_time"):
                record.expire_time.CopyFrom(row.expire_time)
        return answer

    @staticmethod
    def _is_wanted(row: pb.OwnershipRow, request: Any) -> bool:
        return not request.campaign_ids or row.campaign_id in request.campaign_ids

    def ImportOwnership(self, request_iterator, context):
        head, rows = None, []
        for request in request_iterator:
            if head is None:
                head = request
                self._enter("ImportOwnership", request, context)
            else:
                self.requests.append(request)
            rows += request.rows
        if not context.is_active():  # a cancelled stream just ends, too
            return pb.ImportOwnershipResponse()
        self.rows[head.list_id].update({row.record_id: row for row in rows})
        return pb.ImportOwnershipResponse(
            imported_count=len(rows), revision=self._next_revision()
        )

    def ExportOwnership(self, request, context):
        self._enter("ExportOwnership", request, context)
        rows = self.rows[request.list_id].values()
        wanted = [row for row in rows if self._is_wanted(row, request)]
        for start in range(0, len(wanted), 2):
            yield pb.ExportOwnershipResponse(rows=wanted[start : start + 2], revision=self.revision)
            if self.export_breaks:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "broke off")

    def UpsertCampaign(self, request, context):
        self._enter("UpsertCampaign", request, context)
        name = request.name or request.campaign_id
        self.campaigns[request.campaign_id] = name
        campaign = pb.Campaign(campaign_id=request.campaign_id, name=name)
        return pb.UpsertCampaignResponse(campaign=campaign, revision=self._next_revision())

    def ListCampaigns(self, request, context):
        self._enter("ListCampaigns", request, context)
        shown, token = self._page(sorted(self.campaigns), request)
        campaigns = [pb.Campaign(campaign_id=c, name=self.campaigns[c]) for c in shown]
        return pb.ListCampaignsResponse(campaigns=campaigns, next_page_token=token)

    def SignalCampaign(self, request, context):
        self._enter("SignalCampaign", request, context)
        return pb.SignalCampaignResponse(revision=self._next_revision())

    def UpsertWrapUpCode(self, request, context):
        self._enter("UpsertWrapUpCode", request, context)
        self.codes[request.code.code] = request.code
        return pb.UpsertWrapUpCodeResponse(code=request.code, revision=self._next_revision())

    def ListWrapUpCodes(self, request, context):
        self._enter("ListWrapUpCodes", request, context)
        shown, token = self._page(sorted(self.codes), request)
        codes = [self.codes[code] for code in shown]
        return pb.ListWrapUpCodesResponse(codes=codes, next_page_token=token)

    def DeleteWrapUpCode(self, request, context):
        self._enter("DeleteWrapUpCode", request, context)
        del self.codes[request.code]
        return pb.DeleteWrapUpCodeResponse(revision=self._next_revision())

    def ListAuditEntries(self, request, context):
        self._enter("ListAuditEntries", request, context)
        return pb.ListAuditEntriesResponse(entries=self.entries)

    def GetServerStatus(self, request, context):
        self._enter("GetServerStatus", request, context)
        answer = pb.GetServerStatusResponse(
            version="1.2.3", lmdb_version="0.9.36", revision=7, record_count=1_234_567,
            store_bytes=1_500_000_000, map_bytes=2**38, disk_free_bytes=2**36, alarms=self.alarms,
        )  # fmt: skip
        answer.time.seconds = NOW_S
        answer.start_time.seconds = NOW_S - 7_500
        answer.uptime.seconds = 7_500
        return answer

    def GetHolder(self, request, context):
        self._enter("GetHolder", request, context)
        row = self.rows[request.list_id].get(request.record_id)
        if row is None:
            return dial_pb2.GetHolderResponse(revision=self.revision)
        holder = dial_pb2.Holder(
            kind=dial_pb2.HOLD_KIND_OWNED,
            campaign_id=row.campaign_id,
            campaign_name=row.campaign_name,
        )
        holder.acquire_time.seconds = int(time.time()) - 60
        if row.HasField("expire_time"):
            holder.expire_time.CopyFrom(row.expire_time)
        return dial_pb2.GetHolderResponse(holder=holder, revision=self.revision)


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """Run a FakeServer on a free loopback port."""
    fake = FakeServer()
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    admin_pb2_grpc.add_AdminServiceServicer_to_server(fake, server)
    dial_pb2_grpc.add_DialServiceServicer_to_server(fake, server)
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(grace=None).wait(10)
