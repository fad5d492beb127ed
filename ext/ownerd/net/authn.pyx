"""Who makes a call on the native listener, and whether they may: its token, else its certificate.

A loop holds the table in force and looks before each decision whether there is a newer one. What a
connection's last token was, and whose, is remembered with it, so that most calls cost one
comparison; it counts only while its table is the loop's.

Tokens are compared without telling by the time it takes how much is equal, and are wiped from the
connection's memory with it. All functions run on the loop's thread. The decisions are `access`'s.
"""

from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, memset, strlen, strncmp

from ownerd.access.refusals cimport refusals_add, refusals_add_call
from ownerd.access.table cimport (
    DIGEST_BYTES, AccessTable, Principal, access_admits, access_by_name, access_by_token,
    access_table,
)
from ownerd.api.grpc_http2 cimport grpc_call_name
from ownerd.api.reasons cimport NO_CREDENTIALS, TOKEN_NOT_VALID, refuse
from ownerd.api.task cimport PERMISSION_DENIED
from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport Slice, empty_slice, slice_of
from ownerd.base.clock cimport clock_now
from ownerd.base.sockets cimport (
    AF_INET, AF_INET6, INET6_ADDRSTRLEN, getpeername, inet_ntop, sockaddr, sockaddr_in,
    sockaddr_in6, sockaddr_storage, socklen_t,
)
from ownerd.net.state cimport (
    CREDENTIAL_BAD, CREDENTIAL_NONE, CREDENTIAL_TOKEN, TOKEN_BYTES, Connection, Loop, Stream,
)
from ownerd.rules.ownership cimport NEVER_NS

cdef extern from "<openssl/sha.h>" nogil:
    unsigned char *SHA256(const unsigned char *, size_t, unsigned char *)

cdef extern from "<openssl/crypto.h>" nogil:
    int CRYPTO_memcmp(const void *, const void *, size_t)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *, const char *, size_t)

cdef enum:
    PEER_BYTES = 64
    NAME_KINDS = 4

cdef const char *NAMES_BEGIN[NAME_KINDS]
NAMES_BEGIN[:] = ["DNS:", "URI:", "email:", "IP:"]
cdef const char *SCHEME = "bearer "
cdef const char *TOKEN_PREFIX = "ownerd_"
cdef const char *MAPPED_PREFIX = "::ffff:"


cdef void access_refresh(Loop *loop) noexcept nogil:
    """Take the table in force, if it is another one than the loop has."""
    if loop.access.number.load() != loop.table_number:
        loop.table = access_table(loop.access)
        assert_that(loop.table.get().number > loop.table_number, "a newer table was published")
        loop.table_number = loop.table.get().number


# --- the header -----------------------------------------------------------------------------------

cdef void access_take_header(Stream *stream, const char *value, size_t size) noexcept nogil:
    """Take the value of an `authorization` header; only one that could be a token is hashed."""
    cdef Connection *connection = stream.connection
    cdef size_t scheme = strlen(SCHEME)
    cdef bint first = stream.credential == CREDENTIAL_NONE
    stream.credential = CREDENTIAL_BAD
    if not first or size != scheme + TOKEN_BYTES or strncasecmp(value, SCHEME, scheme) != 0 \
            or memcmp(value + scheme, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) != 0:
        return
    value += scheme
    stream.credential = CREDENTIAL_TOKEN
    if CRYPTO_memcmp(value, connection.token, TOKEN_BYTES) != 0:
        SHA256(<const unsigned char *> value, TOKEN_BYTES, <unsigned char *> stream.digest)
        remember(connection, value, stream.digest)
    else:
        memcpy(stream.digest, connection.token_digest, DIGEST_BYTES)


cdef void remember(Connection *connection, const char *token, const char *digest) noexcept nogil:
    memcpy(connection.token, token, TOKEN_BYTES)
    memcpy(connection.token_digest, digest, DIGEST_BYTES)
    connection.token_table = 0        # which no table has: it is not known yet whose it is


# --- who it is ------------------------------------------------------------------------------------

cdef const Principal *by_token(Stream *stream) noexcept nogil:
    cdef Connection *connection = stream.connection
    cdef Loop *loop = stream.loop
    cdef bint remembered = memcmp(stream.digest, connection.token_digest, DIGEST_BYTES) == 0
    cdef const Principal *found
    cdef int64_t until_ns = 0
    if remembered and connection.token_table == loop.table_number \
            and (connection.token_until_ns == NEVER_NS
                 or clock_now(loop.engine.clock) < connection.token_until_ns):
        return connection.token_principal
    found = access_by_token(
        loop.table.get(), stream.digest, clock_now(loop.engine.clock), &until_ns
    )
    assert_that(found == NULL or until_ns > 0, "a token that is valid has an end, if only never")
    if remembered and found != NULL:
        connection.token_principal = found
        connection.token_table = loop.table_number
        connection.token_until_ns = until_ns
    return found


cdef const Principal *by_names(Stream *stream) noexcept nogil:
    """Return whom the connection's certificate stands for: its first name that is known.

    By kind first, in the order in which grpcio tells names.
    """
    cdef Connection *connection = stream.connection
    cdef const Principal *found = NULL
    cdef Slice name
    cdef size_t at
    cdef int kind
    for kind in range(NAME_KINDS):
        at = 0
        while at < connection.peer_names_size and found == NULL:
            name.data = connection.peer_names + at
            name.size = strlen(name.data)
            if strncmp(name.data, NAMES_BEGIN[kind], strlen(NAMES_BEGIN[kind])) == 0:
                found = access_by_name(stream.loop.table.get(), name)
            at += name.size + 1
    return found


cdef const Principal *caller(Stream *stream) noexcept nogil:
    cdef const AccessTable *table = stream.loop.table.get()
    if table.open:
        return &table.principals[0]
    if stream.credential == CREDENTIAL_TOKEN:
        return by_token(stream)
    if stream.credential == CREDENTIAL_NONE:
        return by_names(stream)
    return NULL


cdef const Principal *identified(Stream *stream) noexcept nogil:
    """Find out who makes the call; NULL with code and message set where that is nobody known."""
    cdef char peer[PEER_BYTES]
    cdef const char *action
    cdef const Principal *found
    access_refresh(stream.loop)
    found = caller(stream)
    assert_that(
        stream.loop.table.get().number == stream.loop.table_number, "the table is the loop's"
    )
    if found != NULL:
        assert_that(
            found >= &stream.loop.table.get().principals[0]
            and found <= &stream.loop.table.get().principals.back(),
            "whoever is known is in the table in force",
        )
        stream.connection.known = True
        return found
    refuse(
        &stream.call.task,
        NO_CREDENTIALS if stream.credential == CREDENTIAL_NONE else TOKEN_NOT_VALID,
    )
    action = grpc_call_name(stream.target)
    refusals_add(
        &stream.loop.access.refusals, stream.call.task.code, slice_of("", 0),
        peer_of(stream, peer), slice_of(action, strlen(action)), empty_slice(), empty_slice(),
    )
    return NULL


cdef bint access_identify(Stream *stream) noexcept nogil:
    """Tell whether somebody known makes the call; False with code and message set if not."""
    return identified(stream) != NULL


cdef bint access_lets_in(Stream *stream) noexcept nogil:
    """Tell whether a decoded call may go on; False with code and message set if not.

    It is asked anew who makes it: since the headers came, rights may have been taken away and
    tokens have ended.
    """
    cdef char peer[PEER_BYTES]
    cdef const Principal *principal = identified(stream)
    if principal == NULL:
        return False
    if access_admits(principal, &stream.call):
        return True
    if stream.call.task.code == PERMISSION_DENIED:
        refusals_add_call(
            &stream.loop.access.refusals, &principal.id, peer_of(stream, peer), &stream.call
        )
    return False


# --- where from -----------------------------------------------------------------------------------

cdef Slice peer_of(Stream *stream, char *text) noexcept nogil:
    """Write the peer's address without its port into PEER_BYTES, spelled as by gRPC."""
    cdef sockaddr_storage address
    cdef socklen_t size = sizeof(address)
    cdef char host[INET6_ADDRSTRLEN]
    cdef const char *kind = "unix:"
    cdef const char *shown = host
    memset(&address, 0, sizeof(address))
    memset(host, 0, sizeof(host))
    getpeername(stream.connection.fd, <sockaddr *> &address, &size)
    if address.ss_family == AF_INET:
        kind = "ipv4:"
        inet_ntop(AF_INET, &(<sockaddr_in *> &address).sin_addr, host, sizeof(host))
    elif address.ss_family == AF_INET6:
        inet_ntop(AF_INET6, &(<sockaddr_in6 *> &address).sin6_addr, host, sizeof(host))
        kind = "ipv6:["
        if memcmp(host, MAPPED_PREFIX, strlen(MAPPED_PREFIX)) == 0:
            kind, shown = "ipv4:", host + strlen(MAPPED_PREFIX)
    snprintf(text, PEER_BYTES, "%s%s%s", kind, shown, "]" if kind[4] == c':' and kind[5] else "")
    return slice_of(text, strlen(text))
