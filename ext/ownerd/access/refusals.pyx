"""Callers that were refused: counted by what they did and where from, and fetched now and then.

What they cost does not grow with how often they try: so many kinds are told apart between two looks
and the rest is one number. Any thread may add; the server takes them, for log, metrics and audit.
"""

from cython.operator cimport dereference, preincrement
from libc.string cimport strlen

from ownerd.api.grpc_http2 cimport grpc_call_name
from ownerd.api.task cimport PERMISSION_DENIED, UNAUTHENTICATED
from ownerd.base.assertions cimport assert_that
from ownerd.base.bytes cimport slice_of, text_slice

cdef enum:
    MOST_KINDS = 64                   # of refusals that are told apart between two looks


cdef void refusals_add(
    Refusals *refusals, int code, Slice principal_id, Slice peer, Slice action, Slice list_id,
    Slice campaign_id
) noexcept nogil:
    """Count a caller that was refused. No text but a list or campaign id may hold a NUL."""
    cdef string key
    cdef char kind = <char> code
    cdef Refusal *refusal
    key.append(&kind, 1)
    key.append(principal_id.data, principal_id.size)
    key.append("\0", 1)
    key.append(peer.data, peer.size)
    key.append("\0", 1)
    key.append(action.data, action.size)
    assert_that(
        code == UNAUTHENTICATED or code == PERMISSION_DENIED,
        "there are two ways to be refused",
    )
    refusals.guard.lock()
    if refusals.kinds.size() < MOST_KINDS or refusals.kinds.count(key) != 0:
        refusal = &refusals.kinds[key]
        if refusal.count == 0 and list_id.data != NULL:
            refusal.list_id.assign(list_id.data, list_id.size)
        if refusal.count == 0 and campaign_id.data != NULL:
            refusal.campaign_id.assign(campaign_id.data, campaign_id.size)
        refusal.count += 1
    else:
        refusals.uncounted += 1
    assert_that(refusals.kinds.size() <= MOST_KINDS, "refusals take a bounded place")
    refusals.guard.unlock()


cdef void refusals_add_call(
    Refusals *refusals, const string *principal_id, Slice peer, const DialCall *call
) noexcept nogil:
    """Count a dial call that was refused for want of a right."""
    cdef const char *action = grpc_call_name(call.call_kind)
    refusals_add(
        refusals, call.task.code, text_slice(principal_id[0]), peer,
        slice_of(action, strlen(action)), call.list_id, call.campaign_id,
    )


cdef refusals_take(Refusals *refusals):
    """Return and forget the refusals: a list, and how many more there were.

    Each of the list is (code, principal_id, peer, action, list_id, campaign_id, count); list and
    campaign are those of the first, or "".
    """
    cdef unordered_map[string, Refusal] kinds
    cdef uint64_t beyond
    # No Python object may be made under the lock: that can hand the GIL to another thread, which
    # then waits for the lock with it.
    refusals.guard.lock()
    kinds.swap(refusals.kinds)
    beyond = refusals.uncounted
    refusals.uncounted = 0
    refusals.guard.unlock()
    found = []
    it = kinds.begin()
    while it != kinds.end():
        found.append(taken_apart(&dereference(it).first, &dereference(it).second))
        preincrement(it)
    return found, beyond


cdef taken_apart(const string *key, Refusal *refusal):
    """Return one row of `refusals_take`."""
    packed = text_of(key)
    who, where, what = (part.decode(errors="replace") for part in packed[1:].split(b"\0"))
    return (
        packed[0], who, where, what, text_of(&refusal.list_id).decode(errors="replace"),
        text_of(&refusal.campaign_id).decode(errors="replace"), refusal.count,
    )


cdef bytes text_of(const string *text):
    return text.data()[:text.size()]
