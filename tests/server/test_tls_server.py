"""A whole server with TLS: every listener, each kind of dial listener, clients of several makes."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import CHANNEL_OPTIONS, ServerProcess, listeners, poll
from raw_http2 import PREFACE, RawClient
from sanitizer import patient_s, plain_environment
from subject import DAY, Policy
from subject_grpc import GrpcSubject
from tls_files import FUTURE, PAST, Authority, Files, Pair, context

from ownerd.v1 import admin_pb2, admin_pb2_grpc, dial_pb2, dial_pb2_grpc

CA, CLIENT_CA, OTHER_CA = Authority(), Authority(), Authority()
LIST = "list"
METRICS = ("--metrics-listen", "127.0.0.1:0")
LISTENERS = ("dial", "admin", "metrics")
REFUSED = (OSError, AssertionError, grpc.RpcError)


class Secure:
    """A server with TLS, and clients of it."""

    def __init__(
        self, directory: Path, kind: str, pair: Pair, client_ca: bytes | None = None, *more: str
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.files = Files(directory / "tls", pair, client_ca)
        self.process = ServerProcess(
            directory / "data",
            "--no-auth",
            *listeners(kind),
            *METRICS,
            *self.files.arguments,
            *more,
        )

    def address(self, listener: str) -> str:
        address = self.process.address(listener)
        assert address is not None
        return address

    def context(self, ca: bytes = CA.pem, pair: Pair | None = None) -> ssl.SSLContext:
        return context(ca, pair, directory=self.directory)

    @contextmanager
    def channel(
        self, listener: str, ca: bytes = CA.pem, pair: Pair | None = None
    ) -> Iterator[grpc.Channel]:
        """Lend a channel of its own, which is closed afterwards."""
        key, chain = (pair.key, pair.certificate) if pair is not None else (None, None)
        credentials = grpc.ssl_channel_credentials(ca, key, chain)
        with grpc.secure_channel(
            self.address(listener), credentials, options=CHANNEL_OPTIONS
        ) as channel:
            yield channel

    def create_list(self, pair: Pair | None = None) -> None:
        with self.channel("admin", pair=pair) as channel:
            stubs = dial_pb2_grpc.DialServiceStub, admin_pb2_grpc.AdminServiceStub
            GrpcSubject(*(stub(channel) for stub in stubs)).create_list(
                LIST, Policy(True, None, None, DAY)
            )

    def page(self, ca: bytes = CA.pem, pair: Pair | None = None) -> str:
        """Return the metrics page."""
        url = f"https://{self.address('metrics')}/metrics"
        tls = context(ca, pair, alpn=(), directory=self.directory)
        try:
            with urllib.request.urlopen(url, context=tls, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.URLError as error:
            raise error.reason if isinstance(error.reason, OSError) else error from None

    def ask(self, listener: str, ca: bytes = CA.pem, pair: Pair | None = None) -> None:
        """Have one new client of a listener be answered; raises one of REFUSED if it is not."""
        if listener == "metrics":
            assert "ownerd_revision" in self.page(ca, pair)
            return
        with self.channel(listener, ca, pair) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            stub.Check(health_pb2.HealthCheckRequest(), timeout=10)

    def alarms(self) -> dict[str, str]:
        with self.channel("admin") as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            status = stub.GetServerStatus(admin_pb2.GetServerStatusRequest(), timeout=10)
        return {alarm.name: alarm.message for alarm in status.alarms}


def _made(secure: Secure) -> Iterator[Secure]:
    with secure.process:
        asks = secure.files.client_ca.exists()
        secure.create_list(CLIENT_CA.issue("x.example") if asks else None)
        yield secure


@pytest.fixture(scope="module", params=["native", "grpcio"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of dial listener."""
    if request.param == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    return str(request.param)


@pytest.fixture(scope="module")
def secure(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server that asks for no client certificates."""
    yield from _made(Secure(tmp_path_factory.mktemp("secure"), kind, CA.issue()))


@pytest.fixture(scope="module")
def strict(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server that asks for client certificates everywhere."""
    yield from _made(Secure(tmp_path_factory.mktemp("strict"), kind, CA.issue(), CLIENT_CA.pem))


# ---- the server's certificate


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_client_that_trusts_the_ca_is_served_and_one_that_does_not_is_not(
    secure: Secure, listener: str
) -> None:
    secure.ask(listener)
    with pytest.raises(REFUSED) as refused:
        secure.ask(listener, OTHER_CA.pem)
    assert "certificate" in str(refused.value).lower()
    secure.ask(listener)


def test_expired_and_future_certificates_are_not_trusted_and_an_alarm_tells_of_it(
    kind: str, tmp_path: Path
) -> None:
    made = Secure(tmp_path, kind, CA.issue(**PAST))
    with made.process:
        for listener in LISTENERS:
            with pytest.raises(REFUSED, match=r"expired|certificate"):
                made.ask(listener)
        assert "tls_certificate_expires" in made.process.log_text
        made.files.put(CA.issue(**FUTURE))
        poll(lambda: "tls_reloaded" in made.process.log_text, "the next certificate")
        for listener in LISTENERS:
            with pytest.raises(REFUSED, match=r"not yet valid|certificate"):
                made.ask(listener)
        made.files.put(CA.issue())
        poll(lambda: made.process.log_text.count("tls_reloaded") == 2, "a good certificate")
        for listener in LISTENERS:
            made.ask(listener)
        assert made.alarms() == {}


# ---- agreement


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.parametrize("listener", LISTENERS)
def test_tls_1_2_and_1_3_are_spoken_and_1_1_is_not(
    secure: Secure, kind: str, listener: str, version: ssl.TLSVersion, taken: bool
) -> None:
    alpn = () if listener == "metrics" else ("h2",)
    tls = context(CA.pem, alpn=alpn, directory=secure.directory, version=version)
    host, _, port = secure.address(listener).rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), 10) as plain,
            tls.wrap_socket(plain, server_hostname=host) as made,
        ):
            assert taken and made.version() == version.name.replace("_", ".")
    except OSError as error:
        assert not taken
        if listener == "metrics" or (kind, listener) == ("native", "dial"):  # ours say why
            assert getattr(error, "reason", "") == "TLSV1_ALERT_PROTOCOL_VERSION"


@pytest.mark.parametrize("listener", ["dial", "admin"])
@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
def test_a_client_that_does_not_agree_on_http2_gets_nothing(
    secure: Secure, listener: str, alpn: tuple[str, ...]
) -> None:
    tls = context(CA.pem, alpn=alpn, directory=secure.directory)
    with pytest.raises(REFUSED), RawClient(secure.address(listener), tls=tls) as odd:
        odd.wait(lambda: bool(odd.frames), "a frame", 3.0)
    secure.ask(listener)


@pytest.mark.parametrize("listener", LISTENERS)
def test_plaintext_is_not_answered_and_the_others_are(secure: Secure, listener: str) -> None:
    host, _, port = secure.address(listener).rpartition(":")
    with socket.create_connection((host, int(port)), 10) as plain:
        plain.sendall(PREFACE if listener != "metrics" else b"GET /metrics HTTP/1.0\r\n\r\n")
        secure.ask(listener)
        try:
            found = b"".join(iter(lambda: plain.recv(4_096), b""))
        except ConnectionResetError:
            found = b""
    assert b"ownerd" not in found and len(found) < 100


def test_unix_sockets_speak_plaintext_beside_it(kind: str, tmp_path: Path) -> None:
    path = f"unix:{tmp_path / 'dial.sock'}"
    made = Secure(tmp_path, kind, CA.issue(), None, "--dial-listen", f"127.0.0.1:0,{path}")
    with made.process as process:
        made.create_list()
        request = dial_pb2.ClaimRequest(list_id=LIST, record_id="1", campaign_id="A")
        assert process.dial_stub(path).Claim(request, timeout=10).decision == 1
        assert [event["tls"] for event in process.events if event.get("event") == "listening"] == [
            True,
            True,
            False,
            True,
            True,
        ]
        made.ask("dial")


# ---- certificates of clients


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_client_shows_a_certificate_of_the_right_ca_or_is_not_served(
    strict: Secure, listener: str
) -> None:
    strict.ask(listener, pair=CLIENT_CA.issue("dialer.example"))
    wrong = {
        "none": None,
        "another CA's": OTHER_CA.issue("dialer.example"),
        "the server's own": CA.issue(),
        "one that has ended": CLIENT_CA.issue("dialer.example", **PAST),
        "one that has not begun": CLIENT_CA.issue("dialer.example", **FUTURE),
    }
    for what, pair in wrong.items():
        with pytest.raises(REFUSED):
            strict.ask(listener, pair=pair)
            pytest.fail(f"a client was served with {what}")
    strict.ask(listener, pair=CLIENT_CA.issue("dialer.example"))


# ---- clients of other makes


@pytest.mark.parametrize("listener", ["dial", "admin"])
def test_openssl_agrees(secure: Secure, listener: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program")
    ca = secure.directory / "ca.pem"
    ca.write_bytes(CA.pem)
    done = subprocess.run(
        [
            "openssl",
            "s_client",
            "-connect",
            secure.address(listener),
            "-alpn",
            "h2",
            "-CAfile",
            ca,
            "-verify_return_error",
            "-verify_ip",
            "127.0.0.1",
        ],
        env=plain_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=20,
    )
    assert "Verify return code: 0 (ok)" in done.stdout
    assert "ALPN protocol: h2" in done.stdout and "Compression: NONE" in done.stdout


def test_h2load_gets_an_answer_for_every_request_over_tls(secure: Secure) -> None:
    if not shutil.which("h2load"):
        pytest.skip("no h2load")
    request = dial_pb2.ClaimRequest(list_id=LIST, record_id="1", campaign_id="A")
    message = request.SerializeToString()
    body = secure.directory / "body"
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    done = subprocess.run(
        [
            "h2load",
            "-n",
            "2000",
            "-c",
            "8",
            "-m",
            "100",
            "-d",
            body,
            "-H",
            "te: trailers",
            "-H",
            "content-type: application/grpc",
            f"https://{secure.address('dial')}/ownerd.v1.DialService/Claim",
        ],
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout


# ---- the metrics page


def test_a_silent_client_of_the_metrics_page_holds_up_nobody(secure: Secure) -> None:
    host, _, port = secure.address("metrics").rpartition(":")
    with socket.create_connection((host, int(port)), 10):
        begin_s = time.monotonic()
        secure.ask("metrics")
        assert time.monotonic() - begin_s < 5


# ---- renewal


class Load:
    """Clients of every listener that never stop, until a failure or the end of the block."""

    def __init__(self, secure: Secure, trusted: bytes) -> None:
        self.secure = secure
        self.trusted = trusted
        self.counts = dict.fromkeys((*LISTENERS, "dial, old connection"), 0)
        self.failures: list[str] = []
        self._over = threading.Event()
        self._channel = secure.channel("dial", trusted)
        steady = dial_pb2_grpc.DialServiceStub(self._channel.__enter__())
        claim = dial_pb2.ClaimRequest(list_id=LIST, record_id="1", campaign_id="A")
        self._jobs: dict[str, Callable[[], object]] = {
            "dial, old connection": lambda: steady.Claim(claim, timeout=10)
        }
        for listener in LISTENERS:
            self._jobs[listener] = lambda listener=listener: secure.ask(listener, self.trusted)
        self._threads = [threading.Thread(target=self._run, args=job) for job in self._jobs.items()]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        self._channel.__exit__(None, None, None)

    def _run(self, name: str, job: Callable[[], object]) -> None:
        while not self._over.is_set():
            try:
                job()
                self.counts[name] += 1
            except REFUSED as error:
                self.failures.append(f"{name}: {error}")
            self._over.wait(0.01)


def _serial(secure: Secure, listener: str, ca: bytes) -> str:
    """Return the serial number of the certificate that a new connection is shown."""
    host, _, port = secure.address(listener).rpartition(":")
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        secure.context(ca).wrap_socket(plain, server_hostname=host) as made,
    ):
        return str(made.getpeercert()["serialNumber"])


def test_renewal_under_load_loses_no_call_and_a_broken_one_keeps_the_old(
    kind: str, tmp_path: Path
) -> None:
    made = Secure(tmp_path, kind, CA.issue(), None, "--dial-max-age-s", "0.5")
    for _ in _made(made):
        with Load(made, CA.pem) as load:
            first = {name: _serial(made, name, CA.pem) for name in LISTENERS}
            made.files.put(CA.issue())
            poll(lambda: "tls_reloaded" in made.process.log_text, "the renewal")
            second = {name: _serial(made, name, CA.pem) for name in LISTENERS}
            assert len(set(first.values())) == len(set(second.values())) == 1
            assert first["dial"] != second["dial"]

            good = made.files.key.read_bytes()
            made.files.key.write_bytes(OTHER_CA.issue().key)
            poll(lambda: "TLS_RELOAD_FAILED" in made.alarms(), "the alarm")
            assert str(made.files.key) in made.alarms()["TLS_RELOAD_FAILED"]
            page = made.page()
            assert 'ownerd_alarm{name="TLS_RELOAD_FAILED"} 1.0' in page
            assert "ownerd_tls_reload_failures_total 1.0" in page
            assert "ownerd_tls_reloads_total 1.0" in page
            assert {name: _serial(made, name, CA.pem) for name in LISTENERS} == second

            made.files.key.write_bytes(good)
            poll(lambda: made.alarms() == {}, "the alarm to clear")
            assert 'ownerd_alarm{name="TLS_RELOAD_FAILED"} 0.0' in made.page()
            poll(lambda: load.failures or min(load.counts.values()) > 20, "calls of each kind")
        assert load.failures == []
        assert made.process.stop() == 0
