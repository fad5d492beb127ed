"""C interface of frames: what a peer's bytes are looked at for before nghttp2 takes them."""

from libc.stdint cimport int32_t, uint8_t, uint32_t

from ownerd.base.nghttp2 cimport nghttp2_session

cdef enum:
    HEAD_BYTES = 9
    LOOKED_AT_BYTES = HEAD_BYTES + 5   # the longest frame that is looked at whole: PRIORITY
    REMEMBERED_STREAMS = 64            # a power of two

cdef enum FrameFault:
    FRAMES_FINE = 0
    FRAMES_BROKEN                     # nghttp2 cannot go on
    FRAMES_FLOOD                      # too much that nghttp2 would have to answer
    FRAMES_CONTINUED                  # a header block in too many pieces
    FRAMES_CLOSED                     # HEADERS on a stream that the peer has ended
    FRAMES_FORBIDDEN                  # what is a PROTOCOL_ERROR of the connection

cdef struct Frames:                   # of one connection; all 0 and `frames_begin` at its start
    char head[LOOKED_AT_BYTES]        # the beginning of a frame of which the rest has not come
    uint32_t head_bytes
    uint32_t rest_bytes               # of the frame that nghttp2 is taking
    bint in_block                     # between HEADERS and the end of their block
    uint32_t continuations
    int32_t highest_stream            # that the peer has begun
    uint32_t remembered[REMEMBERED_STREAMS]   # twice the id, and 1 if the peer has ended it
    uint32_t idle_resets              # of streams that were never begun


cdef void frames_begin(Frames *frames) noexcept nogil
cdef FrameFault frames_take(
    Frames *frames, nghttp2_session *session, const uint8_t *data, size_t size
) noexcept nogil
cdef void frames_stream_ended(Frames *frames, int32_t stream_id) noexcept nogil
