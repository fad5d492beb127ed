"""C interface of wrap_up_codes: how wrap-up codes may be spelled, and what an unknown one means."""

from ownerd.base.bytes cimport Slice
from ownerd.rules.ownership cimport Code

cdef enum UnknownCode:                # the numbers of admin.proto
    UNKNOWN_CODE_REFUSE = 1
    UNKNOWN_CODE_ATTEMPT = 2
    UNKNOWN_CODE_NO_ATTEMPT = 3


# Without its outer blanks; empty if it has nothing else.
cdef Slice code_trim(Slice code) noexcept nogil
# Writes at most as many bytes as the code has, and returns how many.
cdef size_t code_fold(Slice code, char *folded) noexcept nogil
# Of `Category - Detail` the trimmed category; empty if the code is not of that form.
cdef Slice code_category(Slice code) noexcept nogil
# What a code that nobody knows means; False: it is refused.
cdef bint rules_unknown_code(UnknownCode setting, Slice code, Code *meaning) noexcept nogil
