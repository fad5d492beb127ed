"""A server over gRPC as a subject: one dial listener and the admin listener, through the stubs."""

from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sanitizer import patient_s
from subject import FAIL, Code, Owned, Owner, Policy, Refusal, Row, Tally
from subject_engine import DialMessages, expire_ns, timestamp_ns

from ownerd.engine.engine import DIAL_METHODS
from ownerd.v1 import admin_pb2, admin_pb2_grpc, dial_pb2_grpc

DEADLINE_S = patient_s(30.0)
WHOLE_POLICY = FieldMask(paths=["enabled", "expiration", "renewal_window", "reservation_ttl"])


def duration(length_ns: int) -> Duration:
    """Return nanoseconds as a Duration; a negative one has both parts negative."""
    message = Duration()
    message.FromNanoseconds(length_ns)
    return message


def timestamp(time_ns: int) -> Timestamp:
    """Return nanoseconds since the Unix epoch as a Timestamp."""
    return Timestamp(seconds=time_ns // 1_000_000_000, nanos=time_ns % 1_000_000_000)


def policy_message(policy: Policy) -> admin_pb2.OwnershipPolicy:
    """Return a policy as its message; a default renewal window is left out."""
    message = admin_pb2.OwnershipPolicy(
        enabled=policy.enabled, reservation_ttl=duration(policy.reservation_ttl_ns)
    )
    if policy.duration_ns is None:
        message.no_expiration = True
    else:
        message.duration.CopyFrom(duration(policy.duration_ns))
    if policy.renewal_window_ns is not None:
        message.renewal_window.CopyFrom(duration(policy.renewal_window_ns))
    return message


def policy_of(message: admin_pb2.OwnershipPolicy) -> Policy:
    """Return the policy that a message shows."""
    assert message.WhichOneof("expiration") is not None, "a policy always shows its expiration"
    has_window = message.HasField("renewal_window")
    return Policy(
        message.enabled,
        message.duration.ToNanoseconds() if message.HasField("duration") else None,
        message.renewal_window.ToNanoseconds() if has_window else None,
        message.reservation_ttl.ToNanoseconds(),
    )


def import_messages(
    list_id: str, rows: list[Row], strategy: int = FAIL, chunk_rows: int = 1000, **fields: Any
) -> list[admin_pb2.ImportOwnershipRequest]:
    """Return the stream of an import: the head in the first message, rows in all of them."""
    messages = []
    for start in range(0, max(len(rows), 1), chunk_rows):
        message = admin_pb2.ImportOwnershipRequest(rows=map(row_message, rows[start:][:chunk_rows]))
        messages.append(message)
    head = admin_pb2.ImportOwnershipRequest(list_id=list_id, conflict_strategy=strategy, **fields)
    messages[0].MergeFrom(head)
    return messages


def row_message(row: Row) -> admin_pb2.OwnershipRow:
    """Return an import row as its message."""
    message = admin_pb2.OwnershipRow(
        record_id=row.record_id, campaign_id=row.campaign_id, campaign_name=row.name
    )
    if row.expire_ns is not None:
        message.expire_time.CopyFrom(timestamp(row.expire_ns))
    if row.acquire_ns is not None:
        message.acquire_time.CopyFrom(timestamp(row.acquire_ns))
    return message


def call(method: Any, request: Any) -> Any:
    """Call a stub's method with a deadline, turning an error status into a `Refusal`."""
    try:
        return method(request, timeout=DEADLINE_S)
    except grpc.RpcError as error:
        raise Refusal(error.code().name, error.details()) from None


class GrpcSubject(DialMessages):
    """A `Subject` on a running server; its time passes by itself.

    `last_answer` is the whole answer to the last change of a policy, release or signal.
    """

    def __init__(
        self, dial: dial_pb2_grpc.DialServiceStub, admin: admin_pb2_grpc.AdminServiceStub
    ) -> None:
        self.dial = dial
        self.admin = admin
        self.last_answer: Any = None

    def _dial(self, kind: int, request: Any) -> Any:
        return call(getattr(self.dial, DIAL_METHODS[kind]), request)

    def create_list(self, list_id: str, policy: Policy = Policy()) -> None:
        message = policy_message(policy)
        request = admin_pb2.CreateContactListRequest(list_id=list_id, policy=message)
        call(self.admin.CreateContactList, request)

    def update_policy(self, list_id: str, policy: Policy) -> int:
        request = admin_pb2.UpdateOwnershipPolicyRequest(
            list_id=list_id, policy=policy_message(policy), update_mask=WHOLE_POLICY
        )
        self.last_answer = call(self.admin.UpdateOwnershipPolicy, request)
        return timestamp_ns(self.last_answer.list.update_time)

    def policy(self, list_id: str) -> Policy:
        request = admin_pb2.GetContactListRequest(list_id=list_id)
        return policy_of(call(self.admin.GetContactList, request).list.policy)

    def delete_list(self, list_id: str, force: bool = False) -> None:
        request = admin_pb2.DeleteContactListRequest(list_id=list_id, force=force)
        call(self.admin.DeleteContactList, request)

    def release(
        self, list_id: str, campaign_ids: list[str] | None = None, reservations: bool = False
    ) -> int:
        request = admin_pb2.ReleaseOwnershipRequest(
            list_id=list_id,
            all_campaigns=campaign_ids is None,
            campaign_ids=campaign_ids or [],
            include_reservations=reservations,
        )
        self.last_answer = call(self.admin.ReleaseOwnership, request)
        return self.last_answer.released_count

    def transfer(self, list_id: str, from_campaign_id: str, to_campaign_id: str) -> int:
        request = admin_pb2.TransferOwnershipRequest(
            list_id=list_id, from_campaign_id=from_campaign_id, to_campaign_id=to_campaign_id
        )
        return call(self.admin.TransferOwnership, request).transferred_count

    def release_records(self, list_id: str, record_ids: list[str]) -> int:
        request = admin_pb2.ReleaseRecordsRequest(list_id=list_id, record_ids=record_ids)
        return call(self.admin.ReleaseRecords, request).released_count

    def signal(
        self, campaign_id: str, what: str, list_id: str = "", end_reservations: bool = False
    ) -> int:
        request = admin_pb2.SignalCampaignRequest(
            campaign_id=campaign_id, list_id=list_id, signal=f"CAMPAIGN_SIGNAL_{what}"
        )
        request.end_reservations = end_reservations
        self.last_answer = call(self.admin.SignalCampaign, request)
        return self.last_answer.ended_reservation_count

    def upsert_campaign(self, campaign_id: str, name: str) -> None:
        request = admin_pb2.UpsertCampaignRequest(campaign_id=campaign_id, name=name)
        call(self.admin.UpsertCampaign, request)

    def campaigns(self) -> dict[str, str]:
        pages = self._pages(self.admin.ListCampaigns, admin_pb2.ListCampaignsRequest())
        return {found.campaign_id: found.name for page in pages for found in page.campaigns}

    def upsert_code(self, code: str, meaning: Code) -> None:
        message = admin_pb2.WrapUpCode(
            code=code,
            category=meaning.category,
            counts_as_attempt=meaning.counts,
            success=meaning.success,
        )
        call(self.admin.UpsertWrapUpCode, admin_pb2.UpsertWrapUpCodeRequest(code=message))

    def delete_code(self, code: str) -> None:
        call(self.admin.DeleteWrapUpCode, admin_pb2.DeleteWrapUpCodeRequest(code=code))

    def codes(self) -> dict[str, Code]:
        pages = self._pages(self.admin.ListWrapUpCodes, admin_pb2.ListWrapUpCodesRequest())
        return {
            found.code: Code(found.category, found.counts_as_attempt, found.success)
            for page in pages
            for found in page.codes
        }

    def import_rows(
        self,
        list_id: str,
        rows: list[Row],
        strategy: int = FAIL,
        exact: bool = False,
        rename: bool = False,
        by_policy: bool = False,
    ) -> Tally:
        messages = import_messages(
            list_id,
            rows,
            strategy,
            exact=exact,
            rename_campaigns=rename,
            expire_by_policy=by_policy,
        )
        answer = call(self.admin.ImportOwnership, iter(messages))
        return Tally(
            answer.imported_count,
            answer.skipped_count,
            answer.overwritten_count,
            answer.expired_count,
        )

    def owners(self, list_id: str) -> list[Owner]:
        answer = call(self.admin.ListOwners, admin_pb2.ListOwnersRequest(list_id=list_id))
        owners = [
            Owner(o.campaign_id, o.campaign_name, o.owned_count, o.reserved_count, _earliest_ns(o))
            for o in answer.owners
        ]
        assert answer.total_owned_count == sum(o.owned_count for o in owners)
        assert answer.total_reserved_count == sum(o.reserved_count for o in owners)
        return owners

    def owned(self, list_id: str, campaign_ids: list[str] | None = None) -> list[Owned]:
        """Read in pages of three, so that every call crosses page borders."""
        request = admin_pb2.ListOwnedRecordsRequest(
            list_id=list_id, campaign_ids=campaign_ids or [], page_size=3
        )
        return [
            Owned(
                r.record_id,
                r.campaign_id,
                r.campaign_name,
                timestamp_ns(r.acquire_time),
                expire_ns(r),
            )
            for page in self._pages(self.admin.ListOwnedRecords, request)
            for r in page.records
        ]

    def revision(self) -> int:
        return self.status().revision

    def status(self) -> admin_pb2.GetServerStatusResponse:
        return call(self.admin.GetServerStatus, admin_pb2.GetServerStatusRequest())

    def _pages(self, method: Any, request: Any) -> list[Any]:
        pages = [call(method, request)]
        while pages[-1].next_page_token:
            request.page_token = pages[-1].next_page_token
            pages.append(call(method, request))
        return pages


def _earliest_ns(owner: admin_pb2.Owner) -> int | None:
    present = owner.HasField("earliest_expire_time")
    return timestamp_ns(owner.earliest_expire_time) if present else None
