"""TLS by OpenSSL on non-blocking sockets: sessions, and the contexts that they are made from.

A context is built from PEM bytes and never changes; new material is a new context, and sessions
keep the one that they began with. Servers and clients speak TLS 1.2 or later and HTTP/2 only, with
ciphers that keep what was said secret when a key is lost later.

Invariants:
- A session belongs to one thread at a time; a context is shared, and counts its users itself.
- OpenSSL's error queue is the thread's, and one left-over entry makes the next result look like a
  failure: each operation empties it first.
- No operation waits, takes the GIL or asks on a terminal (for a passphrase).
- No private key is handed back or put into a message.

It knows nothing of HTTP/2 frames, of epoll and of files.
"""

from libc.stdlib cimport abort, malloc
from libc.string cimport memchr, memcpy, strlen

from ownerd.base.assertions cimport assert_that
from ownerd.base.containers cimport string
from ownerd.base.openssl cimport (
    ASN1_STRING, BIO, EVP_PKEY, GENERAL_NAME, GENERAL_NAMES, GEN_DNS, GEN_EMAIL, GEN_IPADD,
    GEN_URI, OWNERD_OP_EOF_IS_AN_END, SSL, SSL_CTX, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE,
    SSL_ERROR_ZERO_RETURN, SSL_METHOD, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
    SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_RELEASE_BUFFERS, SSL_OP_CIPHER_SERVER_PREFERENCE,
    SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_TICKET, SSL_OP_PRIORITIZE_CHACHA,
    SSL_SESS_CACHE_OFF, SSL_TLSEXT_ERR_ALERT_FATAL, SSL_TLSEXT_ERR_OK,
    SSL_VERIFY_FAIL_IF_NO_PEER_CERT, SSL_VERIFY_PEER, TLS1_2_VERSION, X509, X509_V_OK,
    ASN1_STRING_get0_data, ASN1_STRING_length, BIO_free, BIO_new_mem_buf, ERR_clear_error,
    ERR_peek_last_error, ERR_reason_error_string, EVP_PKEY_free, GENERAL_NAMES_free,
    GENERAL_NAME_get0_value, NID_subject_alt_name, PEM_read_bio_PrivateKey, PEM_read_bio_X509,
    SSL_CTX_add0_chain_cert, SSL_CTX_add_client_CA, SSL_CTX_check_private_key, SSL_CTX_free,
    SSL_CTX_get_cert_store, SSL_CTX_new, SSL_CTX_set_alpn_protos, SSL_CTX_set_alpn_select_cb,
    SSL_CTX_set_cipher_list, SSL_CTX_set_ciphersuites, SSL_CTX_set_default_verify_paths,
    SSL_CTX_set_max_cert_list, SSL_CTX_set_min_proto_version, SSL_CTX_set_mode,
    SSL_CTX_set_num_tickets, SSL_CTX_set_options, SSL_CTX_set_read_ahead,
    SSL_CTX_set_session_cache_mode, SSL_CTX_set_session_id_context, SSL_CTX_set_verify,
    SSL_CTX_use_PrivateKey, SSL_CTX_use_certificate, SSL_do_handshake, SSL_free,
    SSL_get0_alpn_selected, SSL_get0_param, SSL_get_error, SSL_get_verify_result,
    SSL_has_pending, SSL_new, SSL_read, SSL_set1_host, SSL_set_accept_state,
    SSL_set_connect_state, SSL_set_fd, SSL_set_tlsext_host_name, SSL_shutdown, SSL_write,
    TLS_client_method, TLS_server_method, X509_STORE_add_cert, X509_VERIFY_PARAM_set1_ip_asc,
    X509_free, X509_get_ext_d2i, X509_verify_cert_error_string, ownerd_peer_certificate,
    sk_GENERAL_NAME_num, sk_GENERAL_NAME_value,
)

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET
    int AF_INET6
    const char *inet_ntop(int, const void *, char *, unsigned int)

cdef enum:
    MOST_AT_ONCE = 1 << 30            # OpenSSL counts bytes in an int
    RECORD_BYTES = 16 << 10           # the largest, and about what is taken from a socket at once
    CERTIFICATE_LIST_BYTES = 32 << 10  # a chain of a client's certificate
    IPV4_BYTES = 4
    IPV6_BYTES = 16

cdef const unsigned char *HTTP2 = b"\x02h2"
cdef unsigned int HTTP2_BYTES = 3
cdef const unsigned char *SESSION_CONTEXT = b"ownerd"
cdef const char *TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
# The shorter key first: as safe for a connection's life, and a third cheaper.
cdef const char *TLS13_CIPHERS = \
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"


# --- sessions -------------------------------------------------------------------------------------

cdef void tls_use(TlsMaterial *material, SSL_CTX *context) noexcept nogil:
    """Have new sessions made from a context, which is taken over; from any thread."""
    cdef SSL_CTX *before
    material.guard.lock()
    before = material.context
    material.context = context
    material.guard.unlock()
    SSL_CTX_free(before)


cdef SSL *tls_accept(TlsMaterial *material, int fd) noexcept nogil:
    """Return the session of an accepted socket, its handshake still to do; NULL if there is none.
    """
    cdef SSL *session = NULL
    material.guard.lock()
    if material.context != NULL:
        session = SSL_new(material.context)
    material.guard.unlock()
    if session != NULL and SSL_set_fd(session, fd) != 1:
        SSL_free(session)
        return NULL
    if session != NULL:
        SSL_set_accept_state(session)
    return session


cdef SSL *tls_connect(SSL_CTX *context, const char *server_name, int fd) noexcept nogil:
    """Return a client's session; the server must prove the name, or the IP address, that is given.
    """
    cdef SSL *session = SSL_new(context)
    if session == NULL:
        return NULL
    if X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), server_name) != 1 and (
        SSL_set1_host(session, server_name) != 1
        or SSL_set_tlsext_host_name(session, server_name) != 1
    ) or SSL_set_fd(session, fd) != 1:
        SSL_free(session)
        return NULL
    SSL_set_connect_state(session)
    return session


cdef int rest_of(SSL *session, int result) noexcept nogil:
    """Return why an operation gave no more than `result`."""
    cdef int error = SSL_get_error(session, result)
    if error == SSL_ERROR_WANT_READ:
        return TLS_WANTS_READ
    if error == SSL_ERROR_WANT_WRITE:
        return TLS_WANTS_WRITE
    if error == SSL_ERROR_ZERO_RETURN:
        return TLS_ENDED
    # What is in the queue is against TLS; without, the socket has failed.
    return TLS_FAILED if ERR_peek_last_error() != 0 else TLS_LOST


cdef int tls_handshake(SSL *session) noexcept nogil:
    """Go on with the handshake; TLS_DONE, or what it waits for, or how it failed."""
    cdef int result
    ERR_clear_error()
    result = SSL_do_handshake(session)
    return TLS_DONE if result == 1 else rest_of(session, result)


cdef ssize_t tls_read(SSL *session, char *buffer, size_t capacity, int *rest) noexcept nogil:
    """Read until the buffer is full or nothing is left; the number of bytes.

    `rest` says why there are no more. Only after TLS_DONE may the session keep bytes that nothing
    tells of: then read again.
    """
    cdef size_t size = 0
    cdef int got
    rest[0] = TLS_DONE
    while size < capacity:
        ERR_clear_error()
        got = SSL_read(session, buffer + size, <int> min(capacity - size, <size_t> MOST_AT_ONCE))
        if got <= 0:
            rest[0] = rest_of(session, got)
            break
        size += <size_t> got
        # After little the socket has no more, most of the time, and need not be asked.
        if size < RECORD_BYTES and not SSL_has_pending(session):
            rest[0] = TLS_WANTS_READ
            break
    assert_that(size <= capacity, "no more is read than fits")
    assert_that(size == capacity or rest[0] != TLS_DONE, "all is done when the buffer is full")
    return <ssize_t> size


cdef ssize_t tls_write(SSL *session, const char *data, size_t size, int *rest) noexcept nogil:
    """Write what the socket takes; the number of bytes, and in `rest` why no more.

    What follows must begin with the bytes that were not taken: a record of them may be half sent.
    """
    cdef size_t sent = 0
    cdef int taken
    rest[0] = TLS_DONE
    while sent < size:
        ERR_clear_error()
        # One record each time: that is what partial writes mean here.
        taken = SSL_write(session, data + sent, <int> min(size - sent, <size_t> MOST_AT_ONCE))
        if taken <= 0:
            rest[0] = rest_of(session, taken)
            break
        sent += <size_t> taken
    assert_that(sent <= size, "no more is written than there is")
    assert_that(sent == size or rest[0] != TLS_DONE, "all is done when all is written")
    return <ssize_t> sent


cdef void tls_say_goodbye(SSL *session) noexcept nogil:
    """Send close_notify if the socket takes it; only while all is well and all is written."""
    ERR_clear_error()
    SSL_shutdown(session)
    ERR_clear_error()


cdef bint tls_speaks_http2(const SSL *session) noexcept nogil:
    """Whether both sides have agreed on HTTP/2, which nobody assumes."""
    cdef const unsigned char *name
    cdef unsigned int size
    SSL_get0_alpn_selected(session, &name, &size)
    return size == 2 and name[0] == 104 and name[1] == 50  # h2


# --- names in a certificate -----------------------------------------------------------------------

cdef void add_name(string *names, const char *kind, const char *text, size_t size) noexcept nogil:
    """Append a name with a NUL behind it; one that holds a NUL would pass for another."""
    if memchr(text, 0, size) != NULL:
        return
    names.append(kind, strlen(kind))
    names.append(text, size)
    names.append(b"\0", 1)


cdef void add_address(string *names, const ASN1_STRING *address) noexcept nogil:
    cdef char text[64]
    cdef int size = ASN1_STRING_length(address)
    if size != IPV4_BYTES and size != IPV6_BYTES:
        return
    if inet_ntop(
        AF_INET if size == IPV4_BYTES else AF_INET6, ASN1_STRING_get0_data(address), text,
        sizeof(text),
    ) != NULL:
        add_name(names, "IP:", text, strlen(text))


cdef void add_general_name(string *names, const GENERAL_NAME *name) noexcept nogil:
    cdef int type
    cdef const ASN1_STRING *text = <const ASN1_STRING *> GENERAL_NAME_get0_value(name, &type)
    cdef const char *kind
    if type == GEN_IPADD:
        add_address(names, text)
        return
    if type == GEN_DNS:
        kind = "DNS:"
    elif type == GEN_URI:
        kind = "URI:"
    elif type == GEN_EMAIL:
        kind = "email:"
    else:
        return
    add_name(
        names, kind, <const char *> ASN1_STRING_get0_data(text), <size_t> ASN1_STRING_length(text)
    )


cdef void add_names(string *names, const X509 *certificate) noexcept nogil:
    """Append the subject alternative names of a certificate, each with a NUL behind it.

    As `DNS:name`, `URI:...`, `email:...` or `IP:...`; other kinds are left out.
    """
    cdef int i
    cdef GENERAL_NAMES *found = <GENERAL_NAMES *> X509_get_ext_d2i(
        certificate, NID_subject_alt_name, NULL, NULL
    )
    if found == NULL:
        return
    for i in range(sk_GENERAL_NAME_num(found)):
        add_general_name(names, sk_GENERAL_NAME_value(found, i))
    GENERAL_NAMES_free(found)


cdef void tls_peer_names(const SSL *session, char **names, size_t *size) noexcept nogil:
    """Give the names in the peer's certificate, as `add_names` spells them; malloc'd.

    NULL if it has none, or the peer no certificate.
    """
    cdef string found
    cdef X509 *certificate = ownerd_peer_certificate(session)
    names[0] = NULL
    size[0] = 0
    if certificate == NULL:
        return
    add_names(&found, certificate)
    X509_free(certificate)
    if found.empty():
        return
    names[0] = <char *> malloc(found.size())
    if names[0] == NULL:
        abort()
    memcpy(names[0], found.data(), found.size())
    size[0] = found.size()


# --- contexts -------------------------------------------------------------------------------------

cdef int on_alpn(
    SSL *session, const unsigned char **chosen, unsigned char *chosen_size,
    const unsigned char *offered, unsigned int offered_size, void *nothing
) noexcept nogil:
    """Choose HTTP/2 from what a client offers; refuse it otherwise."""
    cdef unsigned int at = 0
    while at < offered_size and at + offered[at] < offered_size:
        if offered[at] == 2 and offered[at + 1] == 104 and offered[at + 2] == 50:
            chosen[0] = offered + at + 1
            chosen_size[0] = 2
            return SSL_TLSEXT_ERR_OK
        at += 1 + offered[at]
    return SSL_TLSEXT_ERR_ALERT_FATAL


cdef int on_passphrase(char *buffer, int size, int writing, void *nothing) noexcept nogil:
    """Have none, so that an encrypted key is an error and nobody is asked."""
    return 0


cdef SSL_CTX *new_context(const SSL_METHOD *method) except NULL:
    """Return a context with what servers and clients have in common."""
    cdef SSL_CTX *context = SSL_CTX_new(method)
    if context == NULL:
        raise MemoryError("OpenSSL makes no context")
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION)
    SSL_CTX_set_cipher_list(context, TLS12_CIPHERS)
    SSL_CTX_set_ciphersuites(context, TLS13_CIPHERS)
    # A peer that closes without close_notify has closed: HTTP/2 knows what was cut off.
    SSL_CTX_set_options(
        context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | OWNERD_OP_EOF_IS_AN_END
    )
    SSL_CTX_set_mode(
        context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        | SSL_MODE_RELEASE_BUFFERS,
    )
    # One read for a record's head and body, and for small records that came together.
    SSL_CTX_set_read_ahead(context, 1)
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF)
    SSL_CTX_set_max_cert_list(context, CERTIFICATE_LIST_BYTES)
    return context


cdef list certificates_of(bytes pem, what):
    """Return the certificates of a PEM text, as pointers that the caller frees.

    Raises:
        ValueError: there is none, or one is broken.
    """
    cdef BIO *source = BIO_new_mem_buf(<const char *> pem, <int> len(pem))
    cdef X509 *certificate
    found = []
    if source == NULL:
        raise MemoryError()
    ERR_clear_error()
    while True:
        certificate = PEM_read_bio_X509(source, NULL, on_passphrase, NULL)
        if certificate == NULL:
            break
        found.append(<size_t> certificate)
    BIO_free(source)
    ERR_clear_error()
    if len(found) < pem.count(b"-----BEGIN CERTIFICATE-----") or not found:
        free_certificates(found)
        raise ValueError(f"{what}: no certificates in PEM, or a broken one")
    return found


cdef void free_certificates(list certificates):
    for each in certificates:
        X509_free(<X509 *> <size_t> each)


cdef int take_identity(SSL_CTX *context, bytes certificate, bytes key) except -1:
    """Have a context present a certificate, with those behind it as its chain."""
    chain = certificates_of(certificate, "certificate")
    try:
        if SSL_CTX_use_certificate(context, <X509 *> <size_t> chain[0]) != 1:
            raise ValueError(f"certificate: {tls_reason(NULL)}")
        X509_free(<X509 *> <size_t> chain.pop(0))
        while chain and SSL_CTX_add0_chain_cert(context, <X509 *> <size_t> chain[0]) == 1:
            chain.pop(0)              # the context's own now
    finally:
        free_certificates(chain)
    return take_key(context, key)


cdef int take_key(SSL_CTX *context, bytes key) except -1:
    cdef BIO *source = BIO_new_mem_buf(<const char *> key, <int> len(key))
    cdef EVP_PKEY *found
    cdef bint taken
    if source == NULL:
        raise MemoryError()
    ERR_clear_error()
    found = PEM_read_bio_PrivateKey(source, NULL, on_passphrase, NULL)
    BIO_free(source)
    if found == NULL:
        raise ValueError(f"key: {tls_reason(NULL)}")
    taken = SSL_CTX_use_PrivateKey(context, found) == 1 and SSL_CTX_check_private_key(context) == 1
    EVP_PKEY_free(found)
    if not taken:
        raise ValueError(f"key: {tls_reason(NULL)}")
    return 0


cdef int trust(SSL_CTX *context, bytes ca, bint ask) except -1:
    """Have a context trust some CAs; a server that asks names them, so that clients can choose."""
    authorities = certificates_of(ca, "CA")
    for each in authorities:
        X509_STORE_add_cert(SSL_CTX_get_cert_store(context), <X509 *> <size_t> each)
        if ask:
            SSL_CTX_add_client_CA(context, <X509 *> <size_t> each)
    free_certificates(authorities)
    return 0


cdef SSL_CTX *tls_server_context(bytes certificate, bytes key, bytes client_ca) except NULL:
    """Return a server's context from PEM; with `client_ca`, clients need a certificate.

    Raises:
        ValueError: something is no PEM, broken, or does not fit.
    """
    cdef SSL_CTX *context = new_context(TLS_server_method())
    try:
        take_identity(context, certificate, key)
        SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA)
        SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL)
        SSL_CTX_set_session_id_context(
            context, SESSION_CONTEXT, <unsigned int> strlen(<const char *> SESSION_CONTEXT)
        )
        SSL_CTX_set_num_tickets(context, 1)
        if client_ca is not None:
            trust(context, client_ca, True)
            SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL)
            # A resumed session's certificate would not be looked at again.
            SSL_CTX_set_options(context, SSL_OP_NO_TICKET)
            SSL_CTX_set_num_tickets(context, 0)
    except BaseException:
        SSL_CTX_free(context)
        raise
    return context


cdef SSL_CTX *tls_client_context(bytes ca, bytes certificate, bytes key) except NULL:
    """Return a client's context from PEM; without `ca` it trusts what the system does.

    Raises:
        ValueError: something is no PEM, broken, or does not fit.
    """
    cdef SSL_CTX *context = new_context(TLS_client_method())
    try:
        if ca is None:
            SSL_CTX_set_default_verify_paths(context)
        else:
            trust(context, ca, False)
        if certificate is not None:
            take_identity(context, certificate, key)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL)
        SSL_CTX_set_alpn_protos(context, HTTP2, HTTP2_BYTES)
    except BaseException:
        SSL_CTX_free(context)
        raise
    return context


cdef str tls_reason(const SSL *session):
    """Return what went wrong last, in OpenSSL's words, and empty the queue."""
    cdef long verdict = X509_V_OK if session == NULL else SSL_get_verify_result(session)
    cdef const char *words = NULL
    if verdict != X509_V_OK:
        words = X509_verify_cert_error_string(verdict)
    elif ERR_peek_last_error() != 0:
        words = ERR_reason_error_string(ERR_peek_last_error())
    ERR_clear_error()
    return "unknown" if words == NULL else (<bytes> words).decode("ascii", "replace")
