"""C interface of channel: one HTTP/2 connection of a client, and the calls on it."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ownerd.base.nghttp2 cimport nghttp2_session, ssize_t

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct sockaddr_storage:
        unsigned short ss_family

cdef enum:
    NO_STATUS = -1
    TRANSPORT_WAIT = -1               # neither bytes nor space now
    TRANSPORT_ENDED = -2

# How bytes pass, once there is a socket. `begin` is False for want of memory; `end` is called
# before the socket is closed, also where nothing was begun.
cdef struct Transport:
    bint (*begin)(Channel *channel) noexcept nogil
    ssize_t (*receive)(Channel *channel, char *buffer, size_t size) noexcept nogil
    ssize_t (*send)(Channel *channel, const char *data, size_t size) noexcept nogil
    void (*end)(Channel *channel) noexcept nogil
    bint keeps_bytes                  # has some that epoll does not tell of: received to the last

# The place of one call at a time, used again and again, always on the same channel.
cdef struct CallSlot:
    CallSlot *next
    Channel *channel
    bint under_way
    int64_t due_ns
    uint8_t call_kind
    uint32_t records
    char *request                     # the gRPC prefix, then the message
    size_t request_size
    size_t request_sent
    bint keeps_open                   # more may be said after the request: a stream
    char *answer                      # as it came, the prefix before it; grows as needed
    size_t answer_size
    size_t answer_capacity
    int status                        # gRPC's; NO_STATUS until it has come
    int http_status

ctypedef void (*OnEnded)(CallSlot *slot) noexcept nogil

cdef struct Channel:
    nghttp2_session *session          # NULL while there is no connection
    int fd
    bint draining                     # the server said GOAWAY: no new calls
    int64_t again_ns                  # when to connect again
    sockaddr_storage address
    socklen_t address_size
    const char *scheme
    const char *authority
    const char *user_agent
    const char *credential_name       # of the header that it goes into
    const char *authorization         # of every call; NULL: none
    const Transport *transport
    const void *transport_aim         # what it needs to begin
    void *transport_state
    bint awaits_bytes                 # it has to receive before it can send on
    bint awaits_write                 # the other way round
    char *out                         # bytes for the socket: [out_at, out_size) are to be sent
    size_t out_at
    size_t out_size
    bint watched_for_write            # by whoever waits on the socket
    uint64_t sent_bytes               # by this connection: 0 means that nothing was asked for yet
    CallSlot *slots                   # all of them
    uint32_t slot_count
    CallSlot *idle
    OnEnded on_ended                  # once for each call, with its status set
    void *context


cdef Transport PLAIN                  # filled when the module is imported

cdef bint channel_make(Channel *channel, uint32_t in_flight, size_t request_bytes) noexcept nogil
cdef void channel_free(Channel *channel) noexcept nogil
cdef bint channel_connect(Channel *channel) noexcept nogil
cdef void channel_lose(Channel *channel, int status) noexcept nogil
cdef void channel_close(Channel *channel) noexcept nogil
cdef bint channel_receive(Channel *channel) noexcept nogil
cdef bint channel_flush(Channel *channel) noexcept nogil
cdef bint channel_awaits_write(const Channel *channel) noexcept nogil
cdef bint channel_call(Channel *channel, CallSlot *slot, const char *path) noexcept nogil
