"""How wrap-up codes are spelled (R26): two spellings with one folded form are one code.

Folding takes outer blanks away, makes ASCII capitals small and every kind of dash a hyphen. Dialers
write `Category - Detail`, where the dash stands between blanks. Codes are UTF-8. No allocation, no
shared state: any thread may call anything.

Which codes there are is the catalog's (storage).
"""


cdef inline size_t _blank_at(Slice text, size_t at) noexcept nogil:
    """Return the bytes of the blank that begins there; 0: none does."""
    cdef unsigned char byte
    if at >= text.size:
        return 0
    byte = <unsigned char> text.data[at]
    if byte == 0x20 or 0x09 <= byte <= 0x0D:
        return 1
    # U+00A0
    return 2 * (byte == 0xC2 and at + 1 < text.size and <unsigned char> text.data[at + 1] == 0xA0)


cdef inline size_t _blank_before(Slice text, size_t at) noexcept nogil:
    """Return the bytes of the blank that ends there; 0: none does."""
    if at >= 1 and _blank_at(text, at - 1) == 1:
        return 1
    return 2 * (at >= 2 and _blank_at(text, at - 2) == 2)


cdef inline size_t _dash_at(Slice text, size_t at) noexcept nogil:
    """Return the bytes of the dash that begins there, of whatever kind; 0: none does."""
    cdef const unsigned char *bytes = <const unsigned char *> text.data + at
    if bytes[0] == 0x2D:
        return 1
    if bytes[0] != 0xE2 or at + 2 >= text.size:
        return 0
    # U+2010 to U+2015, U+2212
    return 3 * ((bytes[1] == 0x80 and 0x90 <= bytes[2] <= 0x95)
                or (bytes[1] == 0x88 and bytes[2] == 0x92))


cdef Slice code_trim(Slice code) noexcept nogil:
    cdef Slice rest = code
    cdef size_t blank = _blank_at(rest, 0)
    while blank != 0:
        rest.data += blank
        rest.size -= blank
        blank = _blank_at(rest, 0)
    blank = _blank_before(rest, rest.size)
    while blank != 0:
        rest.size -= blank
        blank = _blank_before(rest, rest.size)
    return rest


cdef size_t code_fold(Slice code, char *folded) noexcept nogil:
    cdef Slice rest = code_trim(code)
    cdef size_t i = 0, size = 0, dash
    while i < rest.size:
        dash = _dash_at(rest, i)
        folded[size] = b'-' if dash != 0 else rest.data[i]
        if b'A' <= folded[size] <= b'Z':
            folded[size] += 32
        size += 1
        i += max(dash, <size_t> 1)
    return size


cdef Slice code_category(Slice code) noexcept nogil:
    cdef Slice rest = code_trim(code)
    cdef Slice category = rest
    cdef size_t i, dash
    for i in range(rest.size):
        dash = _dash_at(rest, i)
        if dash != 0 and _blank_before(rest, i) != 0 and _blank_at(rest, i + dash) != 0:
            category.size = i
            return code_trim(category)
    category.size = 0
    return category


cdef bint rules_unknown_code(UnknownCode setting, Slice code, Code *meaning) noexcept nogil:
    """Decide by the store's setting; a code of blanks alone is an empty one, always refused."""
    meaning.counts_as_attempt = setting == UNKNOWN_CODE_ATTEMPT
    meaning.success = False
    return setting != UNKNOWN_CODE_REFUSE and code_trim(code).size != 0
