"""A small ownerd server for tests of its clients: the real rpcs over real gRPC, dicts behind them.

It keeps every request and the token that came with it, and `fail_next` makes the next calls of an
rpc fail, so that a test can see what a client sends and how it takes errors. It knows little of the
ownership rules: that is tested against the real server.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from ownerd.v1 import admin_pb2 as pb
from ownerd.v1 import admin_pb2_grpc, dial_pb2, dial_pb2_grpc

CANCELLED_WITHIN_S = 0.1
NOW_S = 1_800_000_000  # 2027-01-15 08:00:00 UTC


class FakeServer(admin_pb2_grpc.AdminServiceServicer, dial_pb2_grpc.DialServiceServicer):
    """Holds lists, rows and requests; `address` is where it listens."""

    def __init__(self) -> None:
        self.address = ""
        self.lists: dict[str, pb.ContactList] = {}
        self.rows: dict[str, dict[str, pb.OwnershipRow]] = defaultdict(dict)
        self.reserved_count = 0
        self.shortened_count = 0
        self.campaigns: dict[str, str] = {}
        self.codes: dict[str, pb.WrapUpCode] = {}
        self.entries: list[pb.AuditEntry] = []
        self.alarms: list[pb.Alarm] = []
        self.requests: list[Any] = []
        self.failures: dict[str, list[tuple[grpc.StatusCode, str]]] = defaultdict(list)
        self.export_breaks = False  # after its first message
        self.export_stalls = False  # until it is cancelled
        self.export_began = threading.Event()
        self.import_fails_at_end = False  # of its rows, else at its first message
        self.principals: dict[str, pb.Principal] = {}
        self.answers = pb.CheckAccessResponse(allowed=True, explanation="as the test says")
        self.caller = pb.WhoAmIResponse(
            principal=pb.Principal(principal_id="anonymous"), asks_nobody=True
        )
        self.authorizations: list[str | None] = []  # one for each request
        self.valid_tokens: set[str] | None = None  # None: nobody is asked
        self.token_is_lost = False  # of the next answer with one
        self.trailers: tuple[tuple[str, str], ...] = ()  # of failures
        self.revision = 0
        self.stands_by = False  # answers only who does not say that it wants the leader

    def fail_next(self, rpc: str, code: grpc.StatusCode, details: str, count: int = 1) -> None:
        """Let the next `count` calls of an rpc fail."""
        self.failures[rpc] += [(code, details)] * count

    def last(self, kind: type) -> Any:
        """Return the latest request of a type."""
        return next(r for r in reversed(self.requests) if isinstance(r, kind))

    def _enter(self, rpc: str, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self._check_caller(context)
        if self.stands_by and "ownerd-leader-only" in dict(context.invocation_metadata()):
            context.abort(grpc.StatusCode.UNAVAILABLE, "this node does not lead its cluster")
        if self.failures[rpc]:
            context.set_trailing_metadata(self.trailers)
            context.abort(*self.failures[rpc].pop(0))
        list_id = getattr(request, "list_id", "")
        named_only = ("CreateContactList", "CheckAccess", "WhoAmI")
        if list_id and list_id not in self.lists and rpc not in named_only:
            context.abort(grpc.StatusCode.NOT_FOUND, f'list_id: no contact list "{list_id}"')

    def _check_caller(self, context: grpc.ServicerContext) -> None:
        given = dict(context.invocation_metadata()).get("authorization")
        self.authorizations.append(given)
        if self.valid_tokens is not None:
            token = (given or "").removeprefix("Bearer ")
            if token not in self.valid_tokens:
                what = "the token is not valid" if token else "no token and no certificate"
                context.abort(grpc.StatusCode.UNAUTHENTICATED, what)

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
        if request.dry_run:
            return pb.DeleteContactListResponse(
                owned_count=len(self.rows[request.list_id]), reserved_count=self.reserved_count
            )
        if self.rows[request.list_id] and not request.force:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "live ownership; set force")
        del self.lists[request.list_id]
        return pb.DeleteContactListResponse(revision=self._next_revision())

    def UpdateOwnershipPolicy(self, request, context):
        self._enter("UpdateOwnershipPolicy", request, context)
        contact_list = self.lists[request.list_id]
        if request.etag not in ("", contact_list.etag):
            context.abort(grpc.StatusCode.ABORTED, "etag: the list has changed; read it again")
        if request.dry_run:
            return pb.UpdateOwnershipPolicyResponse(shortened_count=self.shortened_count)
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
        if request.dry_run:
            found = [rows[r] for r in request.record_ids if r in rows]
            return pb.ReleaseRecordsResponse(
                released_count=len(found),
                records=[
                    pb.OwnedRecord(record_id=row.record_id, campaign_id=row.campaign_id)
                    for row in found
                ],
            )
        released = [rows.pop(r, None) for r in request.record_ids]
        count = sum(row is not None for row in released)
        return pb.ReleaseRecordsResponse(released_count=count, revision=self._next_revision())

    def TransferOwnership(self, request, context):
        self._enter("TransferOwnership", request, context)
        chosen = [
            row
            for list_id in (self.lists if request.all_lists else [request.list_id])
            for row in self.rows[list_id].values()
            if row.campaign_id == request.from_campaign_id
        ]
        if not request.dry_run:
            for row in chosen:
                row.campaign_id = request.to_campaign_id
            self._next_revision()
        return pb.TransferOwnershipResponse(transferred_count=len(chosen), revision=self.revision)

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
        over = threading.Event()
        context.add_callback(over.set)
        for request in request_iterator:
            if head is None:
                head = request
                if not self.import_fails_at_end:
                    self._enter("ImportOwnership", request, context)
            else:
                self.requests.append(request)
            rows += request.rows
        if self.import_fails_at_end:
            self._enter("ImportOwnership", head, context)
        # A cancelled stream just ends, too; that it was cancelled is known a moment later.
        if over.wait(CANCELLED_WITHIN_S):
            return pb.ImportOwnershipResponse()
        held = self.rows[head.list_id]
        conflict_count = sum(
            row.record_id in held and held[row.record_id].campaign_id != row.campaign_id
            for row in rows
        )
        if head.dry_run:
            overwrites = head.conflict_strategy == pb.CONFLICT_STRATEGY_OVERWRITE
            return pb.ImportOwnershipResponse(
                imported_count=len(rows) - conflict_count,
                overwritten_count=conflict_count if overwrites else 0,
                skipped_count=0 if overwrites else conflict_count,
                revision=self.revision,
            )
        held.update({row.record_id: row for row in rows})
        return pb.ImportOwnershipResponse(imported_count=len(rows), revision=self._next_revision())

    def ExportOwnership(self, request, context):
        self._enter("ExportOwnership", request, context)
        self.export_began.set()
        if self.export_stalls:
            over = threading.Event()
            context.add_callback(over.set)
            over.wait()
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
        ended = self.reserved_count if request.end_reservations else 0
        if request.dry_run:
            return pb.SignalCampaignResponse(ended_reservation_count=ended)
        return pb.SignalCampaignResponse(
            revision=self._next_revision(), ended_reservation_count=ended
        )

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
        """Return entries newest first; as a page token the id that the next page is below."""
        self._enter("ListAuditEntries", request, context)
        below = int(request.page_token or 2**62)
        entries = [e for e in self.entries if e.entry_id < below and _fits(e, request.filter)]
        entries.sort(key=lambda entry: -entry.entry_id)
        size = request.page_size or 100
        token = str(entries[size - 1].entry_id) if len(entries) > size else ""
        return pb.ListAuditEntriesResponse(entries=entries[:size], next_page_token=token)

    def add_entry(self, **fields: Any) -> pb.AuditEntry:
        """Write an audit entry, a second after the one before."""
        number = len(self.entries) + 1
        entry = pb.AuditEntry(entry_id=number, revision=number, **fields)
        entry.time.seconds = NOW_S + number
        self.entries.append(entry)
        return entry

    def CreatePrincipal(self, request, context):
        self._enter("CreatePrincipal", request, context)
        principal_id = request.principal.principal_id
        if principal_id in self.principals:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f'principal "{principal_id}" exists')
        made = pb.Principal()
        made.CopyFrom(request.principal)
        made.create_time.seconds = made.update_time.seconds = NOW_S
        made.etag = str(self._next_revision())
        self.principals[principal_id] = made
        token = "" if request.no_token else self._new_token(made, request)
        return pb.CreatePrincipalResponse(principal=made, token=token, revision=self.revision)

    def _new_token(self, principal: pb.Principal, request: Any) -> str:
        number = self._next_revision()
        token = principal.tokens.add(token_id=f"{number:016x}")
        token.create_time.seconds = NOW_S
        if request.HasField("token_ttl"):
            token.expire_time.seconds = NOW_S + request.token_ttl.seconds
        del principal.tokens[:-2]
        lost, self.token_is_lost = self.token_is_lost, False
        return "" if lost else token_text(number)

    def GetPrincipal(self, request, context):
        self._enter("GetPrincipal", request, context)
        return pb.GetPrincipalResponse(principal=self._principal(request.principal_id, context))

    def _principal(self, principal_id: str, context: grpc.ServicerContext) -> pb.Principal:
        if principal_id not in self.principals:
            context.abort(grpc.StatusCode.NOT_FOUND, f'no principal "{principal_id}"')
        return self.principals[principal_id]

    def ListPrincipals(self, request, context):
        self._enter("ListPrincipals", request, context)
        shown, token = self._page(sorted(self.principals), request)
        principals = [self.principals[name] for name in shown]
        return pb.ListPrincipalsResponse(principals=principals, next_page_token=token)

    def UpdatePrincipal(self, request, context):
        self._enter("UpdatePrincipal", request, context)
        principal = self._principal(request.principal.principal_id, context)
        if request.etag not in ("", principal.etag):
            context.abort(grpc.StatusCode.ABORTED, "etag: the principal has changed")
        for path in request.update_mask.paths:
            principal.ClearField(path)
        changed = pb.Principal()
        request.update_mask.MergeMessage(request.principal, changed)
        principal.MergeFrom(changed)
        principal.etag = str(self._next_revision())
        return pb.UpdatePrincipalResponse(principal=principal, revision=self.revision)

    def DeletePrincipal(self, request, context):
        self._enter("DeletePrincipal", request, context)
        self._principal(request.principal_id, context)
        del self.principals[request.principal_id]
        return pb.DeletePrincipalResponse(revision=self._next_revision())

    def RotateToken(self, request, context):
        self._enter("RotateToken", request, context)
        principal = self._principal(request.principal_id, context)
        token = self._new_token(principal, request)
        return pb.RotateTokenResponse(principal=principal, token=token, revision=self.revision)

    def RevokeTokens(self, request, context):
        self._enter("RevokeTokens", request, context)
        principal = self._principal(request.principal_id, context)
        left = [
            token
            for token in principal.tokens
            if not request.all_tokens and token.token_id not in request.token_ids
        ]
        count = len(principal.tokens) - len(left)
        del principal.tokens[:]
        principal.tokens.extend(left)
        revision = self._next_revision()
        return pb.RevokeTokensResponse(principal=principal, revoked_count=count, revision=revision)

    def CheckAccess(self, request, context):
        self._enter("CheckAccess", request, context)
        self._principal(request.principal_id, context)
        return self.answers

    def WhoAmI(self, request, context):
        self._enter("WhoAmI", request, context)
        return self.caller

    def GetServerStatus(self, request, context):
        self._enter("GetServerStatus", request, context)
        answer = pb.GetServerStatusResponse(
            version="1.2.3",
            lmdb_version="0.9.36",
            revision=7,
            record_count=1_234_567,
            store_bytes=1_500_000_000,
            map_bytes=2**38,
            disk_free_bytes=2**36,
            alarms=self.alarms,
        )
        answer.time.seconds = NOW_S
        answer.start_time.seconds = NOW_S - 7_500
        answer.uptime.seconds = 7_500
        return answer

    def GiveBack(self, request, context):
        self._enter("GiveBack", request, context)
        return dial_pb2.GiveBackResponse(revision=self._next_revision())

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


def token_text(number: int) -> str:
    """Return the token that the fake makes as its n-th change."""
    return f"ownerd_{number:043x}"


def _fits(entry: pb.AuditEntry, wanted: pb.AuditFilter) -> bool:
    for name in ("list_id", "principal", "action"):
        if getattr(wanted, name) not in ("", getattr(entry, name)):
            return False
    time_ns = entry.time.ToNanoseconds()
    if time_ns < wanted.start_time.ToNanoseconds():
        return False
    return not wanted.HasField("end_time") or time_ns < wanted.end_time.ToNanoseconds()


@contextmanager
def fake_server(
    credentials: grpc.ServerCredentials | None = None,
    fake: FakeServer | None = None,
    address: str = "127.0.0.1:0",
) -> Iterator[FakeServer]:
    """Run a FakeServer on a free loopback port, or at `address`; with credentials over TLS."""
    fake = fake or FakeServer()
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    admin_pb2_grpc.add_AdminServiceServicer_to_server(fake, server)
    dial_pb2_grpc.add_DialServiceServicer_to_server(fake, server)
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    fake.address = f"127.0.0.1:{port}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(grace=None).wait(10)


def own(fake, list_id, count, campaign_id="C1", expire_s=None):
    """Let a campaign own records of a list of the fake."""
    for _ in range(count):
        row = pb.OwnershipRow(campaign_id=campaign_id, campaign_name=f"Campaign {campaign_id}")
        row.record_id = f"r{len(fake.rows[list_id]):05}"
        row.acquire_time.seconds = NOW_S - 60
        if expire_s is not None:
            row.expire_time.seconds = expire_s
        fake.rows[list_id][row.record_id] = row
