"""C interface of etcd_client: one connection to etcd at a time, and calls that wait."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.channel cimport Channel, sockaddr_storage, socklen_t
from ownerd.base.containers cimport mutex, string, vector
from ownerd.base.secure_channel cimport TlsAim

# One member of the etcd cluster.
cdef cppclass Endpoint:
    sockaddr_storage address
    socklen_t address_size
    string authority                  # with its NUL
    const TlsAim *tls                 # NULL: plaintext

# Whom all connections of a node go to; made first, and outlives them.
cdef cppclass EtcdAim:
    vector[Endpoint] endpoints
    int stop_fd                       # an eventfd: readable once nobody is to wait any more
    string user                       # empty: etcd asks for none
    string password
    mutex guard                       # what follows
    string token                      # with its NUL; empty: none yet

cdef enum CallEnd:
    CALL_ANSWERED
    CALL_REFUSED                      # by etcd: it was not done; `status` says why
    CALL_UNSENT                       # it was not asked: surely not done
    CALL_UNKNOWN                      # it may be done, now or later
    CALL_STOPPED                      # likewise; nobody is to wait any more

# One thread's at a time.
cdef cppclass EtcdClient:
    EtcdAim *aim
    size_t at                         # of the endpoints, whose turn it is
    Channel *channel
    string token                      # as the channel sends it
    int status                        # gRPC's, of the last call
    bint streams                      # its one call is a stream
    size_t taken_bytes                # of the stream's answers
    uint64_t call_count
    uint64_t failure_count            # of calls that ended UNSENT or UNKNOWN

cdef enum:
    ETCD_RESOURCE_EXHAUSTED = 8       # NOSPACE, or more than it takes

cdef enum StreamStep:
    STREAM_MESSAGE
    STREAM_QUIET                      # nothing until the time that was given
    STREAM_ENDED                      # or never begun

cdef int64_t boot_now() noexcept nogil

cdef EtcdClient *client_new(EtcdAim *aim, size_t first) noexcept nogil
cdef void client_free(EtcdClient *client) noexcept nogil
# One attempt, on one endpoint; after a failure it is the next one's turn. `answer` is valid until
# the next call.
cdef CallEnd client_call(
    EtcdClient *client, const char *path, const string *request, int64_t until_ns, Slice *answer
) noexcept nogil
# Attempts until one is answered or refused, or the time is over; for what may be done twice.
cdef CallEnd client_ask(
    EtcdClient *client, const char *path, const string *request, int64_t attempt_ns,
    int64_t until_ns, Slice *answer
) noexcept nogil
cdef bint client_stopped(const EtcdClient *client) noexcept nogil
# Waits; False: nobody is to wait any more.
cdef bint client_pause(EtcdClient *client, int64_t until_ns) noexcept nogil

cdef bint stream_open(
    EtcdClient *client, const char *path, const string *request
) noexcept nogil
# The next message, valid until the next step.
cdef StreamStep stream_next(EtcdClient *client, int64_t until_ns, Slice *message) noexcept nogil
cdef void stream_close(EtcdClient *client) noexcept nogil


cdef class Etcd:
    cdef EtcdAim *aim
    cdef list kept                    # what the endpoints point into
