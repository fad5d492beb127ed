"""The native load over TLS and with tokens: what it sends, and whom it trusts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from native_listener import LIST, Loopback
from tls_files import PAST, Authority

from ownerd.ctl.commands.bench import DialSecurity
from ownerd.load.plan import Plan

load_http2 = pytest.importorskip("ownerd.load.http2", reason="built without libnghttp2")

from ownerd.base.secure_channel import TlsClient  # noqa: E402

CA, CLIENT_CA = Authority(), Authority()
SHORT = {"seconds": 0.3, "warm_up_s": 0.1}
TOKEN = "t" * 43


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Loopback]:
    with Loopback(tmp_path / "data", tls=CA.issue(), threads=2) as made:
        yield made


@pytest.mark.parametrize(
    ("in_flight", "connections", "threads", "batch_records"),
    [(1, 1, 1, 1), (64, 4, 2, 1), (4, 2, 1, 10_000)],
)
def test_answers_are_counted_over_tls_as_in_plaintext(
    listener: Loopback, in_flight: int, connections: int, threads: int, batch_records: int
) -> None:
    plan = Plan(LIST, record_count=500, claims=2, attempts=1, batch_records=batch_records)
    found = load_http2.drive(
        listener.address,
        plan,
        in_flight=in_flight,
        connections=connections,
        threads=threads,
        tls=TlsClient("127.0.0.1", ca_pem=CA.pem),
        **SHORT,
    )
    assert not found.errors and found.calls == found.latency.count > 0
    assert found.records == sum(found.decisions.values()) + sum(found.outcomes.values())
    # One more connection looks whether both agree at all.
    assert listener.stats()["handshakes"] == connections + 1
    listener.wait_empty()
    assert listener.stats()["ended"]["tls"] == 0


def test_a_name_is_as_good_as_an_address(listener: Loopback) -> None:
    security = DialSecurity(tls=True, ca_pem=CA.pem, server_name="localhost")
    plan = Plan(LIST, record_count=9)
    found = load_http2.drive(
        listener.address, plan, **security.arguments(listener.address), **SHORT
    )
    assert found.calls > 0 and not found.errors


@pytest.mark.parametrize(
    ("name", "ca", "words"),
    [
        ("127.0.0.1", CLIENT_CA.pem, "certificate"),
        ("other.example", CA.pem, "mismatch"),
        ("127.0.0.2", CA.pem, "mismatch"),
        ("127.0.0.1", None, "certificate"),
    ],
)
def test_a_server_that_is_not_trusted_is_not_loaded(
    listener: Loopback, name: str, ca: bytes | None, words: str
) -> None:
    tls = TlsClient(name, ca_pem=ca)
    with pytest.raises(ConnectionError, match=words):
        load_http2.drive(listener.address, Plan(LIST, record_count=9), tls=tls, **SHORT)


def test_a_server_that_asks_for_a_certificate_is_shown_one(tmp_path: Path) -> None:
    plan = Plan(LIST, record_count=9)
    with Loopback(tmp_path, tls=(*CA.issue(), CLIENT_CA.pem)) as listener:
        for pair in (None, CA.issue(), CLIENT_CA.issue("a.example", **PAST)):
            shown = {} if pair is None else {"certificate_pem": pair[0], "key_pem": pair[1]}
            tls = TlsClient("127.0.0.1", ca_pem=CA.pem, **shown)
            with pytest.raises(ConnectionError, match="alert"):
                load_http2.drive(listener.address, plan, tls=tls, **SHORT)
        pair = CLIENT_CA.issue("a.example")
        tls = TlsClient("127.0.0.1", ca_pem=CA.pem, certificate_pem=pair[0], key_pem=pair[1])
        assert load_http2.drive(listener.address, plan, tls=tls, **SHORT).calls > 0


def test_a_plaintext_server_is_told_apart(tmp_path: Path) -> None:
    tls = TlsClient("127.0.0.1", ca_pem=CA.pem)
    with Loopback(tmp_path) as listener, pytest.raises(ConnectionError, match="TLS"):
        load_http2.drive(listener.address, Plan(LIST, record_count=9), tls=tls, **SHORT)


def test_material_that_does_not_work_is_a_value_error() -> None:
    pair, other = CA.issue(), CA.issue()
    for wrong in (
        {"ca_pem": b"none"},
        {"certificate_pem": pair[0]},
        {"certificate_pem": pair[0], "key_pem": other[1]},
    ):
        with pytest.raises(ValueError):
            TlsClient("127.0.0.1", **wrong)


@pytest.mark.parametrize("secure", [False, True])
def test_a_token_goes_with_every_call_to_grpcio_too(secure: bool) -> None:
    seen: set[tuple[str, ...]] = set()

    def claim(request: bytes, context: grpc.ServicerContext) -> bytes:
        found = dict(context.invocation_metadata())
        seen.add((found.get("authorization", ""),))
        return b"\x08\x01"

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        handlers = {"Claim": grpc.unary_unary_rpc_method_handler(claim)}
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("ownerd.v1.DialService", handlers)]
        )
        certificate, key = CA.issue()
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        port = (
            server.add_secure_port("127.0.0.1:0", credentials)
            if secure
            else server.add_insecure_port("127.0.0.1:0")
        )
        server.start()
        security = DialSecurity(token=TOKEN, tls=secure, ca_pem=CA.pem)
        try:
            address = f"127.0.0.1:{port}"
            found = load_http2.drive(
                address,
                Plan("L", record_count=9),
                in_flight=4,
                connections=2,
                **security.arguments(address),
                **SHORT,
            )
        finally:
            server.stop(None).wait(10)
    assert found.calls > 0 and not found.errors
    assert seen == {(f"Bearer {TOKEN}",)}
