"""TLS as a transport of client channels, and what a client needs for it.

A `TlsClient` is made from PEM bytes on Python's side and then only read, by any thread. The
transport's handshake goes along with the first bytes that are sent and received.

It reads no files.
"""

import select
import time

from ownerd.base.channel cimport TRANSPORT_ENDED, TRANSPORT_WAIT, Channel
from ownerd.base.openssl cimport SSL, SSL_CTX_free, SSL_free
from ownerd.base.tls cimport (
    TLS_DONE, TLS_ENDED, TLS_LOST, TLS_WANTS_READ, TLS_WANTS_WRITE, ssize_t, tls_client_context,
    tls_connect, tls_handshake, tls_read, tls_reason, tls_say_goodbye, tls_speaks_http2,
    tls_write,
)


cdef bint secure_begin(Channel *channel) noexcept nogil:
    cdef const TlsAim *aim = <const TlsAim *> channel.transport_aim
    channel.transport_state = tls_connect(aim.context, aim.server_name, channel.fd)
    return channel.transport_state != NULL


cdef ssize_t secure_receive(Channel *channel, char *buffer, size_t size) noexcept nogil:
    cdef int rest
    cdef ssize_t got = tls_read(<SSL *> channel.transport_state, buffer, size, &rest)
    channel.awaits_write = rest == TLS_WANTS_WRITE
    channel.awaits_bytes = False
    if got > 0:
        return got
    return TRANSPORT_WAIT if rest == TLS_WANTS_READ or rest == TLS_WANTS_WRITE else TRANSPORT_ENDED


cdef ssize_t secure_send(Channel *channel, const char *data, size_t size) noexcept nogil:
    cdef int rest
    cdef ssize_t sent = tls_write(<SSL *> channel.transport_state, data, size, &rest)
    channel.awaits_bytes = rest == TLS_WANTS_READ
    if sent > 0:
        return sent
    return TRANSPORT_WAIT if rest == TLS_WANTS_READ or rest == TLS_WANTS_WRITE else TRANSPORT_ENDED


cdef void secure_end(Channel *channel) noexcept nogil:
    if channel.transport_state != NULL and channel.out_size == 0:
        tls_say_goodbye(<SSL *> channel.transport_state)
    SSL_free(<SSL *> channel.transport_state)
    channel.transport_state = NULL


TLS.begin = secure_begin
TLS.receive = secure_receive
TLS.send = secure_send
TLS.end = secure_end
TLS.keeps_bytes = True


cdef class TlsClient:
    """Whom a client trusts, and who it says it is.

    Args:
        ca_pem: CAs of the server's certificate; None: those that the system trusts.
        certificate_pem: the client's certificate with those that lead to its CA; None: none.
        key_pem: its private key, not encrypted.
        server_name: what the server's certificate must be for, a DNS name or an IP address.

    Raises:
        ValueError: something is no PEM, broken, or does not fit.
    """

    def __init__(
        self, str server_name, *, bytes ca_pem=None, bytes certificate_pem=None,
        bytes key_pem=None,
    ):
        if (certificate_pem is None) != (key_pem is None):
            raise ValueError("a certificate and its key come together")
        SSL_CTX_free(self._aim.context)
        self._aim.context = NULL
        self._aim.context = tls_client_context(ca_pem, certificate_pem, key_pem)
        self._server_name = server_name.encode("idna" if not server_name.isascii() else "ascii")
        self._aim.server_name = self._server_name

    def __dealloc__(self):
        SSL_CTX_free(self._aim.context)

    cdef const TlsAim *aim(self) noexcept:
        return &self._aim

    def check(self, sock, patience_s):
        """Shake hands on a connected socket, so that what is wrong can be told.

        Args:
            sock: a socket with a timeout, so that it does not block.
            patience_s: seconds that the server has.

        Raises:
            ConnectionError: the two do not agree; the message says why.
            TimeoutError: the server does not answer.
        """
        cdef SSL *session = tls_connect(self._aim.context, self._aim.server_name, sock.fileno())
        if session == NULL:
            raise MemoryError()
        try:
            check_session(session, sock, time.monotonic() + patience_s)
        finally:
            SSL_free(session)


cdef check_session(SSL *session, sock, end_s):
    """Do the handshake, and wait for the server's first words: TLS 1.3 refuses a client in them."""
    cdef char first[1]
    cdef int rest = tls_handshake(session)
    while rest != TLS_DONE:
        wait_ready(rest, session, sock, end_s)
        rest = tls_handshake(session)
    if not tls_speaks_http2(session):
        raise ConnectionError("the server speaks TLS, but not HTTP/2")
    while tls_read(session, first, 1, &rest) == 0:
        wait_ready(rest, session, sock, end_s)


cdef wait_ready(int rest, const SSL *session, sock, end_s):
    """Wait for what TLS waits for; ConnectionError if it does not wait but has failed."""
    if rest == TLS_ENDED or rest == TLS_LOST:
        raise ConnectionError("the server has closed the connection in the TLS handshake")
    if rest != TLS_WANTS_READ and rest != TLS_WANTS_WRITE:
        raise ConnectionError(f"no TLS with this server: {tls_reason(session)}")
    ready = select.poll()
    ready.register(sock, select.POLLIN if rest == TLS_WANTS_READ else select.POLLOUT)
    if not ready.poll(max(0.0, end_s - time.monotonic()) * 1_000):
        raise TimeoutError("the server does not go on with the TLS handshake")
