"""C interface of error_details: the `grpc-status-details-bin` of a refused call."""

from ownerd.api.task cimport Task

cdef enum:
    DETAILS_BYTES = 1024              # of the trailer with the longest message and reason


# Writes the trailer's value into DETAILS_BYTES and returns its size; 0 for a call whose reason has
# no name.
cdef size_t details_encode(const Task *task, char *trailer) noexcept nogil
