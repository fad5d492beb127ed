"""Drives a DialService over gRPC from native threads: connections, calls in flight, or a rate.

Each thread has its share of the connections and one epoll set, and never touches Python. In a
closed load every answer is followed by the next call; at a rate, calls are due whether or not
earlier ones were answered, and latency counts from the instant a call was due, so a server that
falls behind is not asked less. What can be sent together goes out in one write per connection; at
a rate, a call may be sent 0.1 ms late for that, which its latency includes.

A connection that ends takes its calls with it (CONNECTION_LOST) and is made again. It speaks plain
HTTP/2 (h2c, prior knowledge) over TCP and Unix sockets, or HTTP/2 over TLS.
"""

import os
import socket

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from ownerd.api.dial_call cimport CALL_CLAIM, CALL_CLAIM_BATCH, CALL_KIND_COUNT
from ownerd.api.task cimport OK
from ownerd.base.channel cimport (
    CallSlot, Channel, channel_awaits_write, channel_call, channel_close, channel_connect,
    channel_flush, channel_free, channel_lose, channel_make, channel_receive, sockaddr,
    sockaddr_storage, socklen_t,
)
from ownerd.base.clock cimport CLOCK_MONOTONIC, clock_read, timespec
from ownerd.base.containers cimport string, vector
from ownerd.base.grpc_prefix cimport PREFIX_BYTES, grpc_message_bytes
from ownerd.base.protobuf cimport WIRE_BYTES, WIRE_VARINT, read_varint
from ownerd.base.secure_channel cimport TLS, TlsClient
from ownerd.base.units cimport NS_PER_MS, NS_PER_S
from ownerd.load.plan cimport Picker, Plan, PlanCore, picker_init, plan_bound, plan_encode
from ownerd.load.tally cimport (
    ANSWER_COUNT, STATUS_LOST, STATUS_UNKNOWN, Tally, tally_answer, tally_clear, tally_counts,
    tally_mark,
)
from ownerd.load.threads cimport TOGETHER_NS, Worker, run_load, worker_stopping

__all__ = ["check_shares", "connect_to", "drive", "drive_requests"]

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    unsigned int EPOLLIN
    unsigned int EPOLLOUT
    int EPOLL_CTL_ADD
    int EPOLL_CTL_MOD
    int EPOLL_CLOEXEC
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event *)
    int epoll_wait(int, epoll_event *, int, int)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int ppoll(pollfd *, unsigned long, const timespec *, void *)

cdef extern from "<sys/socket.h>" nogil:
    int getpeername(int, sockaddr *, socklen_t *)

cdef enum:
    EVENTS = 64
    LONGEST_WAIT_NS = 50_000_000      # so that a stop is heeded
    AGAIN_NS = 100_000_000            # before a lost connection is made again
    DRAIN_NS = 2_000_000_000          # for the answers that are still to come at the end
    STATUS_DEADLINE = 4
    STATUS_INTERNAL = 13
    HTTP_OK = 200
    CONNECT_S = 5
    ANY_KIND = CALL_KIND_COUNT        # a call of another service: only its status is looked at

cdef const char *PATHS[CALL_KIND_COUNT]  # by CallKind
PATHS[:] = [
    "/ownerd.v1.DialService/Claim", "/ownerd.v1.DialService/ClaimBatch",
    "/ownerd.v1.DialService/ReportAttempt", "/ownerd.v1.DialService/ReportAttemptBatch",
    "/ownerd.v1.DialService/GetHolder",
    "/ownerd.v1.DialService/GiveBack",
]


# What all threads of a load send, and where.
cdef cppclass Aim:
    const PlanCore *plan              # or, if NULL, the requests in turn, to `path`
    vector[string] requests
    string path
    string authority
    string authorization              # empty: none
    const void *tls                   # NULL: plaintext
    sockaddr_storage address
    socklen_t address_size


cdef struct HttpWorker:
    Worker head                       # first: a Worker* of ours is an HttpWorker*
    Aim *aim
    Picker picker
    size_t turn                       # of the requests without a plan
    Channel *channels
    uint32_t channel_count
    uint32_t next_channel             # whose turn it is, at a rate
    uint32_t under_way
    int epoll_fd
    int64_t now_ns


# --- answers --------------------------------------------------------------------------------------

cdef bint count_answers(
    const char *at, const char *end, uint32_t records, uint64_t *answers
) noexcept nogil:
    """Count field 1 of a response, an enum or a packed list of them; False if it is not there.

    It is the first field: ownerd writes fields in their order, as protobuf's own libraries do.
    """
    cdef uint64_t tag, value
    cdef uint32_t i
    if not read_varint(&at, end, &tag) or not read_varint(&at, end, &value):
        return False
    if tag == (1 << 3 | WIRE_VARINT):
        answers[value % ANSWER_COUNT] += 1
        return records == 1
    if tag != (1 << 3 | WIRE_BYTES) or value != records or value > <uint64_t> (end - at):
        return False
    for i in range(records):
        answers[<uint8_t> at[i] % ANSWER_COUNT] += 1
    return True


cdef int check_answer(HttpWorker *worker, CallSlot *slot) noexcept nogil:
    """Return the status of an ended call; count what is decided in its answer."""
    cdef Tally *tally = &worker.head.tally
    cdef const char *message = <const char *> slot.answer
    cdef uint64_t *answers = tally.outcomes
    cdef uint64_t size
    if slot.status != OK:
        return slot.status
    if slot.http_status != HTTP_OK or slot.answer_size < PREFIX_BYTES:
        return STATUS_UNKNOWN
    size = grpc_message_bytes(message)
    if message[0] != 0 or size != slot.answer_size - PREFIX_BYTES:
        return STATUS_INTERNAL
    if slot.call_kind == ANY_KIND or not tally_counts(tally, worker.now_ns):
        return OK
    if slot.call_kind == CALL_CLAIM or slot.call_kind == CALL_CLAIM_BATCH:
        answers = tally.decisions
    message += PREFIX_BYTES
    return OK if count_answers(message, message + size, slot.records, answers) \
        else STATUS_INTERNAL


cdef void on_ended(CallSlot *slot) noexcept nogil:
    cdef HttpWorker *worker = <HttpWorker *> slot.channel.context
    worker.under_way -= 1
    tally_answer(
        &worker.head.tally, slot.due_ns, worker.now_ns, check_answer(worker, slot),
        slot.records,
    )


# --- calls ----------------------------------------------------------------------------------------

cdef const char *prepare(HttpWorker *worker, CallSlot *slot) noexcept nogil:
    """Write the next request into a slot; return its path."""
    cdef char *message = slot.request + PREFIX_BYTES
    cdef const PlanCore *plan = worker.aim.plan
    cdef string *request
    cdef size_t size
    if plan == NULL:
        request = &worker.aim.requests[worker.turn % worker.aim.requests.size()]
        worker.turn += 1
        size = request.size()
        memcpy(message, request.data(), size)
        slot.call_kind = ANY_KIND
        slot.records = 1
        slot.request_size = PREFIX_BYTES + size
        return worker.aim.path.data()
    size = plan_encode(
        plan, &worker.picker, plan.batch_records, &slot.call_kind, message
    )
    slot.records = plan.batch_records
    slot.request_size = PREFIX_BYTES + size
    return PATHS[slot.call_kind]


cdef bint call_on(HttpWorker *worker, Channel *channel, int64_t due_ns) noexcept nogil:
    """Make a call on a channel; False if it has no idle slot or takes no more calls."""
    cdef CallSlot *slot = channel.idle
    if slot == NULL or channel.session == NULL or channel.draining:
        return False
    slot.due_ns = due_ns
    if not channel_call(channel, slot, prepare(worker, slot)):
        return False
    worker.under_way += 1
    return True


cdef void send_at_once(HttpWorker *worker) noexcept nogil:
    """Let every idle slot make its next call."""
    cdef uint32_t i
    for i in range(worker.channel_count):
        while call_on(worker, &worker.channels[i], worker.now_ns):
            pass


cdef bint call_on_next(HttpWorker *worker, int64_t due_ns) noexcept nogil:
    """Make a call on the channel whose turn it is, or on the first after it that can."""
    cdef uint32_t _
    cdef Channel *channel
    for _ in range(worker.channel_count):
        channel = &worker.channels[worker.next_channel]
        worker.next_channel = (worker.next_channel + 1) % worker.channel_count
        if call_on(worker, channel, due_ns):
            return True
    return False


cdef void send_due(HttpWorker *worker) noexcept nogil:
    """Make the calls that are due; those that find no idle slot wait, and are late."""
    if worker.head.gap_ns == 0:
        send_at_once(worker)
        return
    while worker.head.due_ns <= worker.now_ns:
        if not call_on_next(worker, <int64_t> worker.head.due_ns):
            return
        worker.head.due_ns += worker.head.gap_ns


# --- connections ----------------------------------------------------------------------------------

cdef void watch(HttpWorker *worker, uint32_t index, int operation, bint for_write) noexcept nogil:
    cdef epoll_event event
    cdef Channel *channel = &worker.channels[index]
    event.events = EPOLLIN | EPOLLOUT if for_write else EPOLLIN
    event.data.u32 = index
    channel.watched_for_write = for_write
    epoll_ctl(worker.epoll_fd, operation, channel.fd, &event)


cdef void lose(HttpWorker *worker, Channel *channel) noexcept nogil:
    channel.again_ns = worker.now_ns + AGAIN_NS
    channel_lose(channel, STATUS_LOST)


cdef bint is_busy(const Channel *channel) noexcept nogil:
    cdef uint32_t i
    for i in range(channel.slot_count):
        if channel.slots[i].under_way:
            return True
    return False


cdef void tend(HttpWorker *worker, uint32_t index) noexcept nogil:
    """Connect a channel that is not, and send what it has to send."""
    cdef Channel *channel = &worker.channels[index]
    if channel.session != NULL and channel.draining and not is_busy(channel):
        channel_close(channel)
    if channel.session == NULL:
        if worker.now_ns < channel.again_ns:
            return
        if not channel_connect(channel):
            lose(worker, channel)
            return
        watch(worker, index, EPOLL_CTL_ADD, False)
    if not channel_flush(channel):
        lose(worker, channel)
    elif channel.watched_for_write != channel_awaits_write(channel):
        watch(worker, index, EPOLL_CTL_MOD, channel_awaits_write(channel))


cdef void tend_all(HttpWorker *worker) noexcept nogil:
    cdef uint32_t i
    for i in range(worker.channel_count):
        tend(worker, i)


cdef int wait_events(HttpWorker *worker, epoll_event *events, int64_t until_ns) noexcept nogil:
    """Wait for sockets until a time, to microseconds where there is a rate to keep."""
    cdef pollfd ready
    cdef timespec left
    cdef int64_t wait_ns = max(<int64_t> 0, until_ns - worker.now_ns)
    if worker.head.gap_ns == 0:
        return epoll_wait(
            worker.epoll_fd, events, EVENTS, <int> ((wait_ns + NS_PER_MS - 1) // NS_PER_MS)
        )
    ready.fd, ready.events = worker.epoll_fd, <short> POLLIN
    left.tv_sec, left.tv_nsec = wait_ns // NS_PER_S, wait_ns % NS_PER_S
    if ppoll(&ready, 1, &left, NULL) <= 0:
        return 0
    return epoll_wait(worker.epoll_fd, events, EVENTS, 0)


cdef void receive_until(HttpWorker *worker, int64_t until_ns) noexcept nogil:
    """Wait for answers until a time at most; take all that have come."""
    cdef epoll_event events[EVENTS]
    cdef Channel *channel
    cdef int i
    cdef int count = wait_events(
        worker, events, min(until_ns, worker.now_ns + LONGEST_WAIT_NS)
    )
    for i in range(count):
        worker.now_ns = clock_read(CLOCK_MONOTONIC)
        channel = &worker.channels[events[i].data.u32]
        if channel.session == NULL:
            continue
        if events[i].events == EPOLLOUT and not channel.awaits_write:
            continue
        if not channel_receive(channel):
            lose(worker, channel)
    worker.now_ns = clock_read(CLOCK_MONOTONIC)


# --- a thread -------------------------------------------------------------------------------------

cdef void drain(HttpWorker *worker) noexcept nogil:
    """Wait a while for the last answers; those that never come are counted as such."""
    cdef int64_t end_ns = worker.now_ns + DRAIN_NS
    cdef uint32_t i
    while worker.under_way > 0 and worker.now_ns < end_ns and not worker_stopping(&worker.head):
        tend_all(worker)
        receive_until(worker, end_ns)
    worker.head.tally.statuses[STATUS_DEADLINE] += worker.under_way
    for i in range(worker.channel_count):
        channel_close(&worker.channels[i])


cdef void drive_main(Worker *head) noexcept nogil:
    cdef HttpWorker *worker = <HttpWorker *> head
    cdef int64_t until_ns
    worker.now_ns = clock_read(CLOCK_MONOTONIC)
    tend_all(worker)
    while not worker_stopping(head) and not tally_mark(&head.tally, worker.now_ns):
        send_due(worker)
        tend_all(worker)
        until_ns = head.tally.end_ns
        if head.gap_ns != 0 and head.due_ns > worker.now_ns:
            until_ns = min(
                until_ns, max(<int64_t> head.due_ns + 1, worker.now_ns + TOGETHER_NS)
            )
        receive_until(worker, until_ns)
    drain(worker)


cdef bint make_worker(
    HttpWorker *worker, Aim *aim, uint32_t index, uint32_t threads, uint32_t connections,
    uint32_t in_flight, size_t request_bytes,
) noexcept nogil:
    """Fill in a zeroed worker with its share of the connections and calls; False on failure."""
    cdef uint32_t i, whole
    cdef Channel *channel
    worker.head.main = drive_main
    worker.head.index = index
    worker.aim = aim
    worker.turn = index * 7919        # threads do not send the same requests side by side
    worker.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    if aim.plan != NULL:
        picker_init(&worker.picker, aim.plan, index, threads)
    worker.channels = <Channel *> calloc(connections, sizeof(Channel))
    if worker.epoll_fd < 0 or worker.channels == NULL:
        return False
    for i in range(connections // threads + (index < connections % threads)):
        channel = &worker.channels[i]
        worker.channel_count += 1
        whole = index + i * threads   # its number among all connections
        if not channel_make(
            channel, in_flight // connections + (whole < in_flight % connections), request_bytes
        ):
            return False
        channel.address = aim.address
        channel.address_size = aim.address_size
        channel.authority = aim.authority.data()
        channel.user_agent = "ownerd-load"
        if not aim.authorization.empty():
            channel.authorization = aim.authorization.data()
        if aim.tls != NULL:
            channel.scheme = "https"
            channel.transport = &TLS
            channel.transport_aim = aim.tls
        channel.on_ended = on_ended
        channel.context = worker
    return True


cdef void free_worker(HttpWorker *worker) noexcept nogil:
    cdef uint32_t i
    tally_clear(&worker.head.tally)
    for i in range(worker.channel_count):
        channel_free(&worker.channels[i])
    free(worker.channels)


# --- all threads ----------------------------------------------------------------------------------

def connect_to(str address):
    """Return a socket connected to `host:port`, `[IPv6]:port` or `unix:path`; OSError if not."""
    if address.startswith("unix:"):
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(CONNECT_S)
        try:
            found.connect(address.removeprefix("unix:"))
        except OSError:
            found.close()
            raise
        return found
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), CONNECT_S)


cdef class Team:
    """The threads of one load, made, run and freed."""

    cdef Aim *aim
    cdef HttpWorker *workers
    cdef Worker **heads
    cdef uint32_t count
    cdef object plan                  # kept alive
    cdef TlsClient tls                # this too

    def __cinit__(
        self, str address, Plan plan, str path, requests, uint32_t threads, uint32_t connections,
        uint32_t in_flight, str token, TlsClient tls,
    ):
        self.plan = plan
        self.tls = tls
        self.aim = new Aim()
        self._take_aim(address, path, requests, token)
        self.workers = <HttpWorker *> calloc(threads, sizeof(HttpWorker))
        self.heads = <Worker **> calloc(threads, sizeof(Worker *))
        if self.workers == NULL or self.heads == NULL:
            raise MemoryError()
        size = max(map(len, requests), default=0) if plan is None else plan_bound(plan.core)
        for i in range(threads):
            self.heads[i] = &self.workers[i].head
            self.count += 1
            if not make_worker(
                &self.workers[i], self.aim, i, threads, connections, in_flight, size
            ):
                raise MemoryError()

    cdef _take_aim(self, str address, str path, requests, str token):
        self.aim.plan = NULL
        self.aim.tls = NULL
        if self.plan is not None:
            self.aim.plan = (<Plan> self.plan).core
        encoded = path.encode() + b"\0"
        self.aim.path.assign(<const char *> encoded, len(encoded))
        encoded = (b"localhost" if address.startswith("unix:") else address.encode()) + b"\0"
        self.aim.authority.assign(<const char *> encoded, len(encoded))
        if token:
            encoded = b"Bearer " + token.encode() + b"\0"
            self.aim.authorization.assign(<const char *> encoded, len(encoded))
        for request in requests:
            self.aim.requests.push_back(string(<const char *> request, len(request)))
        self.aim.address_size = sizeof(sockaddr_storage)
        with connect_to(address) as probe:
            getpeername(
                probe.fileno(), <sockaddr *> &self.aim.address, &self.aim.address_size
            )
            if self.tls is not None:
                self.tls.check(probe, CONNECT_S)
                self.aim.tls = self.tls.aim()

    def __dealloc__(self):
        for i in range(self.count):
            free_worker(&self.workers[i])
            if self.workers[i].epoll_fd > 0:
                os.close(self.workers[i].epoll_fd)
        free(self.workers)
        free(self.heads)
        del self.aim

    def run(self, double seconds, double warm_up_s, double rate_per_s):
        """Run the load; return a LoadResult."""
        return run_load(self.heads, self.count, seconds, warm_up_s, rate_per_s)


def drive(
    str address, Plan plan, *, connections=4, in_flight=256, threads=1, seconds=5.0, warm_up_s=0.5,
    rate_per_s=0.0, str token="", TlsClient tls=None,
):
    """Send a plan's calls to a DialService for some time; return a LoadResult.

    Args:
        address: `host:port`, `[IPv6]:port` or `unix:path` of a dial listener.
        plan: what to send.
        connections: how many, 1 to `in_flight`.
        in_flight: calls under way, over all connections; at a rate, at most so many.
        threads: native threads that share the connections, 1 to `connections`.
        seconds: how long to measure, after `warm_up_s` of the same load.
        rate_per_s: calls due in a second, over all connections; 0: each follows an answer.
        token: sent with every call as `authorization: Bearer TOKEN`; empty: none.
        tls: whom to trust and who to be; None: plaintext.

    Raises:
        OSError: nobody can be reached at the address, or it is no TLS that both agree on.
    """
    check_shares(connections, in_flight, threads)
    team = Team(address, plan, "", (), threads, connections, in_flight, token, tls)
    return team.run(seconds, warm_up_s, rate_per_s)


def drive_requests(
    str address, str path, requests, *, connections=4, in_flight=256, threads=1, seconds=5.0,
    warm_up_s=0.5, rate_per_s=0.0, str token="", TlsClient tls=None,
):
    """Send encoded requests in turn to any unary rpc; see `drive`. Only statuses are looked at.

    Args:
        path: the rpc, such as `/package.Service/Method`.
        requests: a sequence of bytes.
    """
    check_shares(connections, in_flight, threads)
    if not requests:
        raise ValueError("there are no requests to send")
    team = Team(address, None, path, requests, threads, connections, in_flight, token, tls)
    return team.run(seconds, warm_up_s, rate_per_s)


def check_shares(connections, in_flight, threads):
    """Refuse a load in which some thread or connection would have nothing to do."""
    if not 1 <= threads <= connections <= in_flight:
        raise ValueError(
            f"{threads} threads, {connections} connections, {in_flight} calls in flight found;"
            " each may be at most the next"
        )
