"""What tests ask of storage; built only with OWNERD_TESTING=1: a record's value, in Python."""

from libc.string cimport memset

from ownerd.base.bytes cimport slice_of, val_of
from ownerd.base.lmdb cimport MDB_val
from ownerd.rules.ownership cimport Hold
from ownerd.storage.codec cimport VALUE_BYTES, hold_decode, hold_encode


def encode(state, now_ns):
    """Return a record's value; b"" if nothing of it is left.

    The state is (campaign, event seq, owned since and until, reserved since and until, dialer, last
    attempt), 0 where there is none.
    """
    cdef Hold hold
    cdef char value[VALUE_BYTES]
    memset(&hold, 0, sizeof(hold))
    hold.campaign, hold.event_seq = state[0], state[1]
    hold.owned_since_ns, hold.owned_until_ns = state[2], state[3]
    hold.reserved_since_ns, hold.reserved_until_ns = state[4], state[5]
    hold.dialer, hold.last_attempt_ns = state[6], state[7]
    cdef size_t size = hold_encode(&hold, now_ns, value)
    return value[:size]


def decode(bytes value):
    """Return the state that a value says, or None if it is none."""
    cdef Hold hold
    cdef MDB_val row = val_of(slice_of(<const char *> value, len(value)))
    if not hold_decode(&row, &hold):
        return None
    return (
        hold.campaign, hold.event_seq, hold.owned_since_ns, hold.owned_until_ns,
        hold.reserved_since_ns, hold.reserved_until_ns, hold.dialer, hold.last_attempt_ns,
    )
