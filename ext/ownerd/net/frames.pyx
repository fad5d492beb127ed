"""What a peer's bytes are looked at for before nghttp2 takes them: the heads of the frames.

nghttp2 holds peers to nearly all of HTTP/2. What it does not, or does otherwise than our callers
need, is decided here, by the nine bytes before each frame:

- RST_STREAM on a stream that was never begun is dropped. gRPC's C core sends it for a call that is
  given up before its headers are written, and RFC 9113 (5.1) would have the connection end.
- A header block in more than MOST_CONTINUATIONS pieces ends the connection with a reason.
- HEADERS on a stream that the peer has ended end the connection; DATA on one are answered with
  a RST_STREAM. nghttp2 forgets a stream with its end and would take no notice.
- HEADERS that go back to a stream that was passed over end the connection, and so do PRIORITY of
  stream 0 and of a stream that depends on itself.

The streams that the peer has ended are remembered, each in the place of its number, until a later
one takes the place. What we have ended ourselves is not held against a peer that cannot know it
yet, and neither is what has been forgotten.

All functions run on the loop's thread. Nothing here knows a call or a socket.
"""

from libc.string cimport memcpy

from ownerd.base.assertions cimport assert_that
from ownerd.base.nghttp2 cimport (
    NGHTTP2_CONTINUATION, NGHTTP2_DATA, NGHTTP2_ERR_FLOODED, NGHTTP2_FLAG_END_HEADERS,
    NGHTTP2_FLAG_NONE, NGHTTP2_HEADERS, NGHTTP2_PRIORITY, NGHTTP2_RST_STREAM,
    NGHTTP2_STREAM_CLOSED, nghttp2_session_mem_recv, nghttp2_submit_rst_stream, ssize_t,
)

cdef enum:
    PREFACE_BYTES = 24
    MOST_CONTINUATIONS = 16
    PRIORITY_BYTES = 5
    RESET_BYTES = 4

cdef enum Verdict:
    PASS                              # to nghttp2
    DROP                              # the whole frame, which is in hand
    STOP                              # with a fault

# One frame's head, and where its bytes are.
cdef struct Head:
    uint32_t size                     # of what follows the head
    uint8_t type
    uint8_t flags
    int32_t stream_id
    const uint8_t *at


cdef void frames_begin(Frames *frames) noexcept nogil:
    """Expect the connection preface."""
    frames.rest_bytes = PREFACE_BYTES


# --- the streams that the peer has ended ----------------------------------------------------------

cdef inline uint32_t *place(Frames *frames, int32_t stream_id) noexcept nogil:
    return &frames.remembered[(stream_id >> 1) & (REMEMBERED_STREAMS - 1)]


cdef inline void begin_stream(Frames *frames, int32_t stream_id) noexcept nogil:
    frames.highest_stream = stream_id
    place(frames, stream_id)[0] = <uint32_t> stream_id << 1


cdef void frames_stream_ended(Frames *frames, int32_t stream_id) noexcept nogil:
    """Remember that the peer has ended a stream that is closed now, if there is still a place."""
    cdef uint32_t *found = place(frames, stream_id)
    if found[0] >> 1 == <uint32_t> stream_id:
        found[0] |= 1


cdef inline bint is_ended(Frames *frames, int32_t stream_id) noexcept nogil:
    return place(frames, stream_id)[0] == (<uint32_t> stream_id << 1 | 1)


cdef inline bint is_passed_over(Frames *frames, int32_t stream_id) noexcept nogil:
    """Tell whether a stream below the highest was never begun: a later one cannot do it any more.

    A stream takes its place when it begins, and gives it only to a later one.
    """
    return place(frames, stream_id)[0] >> 1 < <uint32_t> stream_id


cdef inline bint is_clients(int32_t stream_id) noexcept nogil:
    return stream_id & 1


# --- verdicts -------------------------------------------------------------------------------------

cdef inline int32_t read_id(const uint8_t *at) noexcept nogil:
    return <int32_t> (
        (<uint32_t> at[0] & 0x7F) << 24 | <uint32_t> at[1] << 16 | <uint32_t> at[2] << 8 | at[3]
    )


cdef inline void read_head(Head *head, const uint8_t *at) noexcept nogil:
    head.size = <uint32_t> at[0] << 16 | <uint32_t> at[1] << 8 | at[2]
    head.type = at[3]
    head.flags = at[4]
    head.stream_id = read_id(at + 5)
    head.at = at


cdef inline uint32_t bytes_needed(const Head *head) noexcept nogil:
    """Return how much of a frame has to be there before it is judged."""
    if head.type == NGHTTP2_RST_STREAM and head.size == RESET_BYTES:
        return HEAD_BYTES + RESET_BYTES
    if head.type == NGHTTP2_PRIORITY and head.size == PRIORITY_BYTES:
        return HEAD_BYTES + PRIORITY_BYTES
    return HEAD_BYTES


cdef inline Verdict judge_headers(
    Frames *frames, const Head *head, FrameFault *fault
) noexcept nogil:
    if not is_clients(head.stream_id):
        return PASS
    if head.stream_id > frames.highest_stream:
        begin_stream(frames, head.stream_id)
    elif is_ended(frames, head.stream_id):
        fault[0] = FRAMES_CLOSED
        return STOP
    elif is_passed_over(frames, head.stream_id):
        fault[0] = FRAMES_FORBIDDEN
        return STOP
    return PASS


cdef inline Verdict judge_data(
    Frames *frames, nghttp2_session *session, const Head *head
) noexcept nogil:
    # It goes on to nghttp2, which counts it in the connection's window.
    if is_clients(head.stream_id) and is_ended(frames, head.stream_id):
        nghttp2_submit_rst_stream(
            session, NGHTTP2_FLAG_NONE, head.stream_id, NGHTTP2_STREAM_CLOSED
        )
    return PASS


cdef Verdict judge_priority(const Head *head, FrameFault *fault) noexcept nogil:
    cdef int32_t dependency
    if head.size == PRIORITY_BYTES:
        dependency = read_id(head.at + HEAD_BYTES)
    else:
        dependency = -1               # an error that nghttp2 knows
    if head.stream_id != 0 and head.stream_id != dependency:
        return PASS
    fault[0] = FRAMES_FORBIDDEN
    return STOP


cdef Verdict judge_continuation(Frames *frames, FrameFault *fault) noexcept nogil:
    frames.continuations += 1
    if frames.continuations <= MOST_CONTINUATIONS:
        return PASS
    fault[0] = FRAMES_CONTINUED
    return STOP


cdef inline Verdict judge_reset(Frames *frames, const Head *head) noexcept nogil:
    if head.size != RESET_BYTES or not is_clients(head.stream_id) \
            or head.stream_id <= frames.highest_stream:
        return PASS
    frames.idle_resets += 1
    return DROP


cdef inline Verdict judge(
    Frames *frames, nghttp2_session *session, const Head *head, FrameFault *fault
) noexcept nogil:
    """Say what becomes of a frame; every RST_STREAM before it has been taken by nghttp2."""
    cdef bint in_block = frames.in_block
    if head.type == NGHTTP2_HEADERS or head.type == NGHTTP2_CONTINUATION:
        frames.in_block = not head.flags & NGHTTP2_FLAG_END_HEADERS
    if in_block:                      # whatever is no CONTINUATION is an error that nghttp2 knows
        return judge_continuation(frames, fault)
    frames.continuations = 0
    if head.type == NGHTTP2_HEADERS:
        return judge_headers(frames, head, fault)
    if head.type == NGHTTP2_DATA:
        return judge_data(frames, session, head)
    if head.type == NGHTTP2_PRIORITY:
        return judge_priority(head, fault)
    if head.type == NGHTTP2_RST_STREAM:
        return judge_reset(frames, head)
    return PASS


# --- bytes ----------------------------------------------------------------------------------------

cdef FrameFault feed(
    nghttp2_session *session, const uint8_t *start, const uint8_t *end
) noexcept nogil:
    cdef ssize_t taken
    if start == end:
        return FRAMES_FINE
    taken = nghttp2_session_mem_recv(session, start, <size_t> (end - start))
    if taken >= 0:
        return FRAMES_FINE
    return FRAMES_FLOOD if taken == NGHTTP2_ERR_FLOODED else FRAMES_BROKEN


cdef inline bint is_whole(Head *head, const uint8_t *at, size_t size) noexcept nogil:
    """Read a head; False if more bytes are needed to judge the frame."""
    if size < HEAD_BYTES:
        return False
    read_head(head, at)
    return size >= bytes_needed(head)


cdef FrameFault complete_head(
    Frames *frames, nghttp2_session *session, const uint8_t **at, const uint8_t *end
) noexcept nogil:
    """Go on with a frame whose beginning was kept: add bytes to it until it can be judged."""
    cdef Head head
    cdef Verdict verdict
    cdef FrameFault fault = FRAMES_FINE
    while not is_whole(&head, <const uint8_t *> frames.head, frames.head_bytes):
        if at[0] == end:
            return FRAMES_FINE
        frames.head[frames.head_bytes] = <char> at[0][0]
        frames.head_bytes += 1
        at[0] += 1
    assert_that(frames.head_bytes <= LOOKED_AT_BYTES, "a head has its place")
    verdict = judge(frames, session, &head, &fault)
    if verdict == PASS:
        frames.rest_bytes = head.size + HEAD_BYTES - frames.head_bytes
        fault = feed(session, head.at, head.at + frames.head_bytes)
    frames.head_bytes = 0
    return fault


cdef FrameFault frames_take(
    Frames *frames, nghttp2_session *session, const uint8_t *data, size_t size
) noexcept nogil:
    """Look at what a peer has sent and hand it to nghttp2; what is wrong ends the connection."""
    cdef const uint8_t *at = data
    cdef const uint8_t *start
    cdef const uint8_t *end = data + size
    cdef FrameFault fault = FRAMES_FINE
    cdef FrameFault fed
    cdef Verdict verdict
    cdef Head head
    if frames.head_bytes > 0:
        fault = complete_head(frames, session, &at, end)
        if fault != FRAMES_FINE or frames.head_bytes > 0:
            return fault
    start = at
    while True:
        if frames.rest_bytes > 0:
            size = min(<size_t> frames.rest_bytes, <size_t> (end - at))
            frames.rest_bytes -= <uint32_t> size
            at += size
        if not is_whole(&head, at, <size_t> (end - at)):
            break
        verdict = judge(frames, session, &head, &fault)
        if verdict == PASS:
            frames.rest_bytes = head.size
            at += HEAD_BYTES
            if head.type != NGHTTP2_RST_STREAM or head.size != RESET_BYTES:
                continue
            frames.rest_bytes = 0
            at += RESET_BYTES
        # What comes next is judged by what has become of the streams until here.
        fed = feed(session, start, at)
        if verdict == STOP or fed != FRAMES_FINE:
            return fault if fed == FRAMES_FINE else fed
        if verdict == DROP:
            at += HEAD_BYTES + head.size
        start = at
    frames.head_bytes = <uint32_t> (end - at)
    memcpy(frames.head, at, frames.head_bytes)
    return feed(session, start, at)
