"""What the modules of the native listener share: a loop, its connections and their streams.

A `Loop` is one thread with everything that it touches; connections and streams never change
their loop. Other threads reach a loop only through its `Inbox`.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from libcpp.memory cimport shared_ptr

from ownerd.access.table cimport DIGEST_BYTES, AccessCore, AccessTable, Budget, Principal
from ownerd.api.dial_call cimport DialCall
from ownerd.api.task cimport Task
from ownerd.base.containers cimport mutex, string, unordered_map, vector
from ownerd.base.live cimport LiveLoop
from ownerd.base.nghttp2 cimport nghttp2_option, nghttp2_session, nghttp2_session_callbacks
from ownerd.base.openssl cimport SSL
from ownerd.base.tls cimport TlsMaterial
from ownerd.engine.core cimport EngineCore
from ownerd.net.frames cimport Frames
from ownerd.net.letters cimport HandledCall, Mailbox

cdef enum:
    INLINE_BYTES = 512                # a unary request with its longest fields fits
    ANSWER_BYTES = 752                # a unary answer too
    READ_BYTES = 64 << 10             # most that one connection is read in one wake-up
    WRITE_BYTES = 256 << 10           # most that is written to one connection at once
    TOKEN_BYTES = 50                  # `ownerd_` and 256 bits in base64url

cdef struct Connection
cdef struct Stream
cdef cppclass Crowd

# What the calls of one owner hold on one loop.
cdef struct Share:
    const Budget *owner               # who it is; NULL: those who have not said, or everybody
    size_t held_bytes
    uint32_t streams                  # that point here
    uint32_t connections

cdef cppclass Loop

# Each loop has its own; new ones come by its inbox.
cdef struct Limits:
    uint32_t max_connections          # of the whole listener
    uint32_t max_streams
    uint32_t max_header_bytes
    size_t max_message_bytes
    size_t max_held_bytes             # by one connection
    size_t max_share_bytes            # by one principal, of one loop's
    size_t max_loop_bytes             # by all calls of one loop
    uint32_t max_resets_per_s
    int64_t handshake_timeout_ns
    int64_t transfer_timeout_ns       # for a request to come in, or an answer to be taken
    int64_t keepalive_time_ns
    int64_t keepalive_timeout_ns
    int64_t max_idle_ns
    int64_t max_age_ns
    int64_t max_age_grace_ns
    int64_t first_call_timeout_ns
    uint64_t max_strangers            # connections of one address, of one loop
    uint64_t max_stranger_calls       # likewise
    int64_t check_interval_ns         # between two looks at every connection

cdef enum Ending:                     # why the listener ended a connection
    ENDED_BY_PEER = 0
    ENDED_BROKEN = 1                  # not HTTP/2, or against its rules
    ENDED_HANDSHAKE = 2
    ENDED_KEEPALIVE = 3               # a dead peer, or one that takes no output
    ENDED_IDLE = 4
    ENDED_AGE = 5
    ENDED_RESETS = 6
    ENDED_HEADERS = 7
    ENDED_DRAIN = 8
    ENDED_TLS = 9                     # no TLS, or no agreement: versions, HTTP/2, certificates
    ENDED_STALLED = 10                # took no output in time, or did not end its headers
    ENDED_CROWDED = 11                # a stranger who made room for another
    ENDING_COUNT = 12

# Written by the loop's thread only; others read them as they stand. Nothing but uint64_t.
cdef struct Counts:
    uint64_t accepted
    uint64_t closed
    uint64_t connections              # open now
    uint64_t streams                  # in memory now, their HTTP/2 stream open or not
    uint64_t under_way                # with the engine now
    uint64_t received                 # calls ever begun
    uint64_t given_up                 # calls whose client left before the answer
    uint64_t stalled                  # calls given up because nothing moved
    uint64_t held_bytes               # by calls now, at the end of a wake-up
    uint64_t order                    # the last one obeyed
    uint64_t left                     # connections that take no new calls any more
    uint64_t told                     # 1 once it drains, and no peer begins a call or is amid one
    uint64_t refused                  # calls answered with an error that the engine did not give
    uint64_t health_checks
    uint64_t strangers                # connections on which nobody known has made a call, now
    uint64_t stranger_calls           # their open calls, now
    uint64_t calls_turned_out         # such calls that made room for another
    uint64_t handshakes               # of TLS, done
    uint64_t accept_pauses
    uint64_t wakeups
    uint64_t writes
    uint64_t ended[ENDING_COUNT]

cdef enum Credential:
    CREDENTIAL_NONE
    CREDENTIAL_TOKEN                  # something that could be a token; `digest` is its SHA-256
    CREDENTIAL_BAD                    # something that could not, or more than one

cdef enum StreamState:
    RECEIVING                         # the request is not whole yet
    READY                             # decoded; to be submitted at the end of the wake-up
    UNDER_WAY                         # the engine has it
    HANDED_OVER                       # a handler in Python has it
    WATCHING                          # of the health: answered, and told of each change
    ANSWERED

# One call: its stream, its request and its answer. The call comes first: a Task* of ours is a
# Stream*.
cdef struct Stream:
    DialCall call
    Loop *loop
    Connection *connection            # NULL once the HTTP/2 stream is closed
    Share *share                      # its owner's; never NULL
    Stream *previous                  # of the connection; `next` is the loop's spare list too
    Stream *next
    int32_t stream_id
    uint8_t state
    uint8_t target
    uint8_t seen                      # headers
    bint headers_done
    bint request_ended                # nothing more comes from the peer
    bint encoding_refused
    uint16_t http_status              # of the answer to what is no gRPC call; 0: it is one, so far
    uint8_t credential
    char digest[DIGEST_BYTES]
    uint32_t header_bytes
    int64_t timeout_ns                # -1: none given
    int64_t transfer_ns               # when the request began to come in, or the answer to be taken
    size_t held_bytes                 # see holdings
    char *body                        # prefix and message; inline_body, or malloc'd
    size_t body_size
    size_t body_capacity
    size_t sent_bytes                 # of prefix and answer
    bint of_stranger                  # it is counted as a stranger's
    Stream *older_call                # in its crowd
    Stream *newer_call
    HandledCall *handled              # NULL: no handler in Python has to do with it
    bint watches_dials                # its health is that of DialService
    uint8_t health                    # ServingStatus that a watcher is to know
    uint8_t health_told               # and the one that was last begun to be told
    bint deferred                     # a watcher knows all there is
    char inline_body[INLINE_BYTES]    # this and the next are the last, and not cleared
    char inline_answer[ANSWER_BYTES]

# A socket that listens, or one that was accepted.
cdef struct Socket:
    int fd
    bint secure                       # speaks TLS
    bint makes_room                   # the listener is full: a stranger is to go for it

cdef enum GoawayState:
    STAYING
    NOTICED                           # told that GOAWAY comes; calls on their way are still taken
    LEAVING                           # GOAWAY sent, what is in flight is answered
    LINGERING                         # all said and half closed; waits for the peer to close

cdef struct Connection:
    Loop *loop
    Connection *previous
    Connection *next
    Connection *next_dirty
    Connection *next_unread
    int fd
    SSL *tls                          # NULL: plaintext, or a handshake that failed
    nghttp2_session *session          # NULL until the handshake is over
    char *peer_names                  # of its certificate, as in Principal, each with a NUL behind
    size_t peer_names_size
    bint known                        # somebody known has made a call on it
    Crowd *crowd                      # of strangers that it is counted in, or NULL
    Connection *older                 # in its crowd
    Connection *newer
    uint32_t open_calls               # of a stranger
    char token[TOKEN_BYTES]           # the last one that came
    char token_digest[DIGEST_BYTES]
    const Principal *token_principal  # whose it is, by the table with that number
    uint64_t token_table
    int64_t token_until_ns            # server time
    Stream *streams                   # open streams
    Stream *receiving                 # the one that the last frame was for, or NULL
    uint32_t stream_count
    size_t held_bytes                 # by its calls and in `unsent`
    Share *share                      # of its last caller; NULL: nobody yet
    char *unsent                      # what the socket did not take
    size_t unsent_size
    size_t unsent_at
    int64_t unsent_ns                 # since when there is some
    uint32_t events                   # that epoll watches
    bint dirty                        # in the loop's list of those that may have output
    bint dead                         # to be closed at the end of the wake-up
    bint unread                       # TLS keeps bytes that epoll does not tell of
    bint to_be_read                   # in the loop's list of those that have some
    bint read_awaits_write            # TLS has to write before it can read on
    bint write_awaits_read            # the other way round
    bint tls_dead                     # TLS has failed: not even a goodbye may be said
    bint settings_seen                # its SETTINGS have come
    bint peer_left                    # its GOAWAY has come
    uint8_t goaway
    uint8_t ending
    bint cut                          # told why it ends; what it sends is not looked at any more
    Frames frames
    int64_t opened_ns
    int64_t drained_ns                # when the socket had nothing more to be read
    int64_t came_ns                   # the bytes being taken came then, or a little later
    int64_t alive_ns                  # the peer last sent or took something
    int64_t busy_ns                   # a call was last begun or ended
    int64_t ping_ns                   # when an unanswered PING went out; 0: none
    int64_t goaway_ns                 # the last step of the goaway
    int64_t age_limit_ns
    int64_t resets_ns                 # what resets have used of their rate

cdef cppclass Crowd:                  # the strangers of one address
    string address
    uint64_t count
    Connection *oldest
    Connection *newest
    uint64_t call_count
    Stream *oldest_call
    Stream *newest_call

cdef cppclass HandledMethod:
    string name                       # of the rpc
    bint streams_in                   # its request is a stream of messages
    bint open                         # nobody has to say who they are

# Never changes once a loop has it.
cdef cppclass HandledMethods:
    vector[HandledMethod] methods
    unordered_map[string, uint32_t] by_path
    Mailbox *mailbox                  # of the handlers

cdef cppclass Inbox:                  # what other threads leave for a loop
    Task *answered                    # see mpsc
    int busy                          # threads of the engine that are leaving something
    mutex guard                       # what follows
    vector[Socket] arrivals           # accepted
    Limits limits                     # to be taken, if they are new
    bint limits_new
    bint health_new                   # the watchers are to be told
    int order                         # an Order
    int64_t order_deadline_ns
    int fd                            # eventfd, readable while there is something new

cdef enum Order:
    SERVE
    DRAIN                             # accept no more, tell the peers
    CLOSE                             # end every connection, at the latest at the deadline

cdef cppclass Loop:
    EngineCore *engine
    AccessCore *access
    shared_ptr[AccessTable] table     # as last looked
    uint64_t table_number
    Limits limits
    Inbox inbox
    HandledMethods *handled     # NULL: none
    Mailbox *from_handlers
    Counts counts
    TlsMaterial *tls                  # the listener's
    vector[Socket] listening          # that this loop accepts from and closes
    vector[Loop *] peers              # the loops that it hands what it accepts to, in turn
    size_t next_peer
    bint listening_paused
    int64_t resume_ns
    int epoll_fd
    int order                         # the last one obeyed
    int64_t order_deadline_ns
    int64_t now_ns                    # of this wake-up
    int64_t awake_ns                  # what is found now came since then
    bint interrupted                  # the last wait was; what came is found now
    int64_t next_look_ns              # at the calls that come in; NEVER_NS: none has a deadline
    int64_t rest_until_ns             # no look before
    int64_t checked_ns
    nghttp2_session_callbacks *callbacks
    nghttp2_option *options
    Connection *connections
    unordered_map[string, Crowd] crowds   # by address
    Connection *dirty
    Connection *unread                # to be read in the next wake-up, whatever epoll says
    uint32_t handshakes_left          # steps of them, in this wake-up
    size_t held_bytes                 # by every call, its HTTP/2 stream open or not, and unsent
    Share strangers                   # of those who have not said who they are
    Share everybody                   # where nobody is asked
    vector[Share *] shares            # of principals
    Stream *spare
    uint32_t spare_count
    uint32_t spare_least              # since the last look
    Task *first_ready                 # decoded in this wake-up, not yet submitted
    Task *last_ready
    uint32_t seed                     # of the ages' jitter
    bint ended                        # the thread is over
    LiveLoop live
    char *input
    char *output
