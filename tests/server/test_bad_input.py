"""Bad input: each gets the error that the API names, naming the field, and changes nothing."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from guarded import LIST, OFF, Guarded
from harness import ServerProcess
from subject import SKIP
from subject_engine import NOTE, EngineSubject
from subject_grpc import import_messages

from ownerd.engine import engine as native
from ownerd.v1 import admin_pb2, dial_pb2

CENTURY_S = 36525 * 86400
INVALID, MISSING = "INVALID_ARGUMENT", "NOT_FOUND"


class Bad(NamedTuple):
    """A bad request, the status it gets, and what the message must contain."""

    method: str
    request: Message
    code: str
    names: tuple[str, ...]


def _ids(cases: list[Bad]) -> list[str]:
    return [f"{case.method}-{case.names[0]}-{index}" for index, case in enumerate(cases)]


def _bad_strings(limit_bytes: int) -> list[str]:
    """Empty, a byte too long, and too long in bytes though not in characters."""
    return ["", "x" * (limit_bytes + 1), "é" * (limit_bytes // 2 + 1)]


def _dial_cases() -> Iterator[Bad]:
    yield from _dial_string_cases()
    attempt = dial_pb2.ReportAttemptBatchRequest.Attempt
    for count in (0, 10_001):
        ids = [str(number) for number in range(count)]
        batch = dial_pb2.ClaimBatchRequest(list_id=LIST, campaign_id="A", record_ids=ids)
        yield Bad("ClaimBatch", batch, INVALID, ("record_ids", f"{count}"[:2]))
        attempts = [attempt(record_id=name, wrap_up_code="Busy") for name in ids]
        report = dial_pb2.ReportAttemptBatchRequest(
            list_id=LIST, campaign_id="A", attempts=attempts
        )
        yield Bad("ReportAttemptBatch", report, INVALID, ("attempts", f"{count}"[:2]))
    for bad in [*_bad_strings(64), "Nonsense", "Bu sy"]:
        single = dial_pb2.ReportAttemptRequest(
            list_id=LIST, record_id="new", campaign_id="A", wrap_up_code=bad
        )
        names = ("wrap_up_code", bad) if bad in ("Nonsense", "Bu sy") else ("wrap_up_code",)
        yield Bad("ReportAttempt", single, INVALID, names)
    yield from _dial_time_cases()


def _dial_time_cases() -> Iterator[Bad]:
    """R22, R24: a TTL outside 1 second to 24 hours, and times that none can have ended at."""
    for seconds, nanos in ((0, 0), (0, 999_999_999), (-1, 0), (86_400, 1), (86_401, 0), (1, -1)):
        ttl = Duration(seconds=seconds, nanos=nanos)
        claim = dial_pb2.ClaimRequest(
            list_id=LIST, record_id="new", campaign_id="A", reservation_ttl=ttl
        )
        yield Bad("Claim", claim, INVALID, ("reservation_ttl", str(seconds)))
        batch = dial_pb2.ClaimBatchRequest(
            list_id=LIST, campaign_id="A", record_ids=["new"], reservation_ttl=ttl
        )
        yield Bad("ClaimBatch", batch, INVALID, ("reservation_ttl", str(seconds)))
    for seconds, nanos, says in (
        (4_000_000_000, 0, "ahead"),
        (253_402_300_799, 999_999_999, "ahead"),
        (253_402_300_800, 0, "valid"),
        (-62_135_596_801, 0, "valid"),
        (1, -1, "valid"),
        (1, 10**9, "valid"),
    ):
        report = dial_pb2.ReportAttemptRequest(
            list_id=LIST, record_id="new", campaign_id="A", wrap_up_code="Busy"
        )
        report.attempt_time.seconds, report.attempt_time.nanos = seconds, nanos
        yield Bad("ReportAttempt", report, INVALID, ("attempt_time", says))


def _dial_string_cases() -> Iterator[Bad]:
    good = {
        "Claim": dial_pb2.ClaimRequest(list_id=LIST, record_id="new", campaign_id="A"),
        "ClaimBatch": dial_pb2.ClaimBatchRequest(list_id=LIST, campaign_id="A", record_ids=["new"]),
        "ReportAttempt": dial_pb2.ReportAttemptRequest(
            list_id=LIST, record_id="new", campaign_id="A", wrap_up_code="Busy"
        ),
        "ReportAttemptBatch": dial_pb2.ReportAttemptBatchRequest(
            list_id=LIST, campaign_id="A", attempts=[{"record_id": "new", "wrap_up_code": "Busy"}]
        ),
        "GetHolder": dial_pb2.GetHolderRequest(list_id=LIST, record_id="new"),
        "GiveBack": dial_pb2.GiveBackRequest(list_id=LIST, campaign_id="A", dialer_id="d"),
    }
    limits = (("list_id", 128), ("record_id", 128), ("campaign_id", 80), ("dialer_id", 80))
    may_be_empty = {(method, "dialer_id") for method in good} - {("GiveBack", "dialer_id")}
    may_be_empty.add(("GiveBack", "list_id"))
    for method, request in good.items():
        for field, limit_bytes in limits:
            if field not in request.DESCRIPTOR.fields_by_name:
                continue
            for bad in _bad_strings(limit_bytes):
                if not bad and (method, field) in may_be_empty:
                    continue
                yield Bad(method, _with(request, field, bad), INVALID, (field,))
        yield Bad(method, _with(request, "list_id", "unknown"), MISSING, ("list_id", "unknown"))


def _with(request: Any, field: str, value: Any) -> Any:
    changed = type(request)()
    changed.CopyFrom(request)
    setattr(changed, field, value)
    return changed


def _policy_cases() -> Iterator[Bad]:
    for field, lengths in {
        "duration": [
            (0, 0),
            (-1, 0),
            (0, 999_999_999),
            (CENTURY_S, 1),
            (CENTURY_S + 1, 0),
            (2**62, 0),
            (1, -1),
            (5, 2_000_000_000),
        ],
        "reservation_ttl": [(0, 0), (-1, 0), (0, 1), (CENTURY_S + 1, 0)],
        "renewal_window": [(-1, 0), (0, -1), (CENTURY_S + 1, 0)],
    }.items():
        for seconds, nanos in lengths:
            policy = admin_pb2.OwnershipPolicy()
            getattr(policy, field).CopyFrom(Duration(seconds=seconds, nanos=nanos))
            create = admin_pb2.CreateContactListRequest(list_id="new", policy=policy)
            yield Bad("CreateContactList", create, INVALID, (f"policy.{field}", str(seconds)))
            update = admin_pb2.UpdateOwnershipPolicyRequest(list_id=LIST, policy=policy)
            yield Bad("UpdateOwnershipPolicy", update, INVALID, (f"policy.{field}", str(seconds)))
    never = admin_pb2.OwnershipPolicy(no_expiration=False)
    create = admin_pb2.CreateContactListRequest(list_id="new", policy=never)
    yield Bad("CreateContactList", create, INVALID, ("policy.no_expiration", "duration"))
    no_policy = admin_pb2.UpdateOwnershipPolicyRequest(list_id=LIST)
    yield Bad("UpdateOwnershipPolicy", no_policy, INVALID, ("policy",))
    for path in ("nonsense", "policy.enabled", ""):
        masked = admin_pb2.UpdateOwnershipPolicyRequest(
            list_id=LIST, policy={"enabled": False}, update_mask=FieldMask(paths=["enabled", path])
        )
        yield Bad("UpdateOwnershipPolicy", masked, INVALID, ("update_mask", "reservation_ttl"))
    stale = admin_pb2.UpdateOwnershipPolicyRequest(
        list_id=LIST, policy={"enabled": False}, etag="999999"
    )
    yield Bad("UpdateOwnershipPolicy", stale, "ABORTED", ("etag", "999999"))


def _list_cases() -> Iterator[Bad]:
    """Requests that name a list: a bad id, and a list that does not exist."""
    requests: list[tuple[str, Any]] = [
        ("GetContactList", admin_pb2.GetContactListRequest()),
        ("DeleteContactList", admin_pb2.DeleteContactListRequest(force=True)),
        ("UpdateOwnershipPolicy", admin_pb2.UpdateOwnershipPolicyRequest(policy={})),
        ("ListOwners", admin_pb2.ListOwnersRequest()),
        ("ReleaseOwnership", admin_pb2.ReleaseOwnershipRequest(all_campaigns=True)),
        ("ReleaseOwnership", admin_pb2.ReleaseOwnershipRequest(all_campaigns=True, dry_run=True)),
        ("ReleaseRecords", admin_pb2.ReleaseRecordsRequest(record_ids=["1"])),
        ("ListOwnedRecords", admin_pb2.ListOwnedRecordsRequest()),
    ]
    for method, request in requests:
        yield Bad(method, _with(request, "list_id", "unknown"), MISSING, ("list_id", "unknown"))
        for bad in _bad_strings(128):
            # A release that names no list may be meant for all of them.
            says = "list_id", "all_lists" if method == "ReleaseOwnership" and not bad else "128"
            yield Bad(method, _with(request, "list_id", bad), INVALID, says)
    for bad in _bad_strings(128):
        create = admin_pb2.CreateContactListRequest(list_id=bad)
        yield Bad("CreateContactList", create, INVALID, ("list_id", "128"))
    create = admin_pb2.CreateContactListRequest(list_id=LIST)
    yield Bad("CreateContactList", create, "ALREADY_EXISTS", (LIST,))
    delete = admin_pb2.DeleteContactListRequest(list_id=LIST)
    yield Bad("DeleteContactList", delete, "FAILED_PRECONDITION", ("force",))
    delete = admin_pb2.DeleteContactListRequest(list_id=OFF, etag="999999")
    yield Bad("DeleteContactList", delete, "ABORTED", ("etag", "999999"))


def _transfer_cases() -> Iterator[Bad]:
    transfer = admin_pb2.TransferOwnershipRequest
    for dry_run in (False, True):
        good = transfer(list_id=LIST, from_campaign_id="A", to_campaign_id="B", dry_run=dry_run)
        yield Bad("TransferOwnership", _with(good, "all_lists", True), INVALID, ("all_lists",))
        yield Bad("TransferOwnership", _with(good, "list_id", ""), INVALID, ("list_id",))
        yield Bad("TransferOwnership", _with(good, "list_id", "unknown"), MISSING, ("unknown",))
        same = _with(good, "to_campaign_id", "A")
        yield Bad("TransferOwnership", same, INVALID, ("to_campaign_id",))
        for field in ("from_campaign_id", "to_campaign_id"):
            for bad in _bad_strings(80):
                yield Bad("TransferOwnership", _with(good, field, bad), INVALID, (field,))
        giver = _with(good, "from_campaign_id", "unknown")
        yield Bad("TransferOwnership", giver, MISSING, ("campaign", "unknown"))


def _release_cases() -> Iterator[Bad]:
    release = admin_pb2.ReleaseOwnershipRequest
    for dry_run in (False, True):
        both = release(list_id=LIST, all_campaigns=True, campaign_ids=["A"], dry_run=dry_run)
        yield Bad("ReleaseOwnership", both, INVALID, ("campaign_ids", "all_campaigns"))
        neither = release(list_id=LIST, dry_run=dry_run)
        yield Bad("ReleaseOwnership", neither, INVALID, ("campaign_ids", "all_campaigns"))
        unknown = release(list_id=LIST, campaign_ids=["A", "unknown"], dry_run=dry_run)
        yield Bad("ReleaseOwnership", unknown, MISSING, ("campaign", "unknown"))
        for bad in _bad_strings(80):
            request = release(list_id=LIST, campaign_ids=["A", bad], dry_run=dry_run)
            yield Bad("ReleaseOwnership", request, INVALID, ("campaign_ids[1]",))
    many = release(list_id=LIST, campaign_ids=[str(number) for number in range(1_001)])
    yield Bad("ReleaseOwnership", many, INVALID, ("campaign_ids", "1,001"))
    records = admin_pb2.ReleaseRecordsRequest
    for count in (0, 10_001):
        request = records(list_id=LIST, record_ids=[str(number) for number in range(count)])
        yield Bad("ReleaseRecords", request, INVALID, ("record_ids", f"{count:,}"))
    for bad in _bad_strings(128):
        request = records(list_id=LIST, record_ids=["1", bad])
        yield Bad("ReleaseRecords", request, INVALID, ("record_ids[1]",))


def _page_cases() -> Iterator[Bad]:
    paged: list[tuple[str, Any]] = [
        ("ListContactLists", admin_pb2.ListContactListsRequest()),
        ("ListOwnedRecords", admin_pb2.ListOwnedRecordsRequest(list_id=LIST)),
        ("ListCampaigns", admin_pb2.ListCampaignsRequest()),
        ("ListWrapUpCodes", admin_pb2.ListWrapUpCodesRequest()),
        ("ListAuditEntries", admin_pb2.ListAuditEntriesRequest()),
    ]
    for method, request in paged:
        yield Bad(method, _with(request, "page_size", -1), INVALID, ("page_size", "-1"))
        for token in ("nonsense", "AAAA", "é", "x" * 5_000):
            yield Bad(method, _with(request, "page_token", token), INVALID, ("page_token",))
    unknown = admin_pb2.ListOwnedRecordsRequest(list_id=LIST, campaign_ids=["unknown"])
    yield Bad("ListOwnedRecords", unknown, MISSING, ("campaign", "unknown"))
    backwards = admin_pb2.AuditFilter(start_time={"seconds": 9}, end_time={"seconds": 1})
    request = admin_pb2.ListAuditEntriesRequest(filter=backwards)
    yield Bad("ListAuditEntries", request, INVALID, ("filter.end_time",))
    broken = admin_pb2.AuditFilter(start_time={"seconds": 1, "nanos": -1})
    request = admin_pb2.ListAuditEntriesRequest(filter=broken)
    yield Bad("ListAuditEntries", request, INVALID, ("filter.start_time",))


def _campaign_and_code_cases() -> Iterator[Bad]:
    signal = admin_pb2.SignalCampaignRequest
    stopped = admin_pb2.CAMPAIGN_SIGNAL_STOPPED
    for bad in _bad_strings(80):
        upsert = admin_pb2.UpsertCampaignRequest(campaign_id=bad, name="n")
        yield Bad("UpsertCampaign", upsert, INVALID, ("campaign_id", "80"))
        yield Bad(
            "SignalCampaign",
            signal(campaign_id=bad, signal=stopped),
            INVALID,
            ("campaign_id", "80"),
        )
    long_name = admin_pb2.UpsertCampaignRequest(campaign_id="A", name="é" * 129)
    yield Bad("UpsertCampaign", long_name, INVALID, ("name", "256"))
    for what in (0, 99):
        request = signal(campaign_id="A", list_id=LIST, signal=what)
        yield Bad("SignalCampaign", request, INVALID, ("signal", "STOPPED"))
    request = signal(campaign_id="unknown", signal=stopped)
    yield Bad("SignalCampaign", request, MISSING, ("campaign", "unknown"))
    request = signal(campaign_id="A", list_id="unknown", signal=stopped)
    yield Bad("SignalCampaign", request, MISSING, ("list_id", "unknown"))
    yield Bad("UpsertWrapUpCode", admin_pb2.UpsertWrapUpCodeRequest(), INVALID, ("code",))
    for code, field in [
        ({"code": "", "category": "Busy"}, "code.code"),
        ({"code": "x" * 65, "category": "Busy"}, "code.code"),
        ({"code": "Own"}, "code.category"),
        ({"code": "Own", "category": "Nonsense"}, "code.category"),
        ({"code": "Own", "category": "No Lines", "success": True}, "code.success"),
        ({"code": "Success", "counts_as_attempt": False, "success": True}, "code.success"),
    ]:
        upsert_code = admin_pb2.UpsertWrapUpCodeRequest(code=code)
        yield Bad("UpsertWrapUpCode", upsert_code, INVALID, (field,))
    for bad in _bad_strings(64):
        delete_code = admin_pb2.DeleteWrapUpCodeRequest(code=bad)
        yield Bad("DeleteWrapUpCode", delete_code, INVALID, ("code",))
    unknown_code = admin_pb2.DeleteWrapUpCodeRequest(code="Nonsense")
    yield Bad("DeleteWrapUpCode", unknown_code, MISSING, ("code", "Nonsense"))


def _reason_cases() -> Iterator[Bad]:
    """Every change takes a reason and a request id, with limits."""
    requests: list[tuple[str, Any]] = [
        ("CreateContactList", admin_pb2.CreateContactListRequest(list_id="new")),
        ("DeleteContactList", admin_pb2.DeleteContactListRequest(list_id=OFF)),
        ("UpdateOwnershipPolicy", admin_pb2.UpdateOwnershipPolicyRequest(list_id=LIST, policy={})),
        ("ReleaseOwnership", admin_pb2.ReleaseOwnershipRequest(list_id=LIST, all_campaigns=True)),
        ("ReleaseRecords", admin_pb2.ReleaseRecordsRequest(list_id=LIST, record_ids=["1"])),
        ("UpsertCampaign", admin_pb2.UpsertCampaignRequest(campaign_id="A", name="other")),
        (
            "SignalCampaign",
            admin_pb2.SignalCampaignRequest(
                campaign_id="A", signal=admin_pb2.CAMPAIGN_SIGNAL_STOPPED
            ),
        ),
        (
            "UpsertWrapUpCode",
            admin_pb2.UpsertWrapUpCodeRequest(code={"code": "Own", "category": "Busy"}),
        ),
        ("DeleteWrapUpCode", admin_pb2.DeleteWrapUpCodeRequest(code="Busy")),
    ]
    for method, request in requests:
        yield Bad(method, _with(request, "reason", "é" * 513), INVALID, ("reason", "1,024"))
        yield Bad(method, _with(request, "request_id", "x" * 65), INVALID, ("request_id", "64"))


DIAL_CASES = list(_dial_cases())
ADMIN_CASES = [
    *_policy_cases(),
    *_list_cases(),
    *_release_cases(),
    *_transfer_cases(),
    *_page_cases(),
    *_campaign_and_code_cases(),
    *_reason_cases(),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server that only this module uses, so that its revision stands between the calls."""
    with ServerProcess(tmp_path_factory.mktemp("guarded") / "data") as server:
        yield Guarded(server)


def _assert_refused(found: tuple[str, str], case: Bad) -> None:
    code, message = found
    assert code == case.code, message
    for name in case.names:
        assert name in message
    _assert_clean(message)


def _assert_clean(message: str) -> None:
    """Nothing internal leaks, and a long value is not sent back whole."""
    for leak in ("Traceback", "Exception", ".py", ".pyx", "0x"):
        assert leak not in message
    assert 0 < len(message) < 1500


@pytest.mark.parametrize("port", ["dial port", "admin port"])
def test_a_bad_dial_call_is_refused_by_field_and_changes_nothing(
    guarded: Guarded, port: str
) -> None:
    before = guarded.state()
    for case in DIAL_CASES:
        body = case.request.SerializeToString()
        _assert_refused(guarded.raw(port, "DialService", case.method, body), case)
    assert guarded.state() == before


def test_a_bad_dial_call_is_refused_by_the_engine_itself(engine: EngineSubject) -> None:
    engine.create_list(LIST)
    before = engine.revision()
    for case in DIAL_CASES:
        kind = native.DIAL_METHODS.index(case.method)
        with pytest.raises(native.Refused) as refused:
            engine.engine.dial(kind, case.request.SerializeToString())
        code = {3: INVALID, 5: MISSING}[refused.value.code]
        _assert_refused((code, refused.value.message), case)
    assert engine.revision() == before
    assert (engine.owners(LIST), engine.campaigns()) == ([], {})


@pytest.mark.parametrize("case", ADMIN_CASES, ids=_ids(ADMIN_CASES))
def test_a_bad_admin_call_is_refused_by_field(guarded: Guarded, case: Bad) -> None:
    before = guarded.subject.revision()
    body = case.request.SerializeToString()
    _assert_refused(guarded.raw("admin port", "AdminService", case.method, body), case)
    assert guarded.subject.revision() == before


def test_all_bad_admin_calls_together_change_nothing(guarded: Guarded) -> None:
    before = guarded.state()
    for case in ADMIN_CASES:
        body = case.request.SerializeToString()
        code, _ = guarded.raw("admin port", "AdminService", case.method, body)
        assert code == case.code
    assert guarded.state() == before


# ---- imports and exports


def _import_cases() -> Iterator[tuple[list[Any], str, tuple[str, ...]]]:
    good = {"record_id": "new", "campaign_id": "A"}
    request = admin_pb2.ImportOwnershipRequest
    yield [], INVALID, ("list_id",)
    yield [request(rows=[good])], INVALID, ("list_id",)
    yield [request(list_id="x" * 129, rows=[good])], INVALID, ("list_id",)
    yield [request(list_id="unknown", rows=[good])], MISSING, ("list_id", "unknown")
    odd = request(list_id=LIST, conflict_strategy=99, rows=[good])
    yield [odd], INVALID, ("conflict_strategy",)
    yield [request(list_id=LIST, reason="x" * 1025, rows=[good])], INVALID, ("reason",)
    yield [request(list_id=LIST, request_id="x" * 65, rows=[good])], INVALID, ("request_id",)
    for bad, field in [
        ({"record_id": "", "campaign_id": "A"}, "record_id"),
        ({"record_id": "é" * 65, "campaign_id": "A"}, "record_id"),
        ({"record_id": "new", "campaign_id": ""}, "campaign_id"),
        ({"record_id": "new", "campaign_id": "x" * 81}, "campaign_id"),
        ({"record_id": "new", "campaign_id": "A", "campaign_name": "x" * 257}, "campaign_name"),
        ({**good, "expire_time": {"seconds": 1, "nanos": -1}}, "expire_time"),
        ({**good, "expire_time": {"seconds": 2**60}}, "expire_time"),
    ]:
        messages = [request(list_id=LIST, rows=[good] * 3), request(rows=[good, bad, good])]
        yield messages, INVALID, ("row 5", field)
    other = [request(list_id=LIST, rows=[good]), request(list_id=OFF, rows=[good])]
    yield other, INVALID, ("list_id", LIST)
    late = [request(list_id=LIST, rows=[good]), request(conflict_strategy=SKIP, rows=[good])]
    yield late, INVALID, ("conflict_strategy", "first message")
    held = [request(list_id=LIST, rows=[good, {"record_id": "3", "campaign_id": "A"}])]
    yield held, "FAILED_PRECONDITION", ("row 2", "'3'")
    dialed = [request(list_id=LIST, rows=[good, {"record_id": "dialing", "campaign_id": "B"}])]
    yield dialed, "FAILED_PRECONDITION", ("row 2", "dialing")


def test_a_bad_import_is_refused_by_row_and_changes_nothing(guarded: Guarded) -> None:
    before = guarded.state()
    for messages, code, names in _import_cases():
        with pytest.raises(grpc.RpcError) as failure:
            guarded.subject.admin.ImportOwnership(iter(messages), timeout=30)
        message = failure.value.details()
        assert failure.value.code().name == code, message
        assert all(name in message for name in names), message
        _assert_clean(message)
    assert guarded.state() == before


def test_a_bad_row_after_many_good_ones_rejects_them_all(guarded: Guarded) -> None:
    before = guarded.state()
    rows = [{"record_id": f"new-{number}", "campaign_id": "A"} for number in range(1_000)]
    messages = [admin_pb2.ImportOwnershipRequest(rows=rows) for _ in range(20)]
    messages[0].list_id = LIST
    messages[-1].rows[-1].campaign_id = ""
    with pytest.raises(grpc.RpcError, match="row 20000"):
        guarded.subject.admin.ImportOwnership(iter(messages), timeout=30)
    assert guarded.state() == before


def test_an_import_that_its_client_breaks_off_changes_nothing(guarded: Guarded) -> None:
    before = guarded.state()
    sent: list[int] = []

    def stream() -> Iterator[Any]:
        yield from import_messages(LIST, [], SKIP)
        rows = [{"record_id": f"new-{number}", "campaign_id": "A"} for number in range(1_000)]
        for number in range(1_000_000):
            sent.append(number)
            yield admin_pb2.ImportOwnershipRequest(rows=rows)

    call = guarded.subject.admin.ImportOwnership.future(stream(), timeout=30)
    while len(sent) < 5:
        assert not call.done()
    call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result(30)
    assert guarded.state() == before


@pytest.mark.parametrize(
    ("list_id", "campaigns", "code"),
    [
        ("", [], INVALID),
        ("unknown", [], MISSING),
        (LIST, ["unknown"], MISSING),
        (LIST, [""], INVALID),
    ],
)
def test_a_bad_export_is_refused(
    guarded: Guarded, list_id: str, campaigns: list[str], code: str
) -> None:
    request = admin_pb2.ExportOwnershipRequest(list_id=list_id, campaign_ids=campaigns)
    with pytest.raises(grpc.RpcError) as failure:
        list(guarded.subject.admin.ExportOwnership(request, timeout=30))
    assert failure.value.code().name == code
    _assert_clean(failure.value.details())


# ---- calls that are no calls


def test_an_unknown_method_is_unimplemented(guarded: Guarded) -> None:
    for port in guarded.ports:
        assert guarded.raw(port, "DialService", "Nonsense", b"")[0] == "UNIMPLEMENTED"
    assert guarded.raw("dial port", "AdminService", "ListOwners", b"")[0] == "UNIMPLEMENTED"


@pytest.mark.parametrize("port", ["dial port", "admin port"])
def test_a_message_over_the_limit_is_refused_and_the_server_serves_on(
    guarded: Guarded, port: str
) -> None:
    before = guarded.state()
    code, _ = guarded.raw(port, "DialService", "Claim", b"\x0a" + b"x" * (4 << 20))
    assert code == "RESOURCE_EXHAUSTED"
    assert guarded.state() == before


def test_ids_of_the_greatest_length_are_taken(guarded: Guarded) -> None:
    subject = guarded.subject
    list_id, campaign_id = "é" * 64, "c" * 80
    subject.create_list(list_id)
    for record_id in ("r" * 128, "é" * 64, "\0", " ", "𝄞" * 32):
        assert subject.claim(list_id, record_id, campaign_id).what == "GRANTED"
        assert subject.attempt(list_id, record_id, campaign_id, "Busy").what == "OWNERSHIP_ACQUIRED"
    shown = {record.record_id for record in subject.owned(list_id, [campaign_id])}
    assert shown == {"r" * 128, "é" * 64, "\0", " ", "𝄞" * 32}
    subject.delete_list(list_id, force=True)


def test_the_largest_batches_are_taken(guarded: Guarded) -> None:
    ids = [f"batch-{number}" for number in range(10_000)]
    answers = guarded.subject.claim_batch(OFF, "A", ids)
    assert answers.what == ["UNCONTROLLED"] * 10_000
    reports = [(record_id, "Busy") for record_id in ids]
    assert guarded.subject.attempt_batch(OFF, "A", reports).what == ["NOT_CONTROLLED"] * 10_000
    assert guarded.subject.release_records(OFF, ids) == 0


Call = Callable[[], Any]


def test_a_bad_change_is_refused_by_the_engine_itself(engine: EngineSubject) -> None:
    """The service checks first; the core does not rely on that for what it stores."""
    core = engine.engine
    policy = native.Policy(True, None, None, 10**9)
    calls: list[Call] = [
        lambda: core.create_list("", policy, **NOTE),
        lambda: core.create_list("x" * 129, policy, **NOTE),
        lambda: core.upsert_campaign("", "name", **NOTE),
        lambda: core.upsert_campaign("x" * 81, "name", **NOTE),
        lambda: core.import_rows("list", [("", "A", "", None)], 1, **NOTE),
        lambda: core.import_rows("list", [("1", "", "", None)], 1, **NOTE),
        lambda: core.import_rows("list", [("x" * 129, "A", "", None)], 1, **NOTE),
    ]
    engine.create_list("list")
    before = engine.revision()
    for call in calls:
        with pytest.raises((native.Refused, ValueError)):
            call()
    assert engine.revision() == before
