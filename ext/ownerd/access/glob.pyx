"""Patterns of `*`, `?` and literals, by which grants name lists and campaigns.

Pure functions; any thread may call them.
"""

from ownerd.base.bytes cimport text_slice


cdef inline size_t after_character(Slice text, size_t at) noexcept nogil:
    """Return where the UTF-8 character after the one at `at` begins."""
    at += 1
    while at < text.size and (<unsigned char> text.data[at] & 0xC0) == 0x80:
        at += 1
    return at


cdef bint glob_matches(Slice pattern, Slice text) noexcept nogil:
    """Tell whether a pattern of `*`, `?` and literals fits the whole text.

    Takes at most pattern times text steps: only the last `*` is ever tried anew, which is enough
    since an earlier one could not do better.
    """
    cdef size_t p = 0, t = 0, star = 0, resume = 0
    cdef bint starred = False
    while True:
        if p < pattern.size and pattern.data[p] == c'*':
            p += 1
            starred, star, resume = True, p, t
            continue
        if p == pattern.size and t == text.size:
            return True
        if t < text.size and p < pattern.size:
            if pattern.data[p] == c'?':
                p, t = p + 1, after_character(text, t)
                continue
            if pattern.data[p] == c'\\' and p + 1 < pattern.size:
                p += 1
            if pattern.data[p] == text.data[t]:
                p, t = p + 1, t + 1
                continue
        if not starred or resume >= text.size:
            return False
        resume += 1
        p, t = star, resume


cdef bint globs_cover(const vector[string] *patterns, Slice text) noexcept nogil:
    """Tell whether one of the patterns fits; without any, everything does.

    A text that is there and empty stands for every id, which only `*` is known to cover.
    """
    cdef Slice pattern
    cdef size_t i
    if text.data == NULL or patterns.empty():
        return True
    for i in range(patterns.size()):
        pattern = text_slice(patterns[0][i])
        if text.size == 0:
            if pattern.size == 1 and pattern.data[0] == c'*':
                return True
        elif glob_matches(pattern, text):
            return True
    return False
