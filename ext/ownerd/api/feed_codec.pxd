"""C interface of feed_codec: messages of Watch, put together event by event."""

from libc.stdint cimport int64_t, uint64_t

from ownerd.base.bytes cimport Slice
from ownerd.base.containers cimport string, vector
from ownerd.rules.ownership cimport Holder, Policy

# Each appends one event to a message that is being put together. `list_id` may be empty: no list in
# particular. A Holder whose kind is NOBODY is left out.

# Whose a hold is; texts that the message takes.
cdef struct Named:
    Holder holder
    Slice id
    Slice name
    Slice dialer_id

cdef void feed_record(
    string *message, Slice list_id, Slice record_id, const Named *holder, bint given_away
) noexcept nogil
cdef void feed_policy(string *message, Slice list_id, const Policy *policy) noexcept nogil
# NEVER_NS: no expiration.
cdef void feed_duration(
    string *message, Slice list_id, int64_t time_ns, int64_t duration_ns
) noexcept nogil
cdef void feed_released(
    string *message, Slice list_id, int64_t time_ns, Slice campaign_id, bint include_reservations
) noexcept nogil
cdef void feed_transferred(
    string *message, Slice list_id, int64_t time_ns, Slice from_id, Slice to_id, Slice to_name
) noexcept nogil
cdef void feed_reservations_ended(
    string *message, Slice list_id, int64_t time_ns, Slice campaign_id, Slice dialer_id
) noexcept nogil
cdef void feed_list_created(
    string *message, Slice list_id, const Policy *policy, const vector[string] *names
) noexcept nogil
cdef void feed_list_deleted(string *message, Slice list_id) noexcept nogil
cdef void feed_renamed(string *message, Slice campaign_id, Slice name) noexcept nogil
# `called` has no holder: only who made the attempt.
cdef void feed_rejected(
    string *message, Slice list_id, Slice record_id, const Named *called, const Named *holder,
    int64_t attempt_ns, Slice reported_list_id
) noexcept nogil
cdef void feed_progress(string *message) noexcept nogil
cdef void feed_time_set_back(
    string *message, Slice list_id, int64_t time_ns, int64_t length_ns
) noexcept nogil

# What makes the events so far a message.
cdef void feed_finish(
    string *message, uint64_t revision, bint complete, Slice incarnation_id, int64_t time_ns
) noexcept nogil
