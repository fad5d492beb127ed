"""Named places at which a test can have the process killed, as a crash would end it there.

OWNERD_FAILPOINT=NAME:PASSES arms one for a process: it is passed PASSES times, then the process
gets SIGKILL. Without the variable every place costs one comparison.
"""

import os

cdef extern from "<signal.h>" nogil:
    int raise_signal "raise"(int)
    int SIGKILL

VARIABLE = "OWNERD_FAILPOINT"
FAILPOINTS = (
    "before_commit", "after_commit", "before_answer", "after_answer", "before_rotate",
    "after_rotate", "before_flush_commit", "after_flush_commit", "before_vacuum_commit",
    "after_vacuum_commit", "before_trim", "after_trim",
)


cdef void fail_passed() noexcept nogil:
    """Count a pass of the armed place, or end the process."""
    if armed.passes > 0:
        armed.passes -= 1
        return
    raise_signal(SIGKILL)


def _arm(text):
    """Arm the place that `text` (NAME:PASSES) names; raise ImportError if there is none."""
    name, _, passes = text.partition(":")
    if name not in FAILPOINTS or not passes.isdigit():
        raise ImportError(f"{VARIABLE}={text!r}: NAME:PASSES is needed, NAME one of {FAILPOINTS}")
    armed.point = FAILPOINTS.index(name) + 1
    armed.passes = int(passes)


armed.point = FAIL_NOWHERE
armed.passes = 0
if VARIABLE in os.environ:
    _arm(os.environ[VARIABLE])
