"""What a store knows of a log that several nodes have: how to append to it, and to ask it.

A store that has one appends each entry there first, and only then to its own files, which serve
those who read the log and need no sync: what they lack is in the shared one. Nothing here, or above
it, knows how such a log is kept.
"""


cdef class SharedLogDoor:
    """A log of several nodes, as Python hands it to an engine."""
