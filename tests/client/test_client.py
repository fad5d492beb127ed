"""The Python client's data plane, errors, retries and deadlines: `Client` and `AsyncClient` alike.

Nearly all run against a fake server; the last runs both clients against a real one.
"""

import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from inspect import isasyncgenfunction, iscoroutinefunction, signature
from typing import Any

import grpc
import pytest
from fake_server import SERVICES, FakeServer
from harness import ServerProcess
from stamps import ACQUIRED, EXPIRES, stamp

import ownerd.client as client_package
from ownerd.client import (
    AsyncClient,
    Client,
    ClientError,
    Decision,
    Holder,
    HoldKind,
    Outcome,
    Policy,
)
from ownerd.v1 import dial_pb2


def owned_by(campaign_id: str, expire_time: datetime | None = EXPIRES) -> dial_pb2.Holder:
    return dial_pb2.Holder(
        kind=dial_pb2.HOLD_KIND_OWNED,
        campaign_id=campaign_id,
        campaign_name=campaign_id.title(),
        acquire_time=stamp(ACQUIRED),
        expire_time=stamp(expire_time) if expire_time else None,
    )


def test_a_grant_is_allowed_and_has_no_holder(fake: FakeServer, client: Any) -> None:
    fake.answer("Claim", dial_pb2.ClaimResponse(decision=1, revision=7))
    claim = client.claim("customers", "42", "spring")
    assert (claim.decision, claim.holder, claim.revision) == (Decision.GRANTED, None, 7)
    assert claim.allowed
    assert fake.requests["Claim"] == [
        dial_pb2.ClaimRequest(list_id="customers", record_id="42", campaign_id="spring")
    ]


def test_a_denial_is_an_answer_with_the_holder(fake: FakeServer, client: Any) -> None:
    fake.answer("Claim", dial_pb2.ClaimResponse(decision=2, holder=owned_by("summer")))
    claim = client.claim("customers", "42", "spring")
    assert not claim.allowed
    assert claim.holder == Holder(HoldKind.OWNED, "summer", "Summer", ACQUIRED, EXPIRES)


def test_a_dial_without_control_is_allowed(fake: FakeServer, client: Any) -> None:
    fake.answer("Claim", dial_pb2.ClaimResponse(decision=3))
    assert client.claim("customers", "42", "spring").allowed


@pytest.mark.parametrize("number", [0, 99])
def test_an_unknown_decision_never_allows_a_dial(
    fake: FakeServer, client: Any, number: int
) -> None:
    fake.answer("Claim", lambda _: dial_pb2.ClaimResponse.FromString(bytes([8, number])))
    claim = client.claim("customers", "42", "spring")
    assert claim.decision is Decision.UNKNOWN
    assert not claim.allowed


def test_times_are_utc_and_cut_to_microseconds(fake: FakeServer, client: Any) -> None:
    holder = dial_pb2.Holder(kind=1, campaign_id="a", expire_time=stamp(EXPIRES, extra_ns=999))
    fake.answer("GetHolder", dial_pb2.GetHolderResponse(holder=holder))
    found = client.holder("customers", "42")
    assert found.expire_time == EXPIRES
    assert found.expire_time.utcoffset() == timedelta(0)


def test_a_hold_without_end_has_no_expire_time(fake: FakeServer, client: Any) -> None:
    fake.answer("GetHolder", dial_pb2.GetHolderResponse(holder=owned_by("a", None)))
    assert client.holder("customers", "42").expire_time is None


def test_nobody_holds_a_free_record(client: Any) -> None:
    assert client.holder("customers", "42") is None


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (0, Outcome.UNKNOWN),
        (1, Outcome.ACQUIRED),
        (2, Outcome.RENEWED),
        (3, Outcome.KEPT),
        (4, Outcome.RESERVATION_CLEARED),
        (5, Outcome.NOT_CONTROLLED),
        (6, Outcome.REJECTED),
        (7, Outcome.INVALID),
        (8, Outcome.UNKNOWN),
    ],
)
def test_each_outcome_of_a_report_is_read(
    fake: FakeServer, client: Any, number: int, outcome: Outcome
) -> None:
    fake.answer("ReportAttempt", dial_pb2.ReportAttemptResponse(outcome=number, revision=3))
    report = client.report("customers", "42", "spring", "Busy")
    assert (report.outcome, report.revision) == (outcome, 3)
    assert fake.requests["ReportAttempt"][0].wrap_up_code == "Busy"


# Batches


def answer_claim_batch(request: Any) -> dial_pb2.ClaimBatchResponse:
    """Deny the last record of each call, grant the others."""
    last = len(request.record_ids) - 1
    return dial_pb2.ClaimBatchResponse(
        decisions=[1] * last + [2],
        denials=[{"index": last, "holder": owned_by("summer")}],
        revision=int(request.record_ids[0]),
    )


def test_a_batch_of_25000_records_is_cut_to_the_servers_limit(
    fake: FakeServer, client: Any
) -> None:
    fake.answer("ClaimBatch", answer_claim_batch)
    ids = [str(number) for number in range(25_000)]
    claims = client.claim_batch("customers", "spring", ids)
    sent = fake.requests["ClaimBatch"]
    assert [len(request.record_ids) for request in sent] == [10_000, 10_000, 5_000]
    assert [record_id for request in sent for record_id in request.record_ids] == ids
    assert len(claims) == 25_000
    denied = [index for index, claim in enumerate(claims) if not claim.allowed]
    assert denied == [9_999, 19_999, 24_999] == sorted(claims.holders)
    assert claims[19_999].holder.campaign_id == "summer"
    assert [claims[index].revision for index in (9_999, 10_000, -1)] == [0, 10_000, 20_000]
    assert [claim.decision for claim in claims[9_998:10_001]] == [1, 2, 1]
    with pytest.raises(IndexError):
        claims[25_000]


def test_a_batch_of_25000_attempts_is_cut_to_the_servers_limit(
    fake: FakeServer, client: Any
) -> None:
    fake.answer(
        "ReportAttemptBatch",
        lambda request: dial_pb2.ReportAttemptBatchResponse(
            outcomes=[6] + [1] * (len(request.attempts) - 1),
            rejections=[{"index": 0, "holder": owned_by("summer")}],
            revision=5,
        ),
    )
    attempts = [(str(number), "Busy") for number in range(25_000)]
    reports = client.report_batch("customers", "spring", attempts)
    sent = fake.requests["ReportAttemptBatch"]
    assert [len(request.attempts) for request in sent] == [10_000, 10_000, 5_000]
    assert sent[2].attempts[0] == dial_pb2.ReportAttemptBatchRequest.Attempt(
        record_id="20000", wrap_up_code="Busy"
    )
    rejected = [index for index, item in enumerate(reports) if item.outcome is Outcome.REJECTED]
    assert rejected == [0, 10_000, 20_000] == sorted(reports.holders)
    assert reports[20_000].holder.campaign_id == "summer"


def test_an_empty_batch_sends_nothing(fake: FakeServer, client: Any) -> None:
    assert len(client.claim_batch("customers", "spring", [])) == 0
    assert len(client.report_batch("customers", "spring", [])) == 0
    assert client.release_records("customers", []).released_count == 0
    assert not fake.requests


def test_r25_a_bad_item_is_answered_by_itself_with_its_index_in_the_whole_batch(
    fake: FakeServer, client: Any
) -> None:
    def answer(request: Any) -> dial_pb2.ReportAttemptBatchResponse:
        last = len(request.attempts) - 1
        return dial_pb2.ReportAttemptBatchResponse(
            outcomes=[1] * last + [7], invalid=[{"index": last, "reason": "record_id: empty"}]
        )

    fake.answer("ReportAttemptBatch", answer)
    attempts = [("1", "Busy")] * 12_000 + [("", "Busy")]
    reports = client.report_batch("customers", "spring", attempts)
    assert dict(reports.invalid) == {9_999: "record_id: empty", 12_000: "record_id: empty"}
    assert (reports[12_000].outcome, reports[12_000].invalid_reason) == (
        Outcome.INVALID,
        "record_id: empty",
    )


def test_r22_a_claim_names_its_dialer_and_shows_its_reservation(
    fake: FakeServer, client: Any
) -> None:
    answer = dial_pb2.ClaimResponse(
        decision=1, reserved_until=stamp(EXPIRES), reservation_id=2**63 + 1
    )
    fake.answer("Claim", answer)
    claim = client.claim(
        "customers", "42", "spring", dialer_id="n1", reservation_ttl=timedelta(minutes=2)
    )
    assert (claim.reserved_until, claim.reservation_id) == (EXPIRES, 2**63 + 1)
    sent = fake.requests["Claim"][0]
    assert (sent.dialer_id, sent.reservation_ttl.seconds) == ("n1", 120)
    client.claim("customers", "42", "spring")
    sent = fake.requests["Claim"][1]
    assert sent.dialer_id == "" and not sent.HasField("reservation_ttl")


def test_r24_a_report_tells_when_its_dial_ended(fake: FakeServer, client: Any) -> None:
    fake.answer("ReportAttempt", dial_pb2.ReportAttemptResponse(outcome=1))
    client.report(
        "customers", "42", "spring", "Busy", dialer_id="n1", attempt_time=EXPIRES, reservation_id=5
    )
    client.report("customers", "42", "spring", "Busy")
    told, plain = fake.requests["ReportAttempt"]
    assert (told.dialer_id, told.reservation_id) == ("n1", 5)
    assert told.attempt_time == stamp(EXPIRES)
    assert not plain.HasField("attempt_time") and plain.reservation_id == 0
    with pytest.raises(ValueError, match="time zone"):
        client.report(
            "customers", "42", "spring", "Busy", attempt_time=EXPIRES.replace(tzinfo=None)
        )


def test_r24_an_attempt_of_a_batch_may_be_of_three_forms(fake: FakeServer, client: Any) -> None:
    fake.answer("ReportAttemptBatch", dial_pb2.ReportAttemptBatchResponse(outcomes=[1, 1, 1]))
    attempts = [
        ("1", "Busy"),
        ("2", "Busy", EXPIRES),
        client_package.Attempt("3", "Busy", EXPIRES, 7),
    ]
    client.report_batch("customers", "spring", attempts, dialer_id="n1")
    sent = fake.requests["ReportAttemptBatch"][0]
    assert sent.dialer_id == "n1"
    assert [each.record_id for each in sent.attempts] == ["1", "2", "3"]
    assert [each.HasField("attempt_time") for each in sent.attempts] == [False, True, True]
    assert [each.reservation_id for each in sent.attempts] == [0, 0, 7]


def test_a_claim_batch_has_the_ids_of_its_reservations(fake: FakeServer, client: Any) -> None:
    answer = dial_pb2.ClaimBatchResponse(
        decisions=[1, 2, 4],
        denials=[{"index": 1, "holder": owned_by("summer")}],
        invalid=[{"index": 2, "reason": "empty"}],
        reservation_ids=[9, 0, 0],
    )
    fake.answer("ClaimBatch", answer)
    claims = client.claim_batch("customers", "spring", ["1", "2", ""], dialer_id="n1")
    assert [claim.reservation_id for claim in claims] == [9, 0, 0]
    assert (claims[2].decision, claims[2].allowed) == (Decision.INVALID, False)
    assert fake.requests["ClaimBatch"][0].return_reservation_ids


def test_an_id_that_is_no_str_is_refused_with_its_name(fake: FakeServer, client: Any) -> None:
    sent_count = len(fake.requests)
    for call, name in (
        (lambda: client.claim("L", 42, "A"), "record_id is a str, found 42, an int"),
        (lambda: client.claim(7, "1", "A"), "list_id is a str"),
        (lambda: client.report("L", "1", None, "Busy"), "campaign_id is a str, found None"),
        (lambda: client.holder("L", 42), "record_id is a str"),
        (
            lambda: client.claim_batch("L", record_ids=["1", 42], campaign_id="A"),
            "record id at index 1 is a str",
        ),
        (lambda: client.report_batch("L", "A", [(42, "Busy")]), "record id at index 0 is a str"),
        (lambda: client.owners(42), "list_id is a str"),
    ):
        with pytest.raises(TypeError, match=name):
            call()
    assert len(fake.requests) == sent_count


def test_a_lone_string_is_not_a_batch_of_its_letters(client: Any) -> None:
    with pytest.raises(TypeError):
        client.claim_batch("customers", "spring", "42")


def test_an_error_in_a_later_chunk_says_where_it_counts_from(fake: FakeServer, client: Any) -> None:
    def fail_second(request: Any) -> Any:
        if request.record_ids[0] == "10000":
            raise AssertionError("the handler of the test fails")
        return answer_claim_batch(request)

    fake.answer("ClaimBatch", fail_second)
    with pytest.raises(ClientError, match="counted from item 10000 of your batch"):
        client.claim_batch("customers", "spring", [str(number) for number in range(25_000)])
    assert len(fake.requests["ClaimBatch"]) == 2


# Errors, retries, deadlines


def test_unavailable_is_retried_until_the_server_answers(fake: FakeServer, client: Any) -> None:
    fake.fail(grpc.StatusCode.UNAVAILABLE, times=3)
    fake.answer("Claim", dial_pb2.ClaimResponse(decision=1))
    assert client.claim("customers", "42", "spring").allowed
    assert len(fake.requests["Claim"]) == 4


def test_unavailable_is_raised_after_five_tries(fake: FakeServer, client: Any) -> None:
    fake.fail(grpc.StatusCode.UNAVAILABLE, "the server is draining", times=9)
    with pytest.raises(client_package.Unavailable, match="the server is draining"):
        client.claim("customers", "42", "spring")
    assert len(fake.requests["Claim"]) == 5


def test_r20_a_retried_admin_change_carries_the_same_request_id(
    fake: FakeServer, client: Any
) -> None:
    fake.fail(grpc.StatusCode.UNAVAILABLE, times=2)
    client.release("customers", "spring", reason="spring is over")
    client.release("customers", "spring", reason="spring is over")
    ids = [request.request_id for request in fake.requests["ReleaseOwnership"]]
    assert len(ids) == 4
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert all(ids)


def test_the_callers_request_id_is_sent(fake: FakeServer, client: Any) -> None:
    client.release("customers", "spring", request_id="once")
    assert fake.requests["ReleaseOwnership"][0].request_id == "once"


@pytest.mark.parametrize(
    "code",
    [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE", "CANCELLED")],
    ids=lambda code: code.name,
)
def test_each_status_code_is_raised_as_its_class_and_not_retried(
    fake: FakeServer, client: Any, code: grpc.StatusCode
) -> None:
    fake.fail(code, 'record_id is "": give 1 to 128 bytes')
    with pytest.raises(ClientError) as caught:
        client.claim("customers", "42", "spring")
    assert (caught.value.code, caught.value.message) == (
        code,
        'record_id is "": give 1 to 128 bytes',
    )
    class_name = code.name.title().replace("_", "")
    assert type(caught.value) is getattr(client_package, class_name, ClientError)
    assert len(fake.requests["Claim"]) == 1


def test_a_call_ends_at_its_deadline(fake: FakeServer, client: Any) -> None:
    fake.hold("Claim")
    with pytest.raises(client_package.DeadlineExceeded):
        client.claim("customers", "42", "spring", timeout_s=0.1)


def test_the_clients_own_deadline_is_the_default(
    fake: FakeServer, connect: Callable[..., Any]
) -> None:
    fake.hold("Claim")
    fake.hold("ListOwners")
    client = connect(fake.address, timeout_s=0.1, admin_timeout_s=0.2)
    with pytest.raises(client_package.DeadlineExceeded):
        client.claim("customers", "42", "spring")
    with pytest.raises(client_package.DeadlineExceeded):
        client.owners("customers")


def test_a_server_that_is_not_there_is_unavailable(connect: Callable[..., Any]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        client = connect(f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(client_package.Unavailable):
            client.claim("customers", "42", "spring")


def test_admin_calls_go_to_the_admin_target(fake: FakeServer, connect: Callable[..., Any]) -> None:
    with FakeServer() as admin:
        client = connect(fake.address, admin_target=admin.address)
        client.claim("customers", "42", "spring")
        client.owners("customers")
        assert (list(fake.requests), list(admin.requests)) == (["Claim"], ["ListOwners"])


def test_an_admin_call_to_a_dial_listener_says_what_to_do(connect: Callable[..., Any]) -> None:
    with FakeServer(SERVICES[:1]) as dial_only:
        client = connect(dial_only.address)
        with pytest.raises(client_package.Unimplemented, match="admin_target="):
            client.owners("customers")


def test_a_client_can_be_closed_twice(fake: FakeServer, connect: Callable[..., Any]) -> None:
    client = connect(fake.address)
    client.claim("customers", "42", "spring")
    client.close()
    client.close()


def test_threads_share_a_client(fake: FakeServer) -> None:
    fake.answer("Claim", dial_pb2.ClaimResponse(decision=1))
    allowed = []
    with Client(fake.address) as client:

        def work() -> None:
            allowed.extend(client.claim("customers", str(n), "spring").allowed for n in range(20))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert allowed == [True] * 160


def test_the_two_clients_have_the_same_methods_arguments_and_words() -> None:
    names = [name for name in dir(AsyncClient) if not name.startswith("_")]
    assert names == [name for name in dir(Client) if not name.startswith("_")]
    for name in (*names, "__init__"):
        awaited, plain = getattr(AsyncClient, name), getattr(Client, name)
        assert signature(awaited).parameters == signature(plain).parameters, name
        assert awaited.__doc__ == plain.__doc__, name
        assert not iscoroutinefunction(plain) and not isasyncgenfunction(plain), name
    assert AsyncClient.__doc__ == Client.__doc__


# Against a real server


def test_both_clients_speak_to_a_real_server(
    shared_server: ServerProcess, connect: Callable[..., Any], unique: str
) -> None:
    client = connect(shared_server.dial_address, admin_target=shared_server.admin_address)
    other = f"{unique}-other"
    client.create_list(unique, Policy(enabled=True, duration=timedelta(days=2)))
    client.upsert_campaign(unique, "Spring")
    assert client.claim(unique, "42", unique).decision is Decision.GRANTED
    assert client.report(unique, "42", unique, "Busy").outcome is Outcome.ACQUIRED
    denied = client.claim(unique, "42", other)
    assert (denied.decision, denied.holder.campaign_name) == (Decision.DENIED, "Spring")
    claims = client.claim_batch(unique, other, [str(n) for n in range(25_000)])
    assert [index for index, claim in enumerate(claims) if not claim.allowed] == [42]
    assert client.owners(unique).total_owned_count == 1
    assert [record.record_id for record in client.owned_records(unique)] == ["42"]
    assert client.claim(unique, "new", other, dialer_id="n1").reservation_id
    assert client.claim(unique, "new", other, dialer_id="n2").holder.dialer_id == "n1"
    assert client.give_back(other, "n1", list_id=unique) > 0
    assert client.holder(unique, "new") is None
    moved = client.transfer(unique, f"{unique}-again", list_id=unique, dry_run=True)
    assert moved.transferred_count == 1
    client.set_policy(unique, duration=timedelta(hours=1))
    assert client.get_list(unique).policy.duration == timedelta(hours=1)
    exported = list(client.export_ownership(unique))
    assert client.release(unique, unique, reason="over").released_count == 1
    assert client.holder(unique, "42") is None
    assert client.import_ownership(unique, exported).imported_count == 1
    with pytest.raises(client_package.NotFound):
        client.claim("no such list", "42", unique)
