"""Who one is: tokens on every port, what is shown to whom, limits, secrets."""

import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from guarded_server import (
    LIST,
    RIGHTS,
    TOKEN,
    Caller,
    GuardedServer,
    audit,
    bearer,
    claim,
    claims,
    grants,
    status,
)
from harness import ServerProcess, listeners, poll

from ownerd.server.admin import page_tokens
from ownerd.v1 import admin_pb2, dial_pb2

OTHER_LIST = "others"


@pytest.fixture(scope="module", params=["native", "grpcio"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuardedServer]:
    """A server with each dial listener in turn, and two lists."""
    if request.param == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    directory = tmp_path_factory.mktemp("auth") / "data"
    with GuardedServer(directory, *listeners(request.param)) as process:
        for list_id in (LIST, OTHER_LIST):
            process.open_list(list_id)
        yield process


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[GuardedServer]:
    """A server of the test's own."""
    with GuardedServer(tmp_path / "data") as process:
        yield process


def rotate(server: GuardedServer, principal_id: str, **fields: Any) -> str:
    request = admin_pb2.RotateTokenRequest(principal_id=principal_id, **fields)
    return str(server.root.admin("RotateToken", request).token)


def revoke(server: GuardedServer, principal_id: str, **fields: Any) -> None:
    request = admin_pb2.RevokeTokensRequest(principal_id=principal_id, **fields)
    server.root.admin("RevokeTokens", request)


# ---- tokens


@pytest.mark.parametrize("port", ["dial", "admin"])
def test_only_a_whole_and_known_token_is_let_in(
    server: GuardedServer, unique: str, port: str
) -> None:
    good = server.principal(unique, *grants(["dial", "view"])).token
    assert good is not None and TOKEN.fullmatch(good)
    wrong = [
        None,
        "x",
        good[:-1],
        good + "x",
        good.upper(),
        good[len("ownerd_") :],
        "ownerd_" + secrets.token_urlsafe(32),
        "ownerd_" + "x" * 4_000,
        f"{good} {good}",
    ]
    for token in wrong:
        caller = server.caller(token, on_admin_port=port == "admin")
        code, message = status(caller.dial, "Claim", claim("1", unique))
        assert code == "UNAUTHENTICATED", token
        assert good not in message and (not token or token not in message)
    caller = server.caller(good, on_admin_port=port == "admin")
    assert caller.dial("Claim", claim(unique, unique)).decision


@pytest.mark.parametrize("on_admin_port", [False, True])
def test_the_scheme_is_bearer_in_any_case_and_given_once(
    server: GuardedServer, unique: str, on_admin_port: bool
) -> None:
    good = server.principal(unique, *grants(["dial"])).token
    address = server.admin_address if on_admin_port else server.dial_address
    stub = server.dial_stub(address)

    def code(*metadata: tuple[str, str]) -> str:
        return status(stub.Claim, claim(unique, unique), metadata=metadata, timeout=10)[0]

    assert code(("authorization", f"bearer {good}")) == "OK"
    assert code(("authorization", f"BEARER {good}")) == "OK"
    assert code(("authorization", f"Basic {good}")) == "UNAUTHENTICATED"
    assert code(("authorization", str(good))) == "UNAUTHENTICATED"
    assert code(("authorization", "Bearer")) == "UNAUTHENTICATED"
    assert code(*bearer(good), *bearer(good)) == "UNAUTHENTICATED"


def test_a_token_of_another_server_is_wrong_here(server: GuardedServer, tmp_path: Path) -> None:
    with GuardedServer(tmp_path / "other") as other:
        stranger = server.caller(other.root.token)
        assert other.root.token != server.root.token
        assert claims(stranger) == "UNAUTHENTICATED"


def test_a_revoked_token_is_over_with_the_answer_also_on_an_open_connection(
    server: GuardedServer, unique: str
) -> None:
    caller = server.principal(unique, *grants(["dial"]))
    assert claims(caller, unique, unique) == "OK"
    revoke(server, unique, all_tokens=True)
    assert claims(caller, unique, unique) == "UNAUTHENTICATED"
    again = server.caller(rotate(server, unique))
    assert claims(again, unique, unique) == "OK" != claims(caller, unique, unique)


def test_a_right_that_is_taken_away_is_gone_with_the_answer(
    server: GuardedServer, unique: str
) -> None:
    caller = server.principal(unique, *grants(["dial"], [LIST], [unique]))
    for given, code in (([], "PERMISSION_DENIED"), (grants(["dial"], [LIST]), "OK")):
        assert claims(caller, unique, unique) in ("OK", "PERMISSION_DENIED")
        server.root.admin(
            "UpdatePrincipal",
            admin_pb2.UpdatePrincipalRequest(
                principal=admin_pb2.Principal(principal_id=unique, grants=given)
            ),
        )
        assert claims(caller, unique, unique) == code


def test_a_deleted_principal_is_nobody(server: GuardedServer, unique: str) -> None:
    caller = server.principal(unique, *grants(["dial"]))
    assert claims(caller, unique, unique) == "OK"
    server.root.admin("DeletePrincipal", admin_pb2.DeletePrincipalRequest(principal_id=unique))
    assert claims(caller, unique, unique) == "UNAUTHENTICATED"


def test_two_tokens_are_valid_at_a_time_and_a_third_ends_the_oldest(
    server: GuardedServer, unique: str
) -> None:
    tokens = [server.principal(unique, *grants(["dial"])).token]
    tokens += [rotate(server, unique) for _ in range(2)]
    codes = [claims(server.caller(token), unique, unique) for token in tokens]
    assert codes == ["UNAUTHENTICATED", "OK", "OK"]
    shown = server.root.admin(
        "GetPrincipal", admin_pb2.GetPrincipalRequest(principal_id=unique)
    ).principal
    assert len(shown.tokens) == 2
    revoke(server, unique, token_ids=[shown.tokens[0].token_id])
    codes = [claims(server.caller(token), unique, unique) for token in tokens]
    assert codes == ["UNAUTHENTICATED", "UNAUTHENTICATED", "OK"]


def test_callers_on_one_connection_are_told_apart_call_by_call(
    server: GuardedServer, unique: str
) -> None:
    names = [f"{unique}-{number}" for number in range(4)]
    callers = [server.principal(name, *grants(["dial"], [LIST], [name])) for name in names]

    def try_all(number: int) -> bool:
        caller, own = callers[number % 4], names[number % 4]
        other = names[(number + 1) % 4]
        return (
            claims(caller, f"{unique}-{number}", own) == "OK"
            and claims(caller, f"{unique}-{number}", other) == "PERMISSION_DENIED"
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(try_all, range(400)))


# ---- what is shown


def denials(caller: Caller, record_id: str, campaign_id: str) -> list[dial_pb2.Holder]:
    """Return the holder as each rpc names it."""
    batch = dial_pb2.ClaimBatchRequest(
        list_id=LIST, campaign_id=campaign_id, record_ids=[record_id]
    )
    attempt = dial_pb2.ReportAttemptRequest(
        list_id=LIST, record_id=record_id, campaign_id=campaign_id, wrap_up_code="Busy"
    )
    attempts = dial_pb2.ReportAttemptBatchRequest(
        list_id=LIST,
        campaign_id=campaign_id,
        attempts=[{"record_id": record_id, "wrap_up_code": "Busy"}],
    )
    holder = dial_pb2.GetHolderRequest(list_id=LIST, record_id=record_id)
    return [
        caller.dial("Claim", claim(record_id, campaign_id)).holder,
        caller.dial("ClaimBatch", batch).denials[0].holder,
        caller.dial("ReportAttempt", attempt).holder,
        caller.dial("ReportAttemptBatch", attempts).rejections[0].holder,
        caller.dial("GetHolder", holder).holder,
    ]


def test_a_denial_names_the_holder_unless_holders_are_hidden_from_the_caller(
    server: GuardedServer, unique: str
) -> None:
    holder_id = f"{unique}-holder"
    server.root.dial("Claim", claim(unique, holder_id))
    seeing = server.principal(f"{unique}-1", *grants(["dial"], [LIST], [unique]))
    hidden = server.principal(f"{unique}-2", *grants(["dial"], [LIST], [unique]), hide_holders=True)
    for holder in denials(seeing, unique, unique):
        assert (holder.campaign_id, holder.campaign_name) == (holder_id, holder_id)
        assert holder.HasField("acquire_time") and holder.HasField("expire_time")
    for shown, holder in zip(
        denials(seeing, unique, unique), denials(hidden, unique, unique), strict=True
    ):
        assert holder == dial_pb2.Holder(kind=shown.kind, expire_time=shown.expire_time)
        assert holder.kind == dial_pb2.HOLD_KIND_RESERVED


def test_a_dialer_speaks_for_its_own_campaign_and_list_only(
    server: GuardedServer, unique: str
) -> None:
    dialer = server.principal(unique, *grants(["dial"], [LIST], [unique]))
    for list_id, campaign_id in ((LIST, f"{unique}x"), (OTHER_LIST, unique), ("none", unique)):
        requests = {
            "Claim": claim("1", campaign_id, list_id),
            "ClaimBatch": dial_pb2.ClaimBatchRequest(
                list_id=list_id, campaign_id=campaign_id, record_ids=["1", "2"]
            ),
            "ReportAttempt": dial_pb2.ReportAttemptRequest(
                list_id=list_id, record_id="1", campaign_id=campaign_id, wrap_up_code="Busy"
            ),
            "ReportAttemptBatch": dial_pb2.ReportAttemptBatchRequest(
                list_id=list_id,
                campaign_id=campaign_id,
                attempts=[{"record_id": "1", "wrap_up_code": "Busy"}],
            ),
        }
        if list_id != LIST:
            requests["GetHolder"] = dial_pb2.GetHolderRequest(list_id=list_id, record_id="1")
        for rpc, request in requests.items():
            code, message = status(dialer.dial, rpc, request)
            assert (code, "dial" in message) == ("PERMISSION_DENIED", True), (rpc, list_id)


# ---- limits


def refused(call: Callable[[], Any]) -> grpc.RpcError | None:
    try:
        call()
    except grpc.RpcError as error:
        return error
    return None


def pushback_ms(error: grpc.RpcError) -> int:
    return int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"])


def test_calls_over_the_limit_are_told_how_long_to_wait(server: GuardedServer, unique: str) -> None:
    caller = server.principal(unique, *grants(["dial", "view"]), calls_per_s=3)
    errors = [refused(lambda: caller.dial("Claim", claim(unique, unique))) for _ in range(30)]
    assert not any(errors[:3])
    first = next(error for error in errors if error is not None)
    assert first.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "rate limit" in first.details() and 0 < pushback_ms(first) <= 1_000
    admin = refused(lambda: caller.admin("ListWrapUpCodes", admin_pb2.ListWrapUpCodesRequest()))
    assert admin is None or pushback_ms(admin) > 0


def test_a_batch_is_let_in_while_any_records_are_left_and_paid_for_afterwards(
    server: GuardedServer, unique: str
) -> None:
    caller = server.principal(unique, *grants(["dial"]), records_per_s=100)
    batch = dial_pb2.ClaimBatchRequest(
        list_id=LIST, campaign_id=unique, record_ids=[f"{unique}-{n}" for n in range(2_000)]
    )
    assert len(caller.dial("ClaimBatch", batch).decisions) == 2_000
    error = refused(lambda: caller.dial("Claim", claim(f"{unique}-x", unique)))
    assert error is not None and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 15_000 < pushback_ms(error) <= 20_000
    holder = dial_pb2.GetHolderRequest(list_id=LIST, record_id=f"{unique}-x")
    assert not server.root.dial("GetHolder", holder).HasField("holder")


# ---- principals


def create(principal_id: str = "p", **fields: Any) -> admin_pb2.CreatePrincipalRequest:
    return admin_pb2.CreatePrincipalRequest(
        principal=admin_pb2.Principal(principal_id=principal_id, **fields)
    )


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (create(""), "principal_id"),
        (create("x" * 129), "principal_id"),
        (create("anonymous"), "principal_id"),
        (create("ownerd"), "principal_id"),
        (create("a\nb"), "principal_id"),
        (create(grants=[admin_pb2.Grant()]), "grants[0].right"),
        (create(grants=[admin_pb2.Grant(right=9)]), "grants[0].right"),
        (create(grants=[admin_pb2.Grant(right=1)] * 101), "grants"),
        (create(grants=[admin_pb2.Grant(right=1, lists=[""])]), "grants[0].lists[0]"),
        (create(grants=[admin_pb2.Grant(right=1, lists=["x"] * 101)]), "grants[0].lists"),
        (create(grants=[admin_pb2.Grant(right=1, campaigns=["x" * 81])]), "campaigns[0]"),
        (create(grants=[admin_pb2.Grant(right=5, lists=["x"])]), "grants[0]"),
        (create(certificate_names=["example.com"]), "certificate_names[0]"),
        (create(certificate_names=["DNS:"]), "certificate_names[0]"),
        (create(certificate_names=[f"DNS:{n}" for n in range(21)]), "certificate_names"),
        (create(calls_per_s=-1), "calls_per_s"),
        (create(records_per_s=10**10), "records_per_s"),
        (
            admin_pb2.CreatePrincipalRequest(
                principal=admin_pb2.Principal(principal_id="p"), token_ttl={"nanos": 5}
            ),
            "token_ttl",
        ),
        (
            admin_pb2.CreatePrincipalRequest(
                principal=admin_pb2.Principal(principal_id="p"), reason="x" * 1_025
            ),
            "reason",
        ),
    ],
)
def test_a_bad_principal_is_refused_with_the_field(
    server: GuardedServer, request_: admin_pb2.CreatePrincipalRequest, field: str
) -> None:
    code, message = status(server.root.admin, "CreatePrincipal", request_)
    assert code == "INVALID_ARGUMENT" and field in message
    lookup = admin_pb2.GetPrincipalRequest(principal_id="p")
    assert status(server.root.admin, "GetPrincipal", lookup)[0] == "NOT_FOUND"


def test_a_token_given_for_its_id_is_not_repeated_in_the_error(server: GuardedServer) -> None:
    token = server.root.token
    request = admin_pb2.RevokeTokensRequest(principal_id="admin", token_ids=[token])
    code, message = status(server.root.admin, "RevokeTokens", request)
    assert code == "INVALID_ARGUMENT" and "token_ids[0]" in message and not TOKEN.search(message)


def test_r20_a_repeat_is_answered_without_the_token_and_makes_no_second_principal(
    server: GuardedServer, unique: str
) -> None:
    request = create(unique)
    request.request_id = f"{unique}-create"
    first = server.root.admin("CreatePrincipal", request)
    again = server.root.admin("CreatePrincipal", request)
    assert TOKEN.fullmatch(first.token) and not again.token
    assert (again.principal, again.revision) == (first.principal, first.revision)
    rotation = admin_pb2.RotateTokenRequest(principal_id=unique, request_id=f"{unique}-rotate")
    second = server.root.admin("RotateToken", rotation)
    assert not server.root.admin("RotateToken", rotation).token
    assert len(second.principal.tokens) == 2
    request.request_id = f"{unique}-other"
    assert status(server.root.admin, "CreatePrincipal", request)[0] == "ALREADY_EXISTS"


def test_an_update_changes_what_its_mask_names_and_insists_on_its_etag(
    server: GuardedServer, unique: str
) -> None:
    made = server.root.admin(
        "CreatePrincipal",
        create(
            unique,
            grants=grants(["dial"], ["a"]),
            calls_per_s=7,
            certificate_names=[f"DNS:{unique}"],
        ),
    ).principal
    update = admin_pb2.UpdatePrincipalRequest(
        principal=admin_pb2.Principal(principal_id=unique, hide_holders=True),
        update_mask={"paths": ["hide_holders"]},
        etag=made.etag,
    )
    changed = server.root.admin("UpdatePrincipal", update).principal
    assert changed.hide_holders and changed.grants == made.grants and changed.calls_per_s == 7
    assert list(changed.tokens) == list(made.tokens) and changed.etag != made.etag
    assert status(server.root.admin, "UpdatePrincipal", update)[0] == "ABORTED"
    update.etag, update.update_mask.paths[:] = "", ["nonsense"]
    code, message = status(server.root.admin, "UpdatePrincipal", update)
    assert code == "INVALID_ARGUMENT" and "update_mask" in message


def test_a_certificate_name_stands_for_one_principal(server: GuardedServer, unique: str) -> None:
    name = f"URI:spiffe://{unique}"
    server.root.admin("CreatePrincipal", create(unique, certificate_names=[name]))
    second = create(f"{unique}-2", certificate_names=[name])
    code, message = status(server.root.admin, "CreatePrincipal", second)
    assert code == "FAILED_PRECONDITION" and unique in message


def test_principals_are_listed_in_pages_by_id(fresh: GuardedServer) -> None:
    for number in range(5):
        fresh.root.admin("CreatePrincipal", create(f"p-{number}"))
    found, request = [], admin_pb2.ListPrincipalsRequest(page_size=2)
    while True:
        page = fresh.root.admin("ListPrincipals", request)
        found += [each.principal_id for each in page.principals]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == ["admin", *(f"p-{number}" for number in range(5))]


def test_somebody_who_can_manage_principals_is_always_left(fresh: GuardedServer) -> None:
    root = fresh.root
    attempts = {
        "DeletePrincipal": admin_pb2.DeletePrincipalRequest(principal_id="admin"),
        "UpdatePrincipal": admin_pb2.UpdatePrincipalRequest(
            principal=admin_pb2.Principal(principal_id="admin", grants=grants(["view"]))
        ),
        "RevokeTokens": admin_pb2.RevokeTokensRequest(principal_id="admin", all_tokens=True),
    }
    for rpc, request in attempts.items():
        assert status(root.admin, rpc, request)[0] == "FAILED_PRECONDITION"
    second = fresh.principal("second", *grants(["admin"]))
    second.admin("DeletePrincipal", attempts["DeletePrincipal"])
    again = admin_pb2.DeletePrincipalRequest(principal_id="second")
    assert status(second.admin, "DeletePrincipal", again)[0] == "FAILED_PRECONDITION"


def test_a_certificate_is_nothing_to_sign_in_with_where_none_is_asked_for(
    fresh: GuardedServer,
) -> None:
    name = admin_pb2.Principal(principal_id="admin", certificate_names=["DNS:root.example"])
    fresh.root.admin(
        "UpdatePrincipal",
        admin_pb2.UpdatePrincipalRequest(
            principal=name, update_mask={"paths": ["certificate_names"]}
        ),
    )
    request = admin_pb2.RevokeTokensRequest(principal_id="admin", all_tokens=True)
    assert status(fresh.root.admin, "RevokeTokens", request)[0] == "FAILED_PRECONDITION"


def test_a_page_token_made_by_hand_is_refused_as_one(server: GuardedServer) -> None:
    shown = server.root.admin("GetContactList", admin_pb2.GetContactListRequest(list_id=LIST))
    incarnation = int(shown.list.etag.partition("-")[2], 16)
    for rpc in ("ListContactLists", "ListCampaigns", "ListWrapUpCodes", "ListPrincipals"):
        request = getattr(admin_pb2, f"{rpc}Request")()
        request.page_token = page_tokens.encode(request, b"\xff\xfe", incarnation)
        code, _ = status(server.root.admin, rpc, request)
        assert code == "INVALID_ARGUMENT", rpc
    entries = admin_pb2.ListAuditEntriesRequest()
    entries.page_token = page_tokens.encode(entries, b"123456789", incarnation)
    assert status(server.root.admin, "ListAuditEntries", entries)[0] == "INVALID_ARGUMENT"


def test_can_answers_without_doing(server: GuardedServer, unique: str) -> None:
    server.principal(unique, *grants(["dial"], [LIST], ["c-*"]))

    def revision() -> int:
        status = server.root.admin("GetServerStatus", admin_pb2.GetServerStatusRequest())
        return int(status.revision)

    def can(right: str, list_id: str = "", campaign_id: str = "") -> bool:
        request = admin_pb2.CheckAccessRequest(
            principal_id=unique, right=RIGHTS[right], list_id=list_id, campaign_id=campaign_id
        )
        answer = server.root.admin("CheckAccess", request)
        assert right in answer.explanation
        return bool(answer.allowed)

    def commits() -> int:
        before = revision()
        assert can("dial", LIST, "c-1")
        assert not can("dial", LIST, "d-1")
        assert not can("dial", LIST) and not can("dial", "", "c-1")
        assert not can("view", LIST, "c-1")
        return revision() - before

    # The server's upkeep of what other tests left may commit beside one try, not beside each.
    assert 0 in (commits() for _ in range(20))


def test_r18_principals_and_revocations_outlive_a_kill(fresh: GuardedServer) -> None:
    fresh.open_list(LIST)
    caller = fresh.principal("dialer", *grants(["dial"], [LIST]))
    gone = fresh.principal("gone", *grants(["dial"]))
    revoke(fresh, "gone", all_tokens=True)
    root = fresh.root.token
    fresh.kill()
    fresh.start()
    assert fresh.root.token == root
    assert claims(fresh.caller(caller.token)) == "OK"
    assert claims(fresh.caller(gone.token)) == "UNAUTHENTICATED"


# ---- the audit


def test_r21_a_change_names_principal_peer_and_request(server: GuardedServer, unique: str) -> None:
    caller = server.principal(unique, *grants(["configure"], [unique]))
    caller.admin(
        "CreateContactList",
        admin_pb2.CreateContactListRequest(
            list_id=unique, request_id=f"{unique}-r", reason="why not"
        ),
    )
    (entry,) = audit(server, principal=unique)
    assert (entry.action, entry.request_id, entry.reason) == (
        "CreateContactList",
        f"{unique}-r",
        "why not",
    )
    assert re.fullmatch(r"ipv4:127\.0\.0\.1:\d+", entry.peer)
    (made,) = [each for each in audit(server, action="CreatePrincipal") if unique in each.detail]
    assert made.principal == "admin"


def refusals(server: GuardedServer, principal: str = "") -> list[admin_pb2.AuditEntry]:
    return [each for each in audit(server, principal=principal) if each.refusal]


def test_r21_those_refused_are_in_the_audit_in_bounded_number(fresh: GuardedServer) -> None:
    fresh.open_list(LIST)
    dialer = fresh.principal("dialer", *grants(["dial"], [LIST], ["own"]))
    stranger = fresh.caller("ownerd_" + "x" * 43)
    owners = admin_pb2.ListOwnersRequest(list_id=LIST)
    for _ in range(300):
        assert claims(stranger) == "UNAUTHENTICATED"
        assert claims(dialer, "1", "other") == "PERMISSION_DENIED"
        assert status(dialer.admin, "ListOwners", owners)[0] == "PERMISSION_DENIED"
    poll(lambda: len(refusals(fresh)) >= 3, "refusals in the audit")
    assert len(refusals(fresh)) < 30
    fresh.restart()  # the end tells what was held back
    found = refusals(fresh)
    assert len(found) < 40
    total: dict[tuple[str, str, int], int] = {}
    for each in found:
        assert each.peer == "ipv4:127.0.0.1" and not TOKEN.search(str(each))
        key = (each.principal, each.action, each.refusal)
        total[key] = total.get(key, 0) + each.affected_count
    assert total == {
        ("anonymous", "Claim", admin_pb2.REFUSAL_UNAUTHENTICATED): 300,
        ("dialer", "Claim", admin_pb2.REFUSAL_PERMISSION_DENIED): 300,
        ("dialer", "ListOwners", admin_pb2.REFUSAL_PERMISSION_DENIED): 300,
    }
    (claim_entry, *_) = [e for e in found if e.principal == "dialer" and e.action == "Claim"]
    assert claim_entry.list_id == LIST and list(claim_entry.campaign_ids) == ["other"]


# ---- secrets


def test_no_token_is_in_anything_that_the_server_writes(fresh: GuardedServer) -> None:
    fresh.open_list(LIST)
    tokens = [fresh.root.token, fresh.principal("p", *grants(["dial"])).token, rotate(fresh, "p")]
    for token in tokens:
        claims(fresh.caller(token))
        claims(fresh.caller(str(token)[:-1]))
    assert not TOKEN.search(str(audit(fresh)))
    page = fresh.root.admin("ListPrincipals", admin_pb2.ListPrincipalsRequest())
    assert not TOKEN.search(str(page))
    process = Path(f"/proc/{fresh.pid}")
    for name in ("cmdline", "environ", "comm"):
        assert not TOKEN.search((process / name).read_bytes().decode(errors="replace"))
    fresh.stop()
    assert not TOKEN.search(fresh.log_text)
    for path in fresh.directory.rglob("*"):
        if path.is_file() and path != fresh.token_file:
            content = path.read_bytes()
            assert not any(str(token).encode() in content for token in tokens), path


@pytest.mark.parametrize(("arguments", "allowed"), [((), False), (("--core-dumps",), True)])
def test_a_crash_leaves_no_core_with_secrets_unless_asked_for(
    tmp_path: Path, arguments: tuple[str, ...], allowed: bool
) -> None:
    with ServerProcess(tmp_path / "data", *arguments) as server:
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        (soft,) = re.findall(r"Max core file size +(\S+)", limits)
        chosen = int(Path(f"/proc/{server.pid}/coredump_filter").read_text(), 16)
        own = re.findall(r"Max core file size +(\S+)", Path("/proc/self/limits").read_text())
        assert (soft, chosen != 0) == ((own[0], True) if allowed else ("0", False))
