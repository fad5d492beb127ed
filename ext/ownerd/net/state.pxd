"""What the modules of the native listener share: a loop, its connections and their streams.

A `Loop` is one thread with everything that it touches; connections and streams never change
their loop. Other threads reach a loop only through its `Inbox`.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from libcpp.memory cimport shared_ptr

from ownerd.access.table cimport DIGEST_BYTES, AccessCore, AccessTable, Principal
from ownerd.api.dial_call cimport DialCall
from ownerd.api.task cimport Task
from ownerd.base.containers cimport mutex, vector
from ownerd.base.live cimport LiveLoop
from ownerd.base.nghttp2 cimport nghttp2_option, nghttp2_session, nghttp2_session_callbacks
from ownerd.base.openssl cimport SSL
from ownerd.engine.core cimport EngineCore
from ownerd.net.tls cimport TlsMaterial

cdef enum:
    INLINE_BYTES = 512                # a unary request with its longest fields fits
    ANSWER_BYTES = 576                # a unary answer too
    READ_BYTES = 64 << 10             # most that one connection is read in one wake-up
    WRITE_BYTES = 256 << 10           # most that is written to one connection at once
    TOKEN_BYTES = 50                  # `ownerd_` and 256 bits in base64url

cdef struct Connection
cdef struct Stream
cdef cppclass Loop

# Set once, before the loops start.
cdef struct Limits:
    uint32_t max_connections          # of the whole listener
    uint32_t max_streams
    uint32_t max_header_bytes
    size_t max_message_bytes
    size_t max_held_bytes             # by one connection
    size_t max_loop_bytes             # by all streams of one loop
    uint32_t max_resets_per_s
    int64_t handshake_timeout_ns
    int64_t keepalive_time_ns
    int64_t keepalive_timeout_ns
    int64_t max_idle_ns
    int64_t max_age_ns
    int64_t max_age_grace_ns
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
    ENDING_COUNT = 10

# Written by the loop's thread only; others read them as they stand. Nothing but uint64_t.
cdef struct Counts:
    uint64_t accepted
    uint64_t closed
    uint64_t connections              # open now
    uint64_t streams                  # in memory now, their HTTP/2 stream open or not
    uint64_t under_way                # with the engine now
    uint64_t received                 # calls ever begun
    uint64_t given_up                 # calls whose client left before the answer
    uint64_t refused                  # calls answered with an error that the engine did not give
    uint64_t health_checks
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
    UNDER_WAY                         # the engine has it
    ANSWERED

# One call: its stream, its request and its answer. The call comes first: a Task* of ours is a
# Stream*.
cdef struct Stream:
    DialCall call
    Loop *loop
    Connection *connection            # NULL once the HTTP/2 stream is closed
    Stream *previous                  # of the connection; `next` is the loop's spare list too
    Stream *next
    int32_t stream_id
    uint8_t state
    uint8_t target
    uint8_t seen                      # headers
    bint request_ended
    bint encoding_refused
    uint8_t credential
    char digest[DIGEST_BYTES]
    uint32_t header_bytes
    int64_t timeout_ns                # -1: none given
    size_t held_bytes                 # counted in the connection's and the loop's
    char *body                        # prefix and message; inline_body, or malloc'd
    size_t body_size
    size_t body_capacity
    size_t sent_bytes                 # of prefix and answer
    char inline_body[INLINE_BYTES]    # this and the next are the last, and not cleared
    char inline_answer[ANSWER_BYTES]

# A socket that listens, or one that was accepted.
cdef struct Socket:
    int fd
    bint secure                       # speaks TLS

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
    char token[TOKEN_BYTES]           # the last one that came
    char token_digest[DIGEST_BYTES]
    const Principal *token_principal  # whose it is, by the table with that number
    uint64_t token_table
    int64_t token_until_ns            # server time
    Stream *streams                   # open streams
    Stream *receiving                 # the one that the last frame was for, or NULL
    uint32_t stream_count
    size_t held_bytes                 # requests and answers in memory
    char *unsent                      # what the socket did not take
    size_t unsent_size
    size_t unsent_at
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
    uint32_t continuations
    int64_t opened_ns
    int64_t alive_ns                  # the peer last sent or took something
    int64_t busy_ns                   # a call was last begun or ended
    int64_t ping_ns                   # when an unanswered PING went out; 0: none
    int64_t goaway_ns                 # the last step of the goaway
    int64_t age_limit_ns
    int64_t resets_ns                 # what resets have used of their rate

cdef cppclass Inbox:                  # what other threads leave for a loop
    Task *answered                    # see mpsc
    int busy                          # threads of the engine that are leaving something
    mutex guard                       # what follows
    vector[Socket] arrivals           # accepted
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
    int64_t checked_ns
    nghttp2_session_callbacks *callbacks
    nghttp2_option *options
    Connection *connections
    Connection *dirty
    Connection *unread                # to be read in the next wake-up, whatever epoll says
    uint32_t handshakes_left          # steps of them, in this wake-up
    size_t held_bytes                 # of every Stream, its HTTP/2 stream open or not
    Stream *spare
    uint32_t spare_count
    Task *first_ready                 # decoded in this wake-up, not yet submitted
    Task *last_ready
    uint32_t seed                     # of the ages' jitter
    bint ended                        # the thread is over
    LiveLoop live
    char *input
    char *output
