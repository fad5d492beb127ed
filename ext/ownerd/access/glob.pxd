"""C interface of glob: whether a text is meant by patterns."""

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, vector

cdef bint glob_matches(Slice pattern, Slice text) noexcept nogil
cdef bint globs_cover(const vector[string] *patterns, Slice text) noexcept nogil
