"""TLS of the native listener in this process: odd peers, odd segments, limits, leaks, renewal."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import DEADLINE_S, poll
from native_listener import Loopback, claim_request, holder_request
from raw_http2 import DIAL, PREFACE, RawClient, framed
from sanitizer import SANITIZER, patient_s, plain_environment
from tls_files import Authority, Pair, context

from ownerd.access.table import Access
from ownerd.v1 import dial_pb2

pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")

GET = DIAL + "GetHolder"
CA = Authority()
SERVER = CA.issue()
MOST_BATCH = 10_000


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Loopback]:
    """A listener that speaks TLS and asks for no client certificates."""
    with Loopback(tmp_path / "data", tls=SERVER) as made:
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Loopback]:
    """The same with small buffers, so that writes find no space."""
    with Loopback(tmp_path / "data", tls=SERVER, send_bytes=4_096) as made:
        yield made


@pytest.fixture
def trusting(tmp_path: Path) -> ssl.SSLContext:
    """A client that trusts the CA and offers HTTP/2."""
    return context(CA.pem, directory=tmp_path)


class Cutting:
    """Stands for an SSLContext whose connections cut what they send as they are told.

    Args:
        tls: the context.
        segment_bytes: of what goes out at once, handshake included.
        record_bytes: most plaintext in a record of TLS.
    """

    def __init__(self, tls: ssl.SSLContext, segment_bytes: int, record_bytes: int) -> None:
        self._tls = tls
        self.segment_bytes = segment_bytes
        self.record_bytes = record_bytes

    def wrap_socket(self, plain: socket.socket, server_hostname: str) -> "CutSocket":
        """Return a connected socket with TLS on it, as an SSLContext does."""
        return CutSocket(self, self._tls, plain, server_hostname)


class CutSocket:
    """What a RawClient needs of a TLS socket."""

    def __init__(
        self, sizes: Cutting, tls: ssl.SSLContext, plain: socket.socket, name: str
    ) -> None:
        self._plain = plain
        self._sizes = sizes
        self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.settimeout, self.close = plain.settimeout, plain.close
        self._do(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        for at in range(0, len(data), self._sizes.record_bytes):
            self._tls.write(data[at : at + self._sizes.record_bytes])
        self._send()

    def recv(self, most_bytes: int) -> bytes:
        return bytes(self._do(self._tls.read, most_bytes))

    def _do(self, step: Any, *arguments: Any) -> Any:
        while True:
            try:
                return step(*arguments)
            except ssl.SSLWantReadError:
                self._send()
                if data := self._plain.recv(65_536):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                self._send()

    def _send(self) -> None:
        data = self._outgoing.read()
        for at in range(0, len(data), self._sizes.segment_bytes):
            self._plain.sendall(data[at : at + self._sizes.segment_bytes])


# ---- agreement


def test_names_in_a_certificate_are_spelt_with_their_kind() -> None:
    from ownerd.net.testing import names_in

    names = ("dialer-a.example", "spiffe://example/a", "192.0.2.7", "2001:db8::7", "a@example.org")
    issued = CA.issue(*(name for name in names if "://" not in name))
    assert names_in(issued.certificate) == [
        "DNS:dialer-a.example",
        "IP:192.0.2.7",
        "IP:2001:db8::7",
        "email:a@example.org",
    ]
    with pytest.raises(ValueError):
        names_in(b"no certificate")


def test_a_name_with_a_nul_in_it_passes_for_no_other() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from tls_files import LONG

    from ownerd.net.testing import names_in

    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.DNSName("victim.example\0.evil.example"),
        x509.DNSName("own.example"),
        x509.UniformResourceIdentifier("spiffe://example/a"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]
    nobody = x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(LONG["not_before"])
        .not_valid_after(LONG["not_after"])
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    assert names_in(pem) == ["DNS:own.example", "URI:spiffe://example/a"]


@pytest.mark.parametrize("alpn", [(), ("http/1.1",), ("h3", "h2c")])
def test_a_client_that_does_not_agree_on_http2_is_dropped(
    listener: Loopback, trusting: ssl.SSLContext, tmp_path: Path, alpn: tuple[str, ...]
) -> None:
    with listener.client(tls=trusting) as good:
        try:
            with listener.client(tls=context(CA.pem, alpn=alpn, directory=tmp_path)) as odd:
                odd.wait_closed(2.0)
            assert not alpn, "what is offered and not taken is refused in the handshake"
        except ssl.SSLError:
            assert alpn
        poll(lambda: listener.ended("tls") == 1, "the connection to be counted")
        assert good.call(GET, holder_request("1")).code == 0


def test_http2_is_chosen_among_others(listener: Loopback, tmp_path: Path) -> None:
    offers = context(CA.pem, alpn=("http/1.1", "grpc-exp", "h2"), directory=tmp_path)
    assert listener.serves(tls=offers)


@pytest.mark.parametrize("greeting", [PREFACE, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\0" * 99])
def test_plaintext_to_a_tls_port_is_dropped_at_once_and_others_go_on(
    listener: Loopback, trusting: ssl.SSLContext, greeting: bytes
) -> None:
    with listener.client(tls=trusting) as good:
        with listener.client(greet=False) as plain:
            plain.socket.sendall(greeting)
            poll(lambda: _drained(plain.socket), "the end", 2.0)
        poll(lambda: listener.ended("tls") == 1, "the connection to be counted")
        assert good.call(GET, holder_request("1")).code == 0


def _drained(plain: socket.socket) -> bool:
    try:
        return not plain.recv(4_096)
    except ConnectionResetError:
        return True


def test_tls_to_a_plaintext_port_is_dropped_and_others_go_on(
    tmp_path: Path, trusting: ssl.SSLContext
) -> None:
    with Loopback(tmp_path / "data") as listener, listener.client() as good:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            listener.client(tls=trusting)
        poll(lambda: listener.ended("broken") == 1, "the connection to be counted")
        assert good.call(GET, holder_request("1")).code == 0


def test_sockets_that_speak_tls_need_material(tmp_path: Path) -> None:
    from native_listener import LIMITS

    from ownerd.net.listener import Listener

    with (
        Loopback(tmp_path) as listener,
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(ValueError, match="use_tls"),
    ):
        made = Listener(listener.subject.engine, Access(open=True), **LIMITS)
        made.start([], [listening.fileno()])


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        (b"", b""),
        (SERVER.certificate, CA.issue().key),
        (SERVER.certificate[:300], SERVER.key),
        (SERVER.certificate + SERVER.certificate[:300], SERVER.key),
        (SERVER.certificate, b"x"),
    ],
)
def test_material_that_does_not_work_is_refused_and_the_old_stays(
    listener: Loopback, trusting: ssl.SSLContext, certificate: bytes, key: bytes
) -> None:
    with pytest.raises(ValueError):
        listener.listener.use_tls(certificate, key)
    with pytest.raises(ValueError):
        listener.listener.use_tls(*SERVER, b"no CA")
    assert listener.serves(tls=trusting)


# ---- bytes


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_segments_of_one_byte_are_put_together(
    listener: Loopback, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    tls = Cutting(context(CA.pem, directory=tmp_path, version=version), 1, 16_384)
    with listener.client(tls=tls) as client:
        for number in range(3):
            assert client.call(GET, holder_request(str(number))).code == 0


def test_the_largest_batches_pass_in_both_directions(
    listener: Loopback, trusting: ssl.SSLContext
) -> None:
    ids = [f"{number:0100}" for number in range(MOST_BATCH)]
    with listener.client(tls=trusting, settings={4: 1 << 24}) as client:
        grow_window(client)
        for campaign, decision in (("A" * 80, 1), ("B", 2)):
            request = dial_pb2.ClaimBatchRequest(
                list_id="list", campaign_id=campaign, record_ids=ids
            )
            reply = client.call(DIAL + "ClaimBatch", request.SerializeToString())
            answer = dial_pb2.ClaimBatchResponse.FromString(reply.message)
            assert list(answer.decisions) == [decision] * MOST_BATCH
        assert len(reply.message) > 1_000_000 and len(request.SerializeToString()) > 1_000_000


def grow_window(client: RawClient) -> None:
    """Let the server send 16 MiB more on the connection."""
    from hyperframe.frame import WindowUpdateFrame

    client.send(WindowUpdateFrame(0, window_increment=1 << 24))


def test_a_handshake_that_finds_no_room_goes_on_when_there_is_some(
    tmp_path: Path, trusting: ssl.SSLContext
) -> None:
    long_chain = (SERVER.certificate + CA.pem * 100, SERVER.key)
    with Loopback(tmp_path / "data", tls=long_chain, send_bytes=2_048) as listener:
        wakeups = listener.stats()["wakeups"]
        assert listener.serves(tls=trusting, receive_bytes=2_048)
        assert listener.stats()["wakeups"] - wakeups < 1_000, "nobody waits by asking again"


def test_a_slow_reader_gets_every_byte_and_holds_up_nobody(
    small: Loopback, trusting: ssl.SSLContext
) -> None:
    listener = small
    ids = [f"{number:0100}" for number in range(MOST_BATCH)]
    claim = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="A" * 80, record_ids=ids)
    denied = dial_pb2.ClaimBatchRequest(list_id="list", campaign_id="B", record_ids=ids)
    settings = {4: 1 << 24}
    with (
        listener.client(tls=trusting) as good,
        listener.client(tls=trusting, settings=settings, receive_bytes=8_192) as slow,
    ):
        assert good.call(DIAL + "ClaimBatch", claim.SerializeToString()).code == 0
        grow_window(slow)
        body = framed(denied.SerializeToString())
        streams = [slow.new_stream() for _ in range(3)]
        for stream in streams:
            slow.send(*slow.call_frames(stream, DIAL + "ClaimBatch", body))
        for number in range(20):
            assert good.call(GET, holder_request(str(number))).code == 0
            slow.read(0.01, 4_096)
        for stream in streams:
            answer = dial_pb2.ClaimBatchResponse.FromString(slow.reply(stream).message)
            assert len(answer.denials) == MOST_BATCH
    listener.wait_empty()


def test_what_tls_keeps_when_a_wake_up_has_read_enough_is_read_in_the_next(
    tmp_path: Path, trusting: ssl.SSLContext
) -> None:
    # TLS takes several small records from the socket at once; those that have no space in a wake-up
    # stay with it, and when they are the last ones epoll is silent. Which sizes end so depends on
    # when the listener wakes up: one in four, so some of these do.
    with (
        Loopback(tmp_path / "data", tls=SERVER, receive_bytes=1 << 20) as listener,
        listener.client(tls=Cutting(trusting, 1 << 20, 1_000)) as client,
    ):
        for number in range(40):
            long = dial_pb2.GetHolderRequest(list_id="x" * (200_000 + 3_900 * number))
            assert client.call(GET, long.SerializeToString()).code == 3


def test_many_records_at_once_are_read_to_the_last(
    listener: Loopback, trusting: ssl.SSLContext
) -> None:
    with listener.client(tls=trusting) as client:
        streams = [client.new_stream() for _ in range(1_000)]
        frames = [
            frame.serialize()
            for stream in streams
            for frame in client.call_frames(stream, GET, framed(holder_request("9" * 128)))
        ]
        client.socket.sendall(b"".join(frames))
        for stream in streams:
            assert client.reply(stream).code == 0
        assert listener.stats()["received"] == 1_000


def _need_openssl() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program")


def test_a_key_update_is_answered(listener: Loopback) -> None:
    # Only OpenSSL's program can ask for one: K asks the server for its update too.
    _need_openssl()
    command = ["openssl", "s_client", "-connect", listener.address, "-alpn", "h2", "-tls1_3"]
    client = subprocess.Popen(
        command,
        env=plain_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert client.stdin is not None and client.stdout is not None
    poll(lambda: listener.stats()["handshakes"] == 1, "the handshake")
    client.stdin.write(b"K\n")
    client.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        client.wait(0.3)
    assert listener.stats()["connections"] == 1
    client.stdin.write(b"Q\n")
    client.stdin.close()
    with client.stdout:
        assert b"KEYUPDATE" in client.stdout.read()
    client.wait(10)


def test_a_renegotiation_is_refused(listener: Loopback) -> None:
    _need_openssl()
    command = ["openssl", "s_client", "-connect", listener.address, "-alpn", "h2", "-tls1_2"]
    environment = plain_environment()
    done = subprocess.run(
        command, env=environment, input=b"R\n", capture_output=True, timeout=patient_s(20)
    )
    assert b"no renegotiation" in done.stderr
    assert done.returncode != 0


# ---- goodbye


def test_a_connection_that_ends_in_order_says_close_notify(
    listener: Loopback, trusting: ssl.SSLContext
) -> None:
    trusting.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    with listener.client(tls=trusting) as client:
        client.socket.suppress_ragged_eofs = False  # an end without close_notify is an error then
        listener.listener.close(5.0)
        client.wait(lambda: len(client.goaways()) == 2, "the farewell")
        while client.socket.recv(4_096):
            pass


def test_a_drain_over_tls_loses_no_call(listener: Loopback, trusting: ssl.SSLContext) -> None:
    with listener.client(tls=trusting) as client, listener.client(greet=False) as half:
        stream = client.new_stream()
        client.send(*client.call_frames(stream, DIAL + "Claim", framed(claim_request("late"))))
        listener.listener.begin_drain()
        assert client.reply(stream).code == 0
        half.wait_closed(2.0)
        client.wait_closed(5.0)


# ---- limits


def test_half_open_handshakes_time_out(tmp_path: Path, trusting: ssl.SSLContext) -> None:
    with Loopback(tmp_path / "data", tls=SERVER, handshake_timeout_s=0.3) as listener:
        with (
            listener.client(greet=False) as silent,
            listener.client(greet=False) as half,
            RawClient(listener.address, greet=False, tls=trusting) as mute,
        ):
            half.socket.sendall(_hello(trusting)[:40])
            silent.wait_closed(3.0)
            half.wait_closed(3.0)
            mute.wait_closed(3.0)
        poll(lambda: listener.ended("handshake") == 3, "the connections to be counted")


def _hello(tls: ssl.SSLContext) -> bytes:
    """Return a client's first words."""
    outgoing = ssl.MemoryBIO()
    client = tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_a_flood_of_handshakes_leaves_a_good_client_working(
    tmp_path: Path, trusting: ssl.SSLContext
) -> None:
    hello = _hello(trusting)
    over = threading.Event()
    with Loopback(tmp_path / "data", tls=SERVER) as listener:
        host, _, port = listener.address.rpartition(":")

        def flood() -> None:
            while not over.is_set():
                opened = [
                    socket.create_connection((host, int(port)), DEADLINE_S) for _ in range(100)
                ]
                for number, each in enumerate(opened):
                    each.sendall(hello if number % 2 else hello[:100])
                for each in opened:
                    each.close()

        with listener.client(tls=trusting) as good:
            thread = threading.Thread(target=flood)
            thread.start()
            try:
                poll(lambda: listener.stats()["accepted"] > 500, "the flood")
                for number in range(100):
                    assert good.call(GET, holder_request(str(number))).code == 0
                # From the flood's own address a new one may be turned out with it.
                assert listener.serves(tls=trusting, source="127.0.0.2")
            finally:
                over.set()
                thread.join(DEADLINE_S)
        listener.wait_empty()


def test_connections_that_come_and_go_leave_nothing(
    tmp_path: Path, trusting: ssl.SSLContext
) -> None:
    hello = _hello(trusting)
    client_ca = Authority()
    shown = context(CA.pem, client_ca.issue("dialer.example"), directory=tmp_path)
    with Loopback(tmp_path / "data", tls=(*SERVER, client_ca.pem)) as listener:

        def come_and_go(rounds: int) -> None:
            for _ in range(rounds):
                assert listener.serves(tls=shown)
                with listener.client(tls=shown) as busy:  # leaves in the middle of a call
                    busy.send(*busy.call_frames(1, GET, framed(holder_request("1"))))
                with listener.client(greet=False) as half:
                    half.socket.sendall(hello)
                with listener.client(greet=False) as plain:
                    plain.socket.sendall(PREFACE)
            listener.wait_empty()

        come_and_go(100)
        before = _resident_bytes()
        come_and_go(150)
        if SANITIZER is None:  # it keeps freed memory for a while
            assert _resident_bytes() - before < 1 << 20
        stats = listener.stats()
        assert stats["accepted"] == sum(stats["ended"].values())


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- certificates of clients, and renewal


def test_clients_need_a_certificate_where_a_ca_is_given(tmp_path: Path) -> None:
    client_ca, other_ca = Authority(), Authority()
    with Loopback(tmp_path / "data", tls=(*SERVER, client_ca.pem)) as listener:
        shown = context(CA.pem, client_ca.issue("dialer.example"), directory=tmp_path)
        assert listener.serves(tls=shown)
        refused: list[Pair | None] = [None, other_ca.issue("dialer.example"), SERVER]
        for pair in refused:
            with pytest.raises((OSError, AssertionError)):
                listener.serves(tls=context(CA.pem, pair, directory=tmp_path))
        poll(lambda: listener.ended("tls") == 3, "the connections to be counted")


def test_new_material_is_for_new_connections_and_old_ones_go_on(
    listener: Loopback, tmp_path: Path, trusting: ssl.SSLContext
) -> None:
    renewed_ca = Authority()
    with listener.client(tls=trusting) as before:
        listener.listener.use_tls(*renewed_ca.issue())
        with pytest.raises(ssl.SSLCertVerificationError):
            listener.client(tls=trusting)
        renewed = context(renewed_ca.pem, directory=tmp_path)
        for _ in range(20):
            listener.listener.use_tls(*renewed_ca.issue())
            assert listener.serves(tls=renewed)
        assert before.call(GET, holder_request("1")).code == 0


def test_a_ticket_of_a_session_does_not_outlive_the_material(
    listener: Loopback, tmp_path: Path, trusting: ssl.SSLContext
) -> None:
    session = _session(listener, trusting, None)
    assert session is not None
    assert _reused(listener, trusting, session)
    client_ca = Authority()
    listener.listener.use_tls(*SERVER, client_ca.pem)
    with pytest.raises(OSError):
        _reused(listener, trusting, session)
    shown = context(CA.pem, client_ca.issue("dialer.example"), directory=tmp_path)
    assert not _reused(listener, shown, _session(listener, shown, None))


def _session(listener: Loopback, tls: ssl.SSLContext, session: Any) -> Any:
    host, _, port = listener.address.rpartition(":")
    plain = socket.create_connection((host, int(port)), 10)
    with tls.wrap_socket(plain, server_hostname=host, session=session) as secure:
        assert secure.recv(9), "the server's SETTINGS, behind its ticket"
        return secure.session_reused if session is not None else secure.session


def _reused(listener: Loopback, tls: ssl.SSLContext, session: Any) -> bool:
    return bool(_session(listener, tls, session))
