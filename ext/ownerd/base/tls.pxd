"""C interface of tls: TLS sessions on non-blocking sockets, and what they are made from."""

from ownerd.base.containers cimport mutex, string
from ownerd.base.openssl cimport SSL, SSL_CTX, X509

cdef extern from "<sys/types.h>" nogil:
    ctypedef long ssize_t

cdef enum TlsRest:                    # why an operation went no further
    TLS_DONE                          # all is done; of a read: maybe more, the buffer is full
    TLS_WANTS_READ                    # again when the socket is readable
    TLS_WANTS_WRITE                   # again when it is writable
    TLS_ENDED                         # the peer has said goodbye, or closed its side
    TLS_LOST                          # the connection is broken; no word may be said any more
    TLS_FAILED                        # against TLS or our rules; an alert has been sent

# What the new sessions of a listener are made from: one for all its threads.
cdef cppclass TlsMaterial:
    mutex guard                       # what follows
    SSL_CTX *context                  # NULL: none yet

cdef void tls_use(TlsMaterial *material, SSL_CTX *context) noexcept nogil
cdef SSL *tls_accept(TlsMaterial *material, int fd) noexcept nogil
cdef SSL *tls_connect(SSL_CTX *context, const char *server_name, int fd) noexcept nogil
cdef int tls_handshake(SSL *session) noexcept nogil
cdef ssize_t tls_read(SSL *session, char *buffer, size_t capacity, int *rest) noexcept nogil
cdef ssize_t tls_write(SSL *session, const char *data, size_t size, int *rest) noexcept nogil
cdef void tls_say_goodbye(SSL *session) noexcept nogil
cdef bint tls_speaks_http2(const SSL *session) noexcept nogil
cdef void tls_peer_names(const SSL *session, char **names, size_t *size) noexcept nogil
cdef void add_names(string *names, const X509 *certificate) noexcept nogil

cdef SSL_CTX *tls_server_context(bytes certificate, bytes key, bytes client_ca) except NULL
cdef SSL_CTX *tls_client_context(bytes ca, bytes certificate, bytes key) except NULL
cdef list certificates_of(bytes pem, what)
cdef void free_certificates(list certificates)
cdef str tls_reason(const SSL *session)
