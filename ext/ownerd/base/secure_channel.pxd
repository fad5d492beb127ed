"""C interface of secure_channel: TLS as a transport of a client channel."""

from ownerd.base.channel cimport Transport
from ownerd.base.openssl cimport SSL_CTX

# What a channel needs to begin; it stays where it is as long as the TlsClient lives.
cdef struct TlsAim:
    SSL_CTX *context
    const char *server_name           # or an IP address

cdef Transport TLS                    # filled when the module is imported

cdef class TlsClient:
    cdef TlsAim _aim
    cdef bytes _server_name
    cdef const TlsAim *aim(self) noexcept
