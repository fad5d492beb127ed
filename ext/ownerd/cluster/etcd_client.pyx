"""A client of etcd: calls that wait for their answer, on one connection, to one member at a time.

A call is one attempt with an end in time, on CLOCK_BOOTTIME. How it ended tells what is known of
what was asked: answered, refused and unsent are certain; unknown is not, and whoever asked decides
what that means. A connection on which a call was given up is closed, and the next attempt goes to
the next member: one that hangs is not waited for twice.

Each thread that calls has a client of its own; the aim, with etcd's token where it asks for one, is
shared. Waiting ends at once when the aim's `stop_fd` is readable.

It knows the paths of no call but Authenticate, and nothing of the log.
"""

import os
import socket
import struct

from libc.errno cimport EINTR, errno
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

from ownerd.base.bytes cimport empty_slice, slice_of, text_slice
from ownerd.base.channel cimport (
    NO_STATUS, CallSlot, channel_awaits_write, channel_call, channel_close, channel_connect,
    channel_flush, channel_free, channel_lose, channel_make, channel_receive,
)
from ownerd.base.clock cimport CLOCK_BOOTTIME, clock_read
from ownerd.base.grpc_prefix cimport PREFIX_BYTES, grpc_message_bytes
from ownerd.base.secure_channel cimport TLS, TlsClient
from ownerd.base.sockets cimport EFD_CLOEXEC, EFD_NONBLOCK, eventfd, eventfd_write
from ownerd.base.units cimport NS_PER_MS
from ownerd.cluster.etcd_messages cimport add_bytes, token_read

__all__ = ["Etcd", "split_address"]

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    short POLLOUT
    int poll(pollfd *, unsigned long, int)

cdef enum:
    FIRST_REQUEST_BYTES = 4096        # grows as needed
    HTTP_OK = 200
    # gRPC's numbers
    STATUS_OK = 0
    STATUS_CANCELLED = 1
    STATUS_UNKNOWN = 2
    STATUS_DEADLINE = 4
    STATUS_ABORTED = 10
    STATUS_INTERNAL = 13
    STATUS_UNAVAILABLE = 14
    STATUS_DATA_LOSS = 15
    STATUS_UNAUTHENTICATED = 16
    LOST = 100                        # no number of gRPC's: the connection ended

cdef int64_t PAUSE_NS = 20 * NS_PER_MS   # when no member takes a call


cdef int64_t boot_now() noexcept nogil:
    """Return the clock that leases are judged by: it goes on while the machine sleeps."""
    return clock_read(CLOCK_BOOTTIME)


cdef void on_ended(CallSlot *slot) noexcept nogil:
    pass                              # whoever called looks at the slot


cdef EtcdClient *client_new(EtcdAim *aim, size_t first) noexcept nogil:
    """Return a client that begins with one of the endpoints; NULL for want of memory."""
    cdef EtcdClient *client = new EtcdClient()
    client.aim = aim
    client.at = first % aim.endpoints.size()
    client.status = STATUS_OK
    client.streams = False
    client.taken_bytes = client.call_count = client.failure_count = 0
    client.channel = <Channel *> calloc(1, sizeof(Channel))
    if client.channel == NULL or not channel_make(client.channel, 1, FIRST_REQUEST_BYTES):
        client_free(client)
        return NULL
    client.channel.on_ended = on_ended
    client.channel.credential_name = "token"
    client.channel.context = client
    return client


cdef void client_free(EtcdClient *client) noexcept nogil:
    if client.channel != NULL:
        channel_close(client.channel)
        channel_free(client.channel)
    free(client.channel)
    del client


# --- waiting --------------------------------------------------------------------------------------

cdef enum Wake:
    WAKE_READY
    WAKE_TIME
    WAKE_STOPPED


cdef Wake wait(EtcdClient *client, int64_t until_ns) noexcept nogil:
    """Wait for the connection, if there is one, until a time."""
    cdef pollfd fds[2]
    cdef int64_t left_ns
    cdef int count
    fds[0].fd = client.aim.stop_fd
    fds[0].events = POLLIN
    fds[1].fd = client.channel.fd
    fds[1].events = <short> (
        POLLIN | (POLLOUT if channel_awaits_write(client.channel) else 0)
    )
    while True:
        left_ns = until_ns - boot_now()
        fds[0].revents = fds[1].revents = 0
        count = poll(
            fds, 1 if fds[1].fd < 0 else 2,
            <int> min(max(<int64_t> 0, (left_ns + NS_PER_MS - 1) // NS_PER_MS), <int64_t> 60_000),
        )
        if count < 0 and errno == EINTR:
            continue
        if fds[0].revents != 0:
            return WAKE_STOPPED
        if count > 0:
            return WAKE_READY
        if boot_now() >= until_ns:
            return WAKE_TIME


cdef bint client_pause(EtcdClient *client, int64_t until_ns) noexcept nogil:
    cdef pollfd stop
    cdef int64_t left_ns = until_ns - boot_now()
    stop.fd, stop.events, stop.revents = client.aim.stop_fd, POLLIN, 0
    while left_ns > 0:
        if poll(&stop, 1, <int> min(left_ns // NS_PER_MS + 1, <int64_t> 60_000)) > 0:
            return False
        left_ns = until_ns - boot_now()
    return True


cdef bint client_stopped(const EtcdClient *client) noexcept nogil:
    """Tell whether nobody is to wait any more."""
    cdef pollfd stop
    stop.fd, stop.events, stop.revents = client.aim.stop_fd, POLLIN, 0
    return poll(&stop, 1, 0) > 0


# --- the connection -------------------------------------------------------------------------------

cdef void turn(EtcdClient *client) noexcept nogil:
    """Give up the connection; it is the next member's turn."""
    if client.channel.session != NULL:
        channel_lose(client.channel, LOST)
    client.at = (client.at + 1) % client.aim.endpoints.size()


cdef bint connect(EtcdClient *client) noexcept nogil:
    """Have a connection, or begin one; False if the member cannot be reached."""
    cdef Channel *channel = client.channel
    cdef const Endpoint *endpoint = &client.aim.endpoints[client.at]
    if channel.session != NULL and not channel.draining:
        return True
    channel_close(channel)
    channel.address = endpoint.address
    channel.address_size = endpoint.address_size
    channel.authority = endpoint.authority.data()
    if endpoint.tls != NULL:
        channel.scheme = "https"
        channel.transport = &TLS
        channel.transport_aim = endpoint.tls
    return channel_connect(channel)


cdef bint begin(
    EtcdClient *client, const char *path, const string *request, bint stream
) noexcept nogil:
    """Begin the connection's one call."""
    cdef CallSlot *slot = &client.channel.slots[0]
    cdef char *larger = <char *> realloc(slot.request, PREFIX_BYTES + request.size())
    if larger == NULL:
        return False
    slot.request = larger
    memcpy(slot.request + PREFIX_BYTES, request.data(), request.size())
    slot.request_size = PREFIX_BYTES + request.size()
    slot.keeps_open = stream
    client.channel.authorization = client.token.data() if not client.token.empty() else NULL
    return channel_call(client.channel, slot, path)


cdef bint carry_on(EtcdClient *client) noexcept nogil:
    """Send and receive what there is; False once the connection is over, which it then is."""
    if channel_receive(client.channel) and channel_flush(client.channel):
        return True
    channel_lose(client.channel, LOST)
    return False


# --- a call ---------------------------------------------------------------------------------------

cdef bint is_refusal(int status) noexcept nogil:
    """Tell whether etcd says by a status that it did nothing, and never will."""
    return not (
        status == STATUS_CANCELLED or status == STATUS_UNKNOWN or status == STATUS_DEADLINE
        or status == STATUS_ABORTED or status == STATUS_INTERNAL or status == STATUS_UNAVAILABLE
        or status == STATUS_DATA_LOSS or status == LOST or status == NO_STATUS
    )


cdef CallEnd ended(EtcdClient *client, Slice *answer) noexcept nogil:
    """Say how the call ended, which is no longer under way."""
    cdef const CallSlot *slot = &client.channel.slots[0]
    client.status = slot.status
    if slot.status == STATUS_OK and slot.http_status == HTTP_OK \
            and slot.answer_size >= PREFIX_BYTES and slot.answer[0] == 0 \
            and grpc_message_bytes(slot.answer) == slot.answer_size - PREFIX_BYTES:
        answer[0] = slice_of(slot.answer + PREFIX_BYTES, slot.answer_size - PREFIX_BYTES)
        return CALL_ANSWERED
    if slot.http_status == HTTP_OK and slot.status != STATUS_OK and is_refusal(slot.status):
        return CALL_REFUSED
    return CALL_UNKNOWN


cdef CallEnd attempt(
    EtcdClient *client, const char *path, const string *request, int64_t until_ns, Slice *answer
) noexcept nogil:
    cdef CallSlot *slot = &client.channel.slots[0]
    cdef Wake wake
    cdef CallEnd end
    cdef uint64_t sent_bytes
    answer[0] = empty_slice()
    client.status = LOST
    client.call_count += 1
    if not connect(client) or not begin(client, path, request, False):
        turn(client)
        client.failure_count += 1
        return CALL_UNSENT
    sent_bytes = client.channel.sent_bytes
    if not channel_flush(client.channel):
        channel_lose(client.channel, LOST)
    while slot.under_way:
        wake = wait(client, until_ns)
        if wake != WAKE_READY:
            end = CALL_UNKNOWN if client.channel.sent_bytes > sent_bytes else CALL_UNSENT
            turn(client)
            client.failure_count += 1
            return CALL_STOPPED if wake == WAKE_STOPPED else end
        carry_on(client)
    end = ended(client, answer)
    if end == CALL_UNKNOWN:
        if client.channel.sent_bytes == sent_bytes:
            end = CALL_UNSENT
        turn(client)
        client.failure_count += 1
    return end


cdef bint authenticate(EtcdClient *client, bint anew, int64_t until_ns) noexcept nogil:
    """Have a token, where etcd wants one; `anew` if the one before is no longer good."""
    cdef string request, token
    cdef Slice answer
    if client.aim.user.empty():
        return True
    client.aim.guard.lock()
    if anew and client.token == client.aim.token:
        client.aim.token.clear()
    client.token.assign(client.aim.token.data(), client.aim.token.size())
    client.aim.guard.unlock()
    if not client.token.empty():
        return True
    add_bytes(&request, 1, text_slice(client.aim.user))
    add_bytes(&request, 2, text_slice(client.aim.password))
    if attempt(client, "/etcdserverpb.Auth/Authenticate", &request, until_ns, &answer) \
            != CALL_ANSWERED or not token_read(answer, &token):
        return False
    token.append(b"\0", 1)
    client.token.assign(token.data(), token.size())
    client.aim.guard.lock()
    client.aim.token.assign(token.data(), token.size())
    client.aim.guard.unlock()
    return True


cdef CallEnd client_call(
    EtcdClient *client, const char *path, const string *request, int64_t until_ns, Slice *answer
) noexcept nogil:
    cdef CallEnd end
    answer[0] = empty_slice()
    if client.token.empty() and not authenticate(client, False, until_ns):
        return CALL_UNSENT
    end = attempt(client, path, request, until_ns, answer)
    if end == CALL_REFUSED and client.status == STATUS_UNAUTHENTICATED \
            and not client.aim.user.empty():
        if authenticate(client, True, until_ns):
            end = attempt(client, path, request, until_ns, answer)
    return end


cdef CallEnd client_ask(
    EtcdClient *client, const char *path, const string *request, int64_t attempt_ns,
    int64_t until_ns, Slice *answer
) noexcept nogil:
    cdef CallEnd end
    cdef size_t failures = 0
    while True:
        end = client_call(
            client, path, request, min(until_ns, boot_now() + attempt_ns), answer
        )
        if end != CALL_UNSENT and end != CALL_UNKNOWN:
            return end
        failures += 1
        if boot_now() >= until_ns:
            return end
        if failures % client.aim.endpoints.size() == 0 \
                and not client_pause(client, min(until_ns, boot_now() + PAUSE_NS)):
            return CALL_STOPPED


# --- a stream -------------------------------------------------------------------------------------

cdef bint stream_open(
    EtcdClient *client, const char *path, const string *request
) noexcept nogil:
    """Begin a call that stays, the client's only one; False if it cannot."""
    stream_close(client)
    if not authenticate(client, False, boot_now() + 1_000 * NS_PER_MS) or not connect(client) \
            or not begin(client, path, request, True) or not channel_flush(client.channel):
        turn(client)
        return False
    client.streams = True
    client.taken_bytes = 0
    return True


cdef bint take_message(EtcdClient *client, Slice *message) noexcept nogil:
    """Take the next whole message of the stream, if there is one."""
    cdef CallSlot *slot = &client.channel.slots[0]
    cdef size_t left = slot.answer_size - client.taken_bytes
    cdef const char *at = slot.answer + client.taken_bytes
    cdef size_t size
    if left < PREFIX_BYTES:
        return False
    size = grpc_message_bytes(at)
    if left - PREFIX_BYTES < size:
        return False
    message[0] = slice_of(at + PREFIX_BYTES, size)
    client.taken_bytes += PREFIX_BYTES + size
    return True


cdef void drop_taken(EtcdClient *client) noexcept nogil:
    """Forget the messages that were taken."""
    cdef CallSlot *slot = &client.channel.slots[0]
    if client.taken_bytes > 0:
        slot.answer_size -= client.taken_bytes
        memmove(slot.answer, slot.answer + client.taken_bytes, slot.answer_size)
        client.taken_bytes = 0


cdef StreamStep stream_next(EtcdClient *client, int64_t until_ns, Slice *message) noexcept nogil:
    cdef Wake wake
    if not client.streams:
        return STREAM_ENDED
    while not take_message(client, message):
        drop_taken(client)
        if not client.channel.slots[0].under_way:
            stream_close(client)
            return STREAM_ENDED
        wake = wait(client, until_ns)
        if wake != WAKE_READY:
            return STREAM_QUIET
        carry_on(client)
    return STREAM_MESSAGE


cdef void stream_close(EtcdClient *client) noexcept nogil:
    """End the stream, if there is one; the next begins with the next member."""
    if client.streams:
        client.streams = False
        turn(client)


# --- whom to call ---------------------------------------------------------------------------------

def split_address(address):
    """Return the host and the port of `host:port` or `[IPv6]:port`; ValueError if it is neither."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"{address!r} is no HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _socket_addresses(host, port):
    """Return the bytes of the address that a name has; it is looked up once.

    Raises:
        OSError: the name is not known.
    """
    family, *_, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    head = struct.pack("=H", family) + struct.pack(">H", port)
    if family == socket.AF_INET6:
        return head + struct.pack(
            "=I16sI", found[2], socket.inet_pton(family, found[0]), found[3]
        )
    return head + socket.inet_pton(family, found[0]) + bytes(8)


cdef add_endpoint(EtcdAim *aim, bytes authority, bytes address, TlsClient client):
    cdef Endpoint endpoint
    memset(&endpoint.address, 0, sizeof(endpoint.address))
    memcpy(&endpoint.address, <const char *> address, len(address))
    endpoint.address_size = <socklen_t> len(address)
    endpoint.authority.assign(<const char *> authority, len(authority))
    endpoint.tls = client.aim() if client is not None else NULL
    aim.endpoints.push_back(endpoint)


cdef class Etcd:
    """The members of an etcd cluster, and what they are to be shown.

    Args:
        addresses: `host:port` of each member; one whose name is not known now is left out.
        ca_pem: CAs of the members' certificates; None: plaintext, or the system's with `tls`.
        certificate_pem: our certificate, with those that lead to its CA; None: none.
        key_pem: its private key, not encrypted.
        tls: whether to speak TLS.
        user: whom etcd knows us as; empty: it asks for nobody.

    Raises:
        OSError: no member's name is known.
        ValueError: an address or a PEM is none.
    """

    def __cinit__(self):
        self.aim = new EtcdAim()
        self.aim.stop_fd = -1

    def __init__(
        self, addresses, *, bytes ca_pem=None, bytes certificate_pem=None, bytes key_pem=None,
        tls=False, str user="", str password="",
    ):
        self.kept = []
        failure = None
        for address in addresses:
            host, port = split_address(address)
            try:
                found = _socket_addresses(host, port)
            except OSError as error:
                failure = error
                continue
            client = None
            if tls:
                client = TlsClient(
                    host, ca_pem=ca_pem, certificate_pem=certificate_pem, key_pem=key_pem
                )
            self.kept.append(client)
            add_endpoint(self.aim, address.encode() + b"\0", found, client)
        if not self.kept:
            raise failure or ValueError("there is no address of etcd")
        encoded = user.encode()
        self.aim.user.assign(<const char *> encoded, len(encoded))
        encoded = password.encode()
        self.aim.password.assign(<const char *> encoded, len(encoded))
        self.aim.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)

    def stop(self):
        """Have every call end at once, from now on."""
        eventfd_write(self.aim.stop_fd, 1)

    def __dealloc__(self):
        if self.aim.stop_fd >= 0:
            os.close(self.aim.stop_fd)
        del self.aim
