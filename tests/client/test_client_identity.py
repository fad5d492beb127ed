"""Who the clients say they are, and how they secure it: tokens, TLS, and that no token leaks."""

import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import Certificates
from fake_server import FakeServer
from stamps import length, stamp

import ownerd.client as client_package
from ownerd.client import Grant, Right
from ownerd.client.credentials import TokenFile
from ownerd.v1 import admin_pb2

TOKEN = "ownerd_" + "A" * 43
OTHER = "ownerd_" + "B" * 43


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secured(certificates: Certificates) -> Iterator[FakeServer]:
    credentials = certificates.of_server("dialer.example", "localhost")
    with FakeServer(credentials=credentials) as server:
        server.address = server.address.replace("127.0.0.1", "localhost")
        yield server


# Tokens


def test_every_kind_of_call_carries_the_token(
    fake: FakeServer, connect: Callable[..., Any]
) -> None:
    client = connect(fake.address, token=TOKEN)
    client.claim("L", "1", "C")
    client.claim_batch("L", "C", ["1"])
    client.report_batch("L", "C", [("1", "Busy")])
    client.owners("L")
    assert list(client.lists()) == []
    client.import_ownership("L", [])
    assert list(client.export_ownership("L")) == []
    assert fake.authorizations == [f"Bearer {TOKEN}"] * 7


def test_without_a_token_none_is_sent(fake: FakeServer, client: Any) -> None:
    client.claim("L", "1", "C")
    assert fake.authorizations == [None]


def test_a_new_token_in_the_file_is_used_by_the_next_call_on_the_same_connection(
    fake: FakeServer, connect: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    client = connect(fake.address, token_file=file)
    client.claim("L", "1", "C")
    file.write_text(OTHER + "\n")  # in place
    client.claim("L", "1", "C")
    (tmp_path / "new").write_text(TOKEN)
    (tmp_path / "new").rename(file)
    client.claim("L", "1", "C")
    assert fake.authorizations == [f"Bearer {token}" for token in (TOKEN, OTHER, TOKEN)]
    assert len(set(fake.peers)) == 1


@pytest.mark.parametrize("content", [None, "", "\n", "two words", "\x00" * 50])
def test_while_the_file_is_replaced_the_token_read_last_is_used(
    fake: FakeServer, connect: Callable[..., Any], tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    client = connect(fake.address, token_file=file)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    client.claim("L", "1", "C")
    file.write_text(OTHER)
    client.claim("L", "1", "C")
    assert fake.authorizations == [f"Bearer {TOKEN}", f"Bearer {OTHER}"]


def test_a_file_that_has_not_changed_for_a_while_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    monkeypatch.setattr("ownerd.client.credentials._STEADY_NS", -1)
    source = TokenFile(file)
    monkeypatch.setattr(Path, "open", None)
    assert source.metadata() == (("authorization", f"Bearer {TOKEN}"),)


def test_a_file_that_changed_just_now_is_read_again_though_it_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ownerd.client.credentials._stamp", lambda _: (1, 2))
    file = tmp_path / "token"
    file.write_text(TOKEN)
    source = TokenFile(file)
    file.write_text(OTHER)
    assert source.metadata() == (("authorization", f"Bearer {OTHER}"),)


@pytest.mark.parametrize(
    ("variables", "options", "sent"),
    [
        ({"OWNERD_TOKEN": TOKEN}, {}, TOKEN),
        ({"OWNERD_TOKEN_FILE": "file"}, {}, OTHER),
        ({"OWNERD_TOKEN": TOKEN, "OWNERD_TOKEN_FILE": "file"}, {}, TOKEN),
        ({"OWNERD_TOKEN": TOKEN}, {"token_file": "file"}, OTHER),
        ({"OWNERD_TOKEN_FILE": "file"}, {"token": TOKEN}, TOKEN),
        ({"OWNERD_TOKEN": TOKEN}, {"token": ""}, None),
        ({"OWNERD_TOKEN": "", "OWNERD_TOKEN_FILE": ""}, {}, None),
    ],
)
def test_what_the_program_says_wins_over_the_environment(
    fake: FakeServer,
    connect: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    options: dict[str, str],
    sent: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text(OTHER)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    connect(fake.address, **options).claim("L", "1", "C")
    assert fake.authorizations == [f"Bearer {sent}" if sent else None]


@pytest.mark.parametrize(
    "token", [f"{TOKEN}\n{OTHER}", f"{TOKEN} x", f"{TOKEN}é", f"{TOKEN}\x00", " ", "\x7f"]
)
def test_what_is_no_token_is_refused_without_being_shown(
    connect: Callable[..., Any], tmp_path: Path, token: str
) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    for options in ({"token": token}, {"token_file": file}):
        with pytest.raises(ValueError, match="holds no token") as refused:
            connect("127.0.0.1:1", **options)
        assert TOKEN not in "".join(traceback.format_exception(refused.value))


def test_a_token_file_that_cannot_be_read_is_an_error_when_the_client_is_made(
    connect: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        connect("127.0.0.1:1", token_file=tmp_path / "missing")
    with pytest.raises(ValueError, match="not both"):
        connect("127.0.0.1:1", token=TOKEN, token_file=tmp_path / "missing")


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED]
)
def test_a_token_is_in_no_repr_no_exception_and_no_log(
    fake: FakeServer,
    connect: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    code: grpc.StatusCode,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "token").write_text(TOKEN)
    for options in ({"token": TOKEN}, {"token_file": tmp_path / "token"}):
        client = connect(fake.address, **options)
        fake.fail(code)
        with pytest.raises(client_package.ClientError) as failed:
            client.claim("L", "1", "C")
        seen = [repr(client), str(client), repr(failed.value), str(failed.value)]
        seen += traceback.format_exception(failed.value)
        seen += map(repr, vars(getattr(client, "_client", client)).values())
        assert TOKEN not in "".join(seen)
    assert TOKEN not in caplog.text + "".join(capfd.readouterr())


def test_a_token_that_the_server_makes_is_not_in_the_repr_of_the_answer(
    fake: FakeServer, client: Any
) -> None:
    fake.answer("RotateToken", admin_pb2.RotateTokenResponse(token=TOKEN, revision=3))
    issued = client.rotate_token("spring-dialer")
    assert (issued.token, issued.revision) == (TOKEN, 3)
    assert TOKEN not in repr(issued) + str(issued)


# Errors


def test_a_caller_who_is_not_known_and_one_who_may_not_are_told_apart(
    fake: FakeServer, client: Any
) -> None:
    fake.fail(grpc.StatusCode.UNAUTHENTICATED, "no token")
    with pytest.raises(client_package.Unauthenticated, match="no token"):
        client.claim("L", "1", "C")
    fake.fail(grpc.StatusCode.PERMISSION_DENIED, "needs dial")
    with pytest.raises(client_package.PermissionDenied, match="needs dial"):
        client.claim("L", "1", "C")
    assert len(fake.requests["Claim"]) == 2  # neither is tried again


@pytest.mark.parametrize(
    ("trailers", "wait_s"),
    [
        ((("grpc-retry-pushback-ms", "1250"),), 1.25),
        ((("other", "1"), ("grpc-retry-pushback-ms", "0")), 0.0),
        ((("grpc-retry-pushback-ms", "-1"),), None),
        ((), None),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(
    fake: FakeServer, client: Any, trailers: Any, wait_s: float | None
) -> None:
    fake.trailers = trailers
    fake.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "over the limit")
    with pytest.raises(client_package.ResourceExhausted) as failed:
        client.claim("L", "1", "C")
    assert failed.value.retry_after_s == wait_s
    assert len(fake.requests["Claim"]) == 1


# TLS


def test_a_server_is_trusted_by_its_ca(
    secured: FakeServer, connect: Callable[..., Any], certificates: Certificates
) -> None:
    client = connect(secured.address, ca_file=certificates.ca, token=TOKEN)
    client.claim("L", "1", "C")
    assert secured.authorizations == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("wrong", ["no TLS", "another CA", "another name", "the machine's CAs"])
def test_a_server_that_is_not_trusted_gets_no_call(
    secured: FakeServer,
    connect: Callable[..., Any],
    certificates: Certificates,
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.other_ca))
    options: dict[str, Any] = {
        "no TLS": {},
        "another CA": {"ca_file": certificates.other_ca},
        "another name": {"ca_file": certificates.ca, "server_name": "other.example"},
        "the machine's CAs": {"tls": True},
    }[wrong]
    client = connect(secured.address, token=TOKEN, **options)
    with pytest.raises((client_package.Unavailable, client_package.DeadlineExceeded)):
        client.claim("L", "1", "C", timeout_s=0.5)
    assert not secured.requests


def test_another_name_may_be_looked_for(
    secured: FakeServer, connect: Callable[..., Any], certificates: Certificates
) -> None:
    address = secured.address.replace("localhost", "127.0.0.1")
    connect(address, ca_file=certificates.ca, server_name="dialer.example").claim("L", "1", "C")


def test_the_cas_of_the_machine_are_those_of_its_configuration(
    secured: FakeServer,
    connect: Callable[..., Any],
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    connect(secured.address, tls=True).claim("L", "1", "C")


def test_a_client_certificate_is_shown_to_a_server_that_asks(
    connect: Callable[..., Any], certificates: Certificates
) -> None:
    certificate, key = certificates.issue("dialer-a.example")
    with FakeServer(credentials=certificates.of_server("127.0.0.1", asks_client=True)) as server:
        options = {"ca_file": certificates.ca}
        with pytest.raises((client_package.Unavailable, client_package.DeadlineExceeded)):
            connect(server.address, **options).claim("L", "1", "C", timeout_s=0.5)
        connect(server.address, cert_file=certificate, key_file=key, **options).holder("L", "1")
        assert list(server.requests) == ["GetHolder"]


def test_a_unix_socket_stays_plain_beside_tls(
    secured: FakeServer, connect: Callable[..., Any], certificates: Certificates, tmp_path: Path
) -> None:
    with FakeServer(address=f"unix:{tmp_path}/dial") as local:
        options = {"ca_file": certificates.ca, "admin_target": secured.address}
        client = connect(local.address, token=TOKEN, **options)
        client.claim("L", "1", "C")
        client.owners("L")
    assert list(local.requests) == ["Claim"] and list(secured.requests) == ["ListOwners"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cert_file": "a.pem"}, "go together"),
        ({"key_file": "a.key"}, "go together"),
        ({"tls": False, "ca_file": "ca.pem"}, "without TLS"),
        ({"tls": False, "server_name": "x"}, "without TLS"),
        ({"ca_file": "empty"}, "empty holds no certificates"),
        ({"ca_file": "dialer.key"}, "dialer.key holds no certificates"),
        ({"cert_file": "dialer.pem", "key_file": "other.key"}, "no certificate and its key"),
        ({"cert_file": "dialer.pem", "key_file": "empty"}, "no certificate and its key"),
    ],
)
def test_files_that_do_not_fit_are_refused_when_the_client_is_made(
    connect: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    made = Certificates(tmp_path)
    made.issue("dialer"), made.issue("other")
    Path("empty").write_text("")
    with pytest.raises(ValueError, match=message):
        connect("127.0.0.1:1", **options)


def test_a_missing_file_is_named(connect: Callable[..., Any], tmp_path: Path) -> None:
    for options in ({"ca_file": "none.pem"}, {"cert_file": "none.pem", "key_file": "none.pem"}):
        with pytest.raises(FileNotFoundError, match=r"none\.pem"):
            connect("127.0.0.1:1", **options)


# Principals


MADE = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_principal_is_created_with_what_is_given(fake: FakeServer, client: Any) -> None:
    stored = admin_pb2.Principal(
        principal_id="spring-dialer",
        hide_holders=True,
        calls_per_s=5,
        etag="7",
        grants=[{"right": 1, "lists": ["cust*"], "campaigns": ["spring"]}, {"right": 99}],
        tokens=[{"token_id": "ab", "create_time": stamp(MADE)}],
        create_time=stamp(MADE),
    )
    answer = admin_pb2.CreatePrincipalResponse(principal=stored, token=TOKEN, revision=9)
    fake.answer("CreatePrincipal", answer)
    issued = client.create_principal(
        "spring-dialer",
        [Grant(Right.DIAL, "cust*", ("spring",))],
        hide_holders=True,
        certificate_names="DNS:a",
        calls_per_s=5,
        token_ttl=timedelta(days=90),
        reason="why",
    )
    assert (issued.token, issued.revision) == (TOKEN, 9)
    found = issued.principal
    assert found.grants == (Grant(Right.DIAL, ("cust*",), ("spring",)), Grant(Right.UNKNOWN))
    assert (found.hide_holders, found.calls_per_s, found.records_per_s) == (True, 5, 0)
    assert (found.tokens[0].token_id, found.tokens[0].expire_time) == ("ab", None)
    assert (found.create_time, found.update_time, found.etag) == (MADE, None, "7")
    sent = fake.requests["CreatePrincipal"][0]
    assert sent.principal == admin_pb2.Principal(
        principal_id="spring-dialer",
        hide_holders=True,
        calls_per_s=5,
        certificate_names=["DNS:a"],
        grants=[{"right": 1, "lists": ["cust*"], "campaigns": ["spring"]}],
    )
    assert (sent.token_ttl, sent.reason) == (length(timedelta(days=90)), "why")
    assert sent.request_id


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ({"grants": [Grant(Right.VIEW)]}, "grants", {"grants": [{"right": 2}]}),
        ({"grants": []}, "grants", {}),
        ({"hide_holders": False}, "hide_holders", {}),
        ({"certificate_names": ["DNS:b"]}, "certificate_names", {"certificate_names": ["DNS:b"]}),
        ({"records_per_s": 10}, "records_per_s", {"records_per_s": 10}),
    ],
)
def test_a_change_of_a_principal_masks_what_is_given(
    fake: FakeServer, client: Any, change: Any, path: str, value: Any
) -> None:
    client.set_principal("p", **change, etag="4")
    sent = fake.requests["UpdatePrincipal"][0]
    assert list(sent.update_mask.paths) == [path]
    assert sent.principal == admin_pb2.Principal(principal_id="p", **value)
    assert sent.etag == "4" and sent.request_id


def test_a_change_of_nothing_is_refused(fake: FakeServer, client: Any) -> None:
    with pytest.raises(ValueError, match="nothing to change"):
        client.set_principal("p")
    assert not fake.requests


def test_tokens_are_rotated_and_revoked_and_principals_listed_and_deleted(
    fake: FakeServer, client: Any
) -> None:
    pages = {
        "": admin_pb2.ListPrincipalsResponse(
            principals=[{"principal_id": "a"}], next_page_token="t"
        ),
        "t": admin_pb2.ListPrincipalsResponse(principals=[{"principal_id": "b"}]),
    }
    fake.answer("ListPrincipals", lambda request: pages[request.page_token])
    assert [found.principal_id for found in client.principals()] == ["a", "b"]
    fake.answer("RevokeTokens", admin_pb2.RevokeTokensResponse(revoked_count=2, revision=5))
    assert client.revoke_tokens("p", all_tokens=True) == 2
    assert client.revoke_tokens("p", "ab") == 2
    assert [list(sent.token_ids) for sent in fake.requests["RevokeTokens"]] == [[], ["ab"]]
    client.rotate_token("p", token_ttl=timedelta(hours=1))
    assert fake.requests["RotateToken"][0].token_ttl == length(timedelta(hours=1))
    fake.answer("GetPrincipal", admin_pb2.GetPrincipalResponse(principal={"principal_id": "p"}))
    assert client.get_principal("p").principal_id == "p"
    fake.answer("DeletePrincipal", admin_pb2.DeletePrincipalResponse(revision=8))
    assert client.delete_principal("p", reason="gone") == 8


def test_access_is_asked_for_a_list_and_a_campaign(fake: FakeServer, client: Any) -> None:
    fake.answer("CheckAccess", admin_pb2.CheckAccessResponse(allowed=True, explanation="by grant"))
    access = client.check_access("p", Right.OWNERSHIP_CONTROL, list_id="L", campaign_id="C")
    assert (access.allowed, access.explanation) == (True, "by grant")
    assert fake.requests["CheckAccess"] == [
        admin_pb2.CheckAccessRequest(principal_id="p", right=4, list_id="L", campaign_id="C")
    ]
