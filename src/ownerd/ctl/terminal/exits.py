"""How ownerctl ends: one exit code per kind of failure, and the error that carries it.

`CtlError` is the only exception that commands raise on purpose; `main` prints its message as one
line and exits with its code. A code has one meaning and keeps it.
"""

from collections.abc import Sequence
from enum import IntEnum

import grpc


class Exit(IntEnum):
    """Exit codes of ownerctl; `meaning` is the sentence that `ownerctl --help` shows."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "Exit":
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "done"
    DECLINED = (
        1,
        "no: you answered no and nothing was changed, `can-i` says no, or `diff` found something",
    )
    USAGE = 2, "the command line is wrong"
    NOT_FOUND = 3, "the list, campaign, wrap-up code, principal or node does not exist"
    ALREADY_EXISTS = 4, "it exists already"
    FAILED_PRECONDITION = 5, "the server's state forbids it (live ownership, conflict, last admin)"
    ABORTED = 6, "someone else changed it meanwhile (stale etag)"
    INVALID_ARGUMENT = 7, "the server refused a value"
    UNAVAILABLE = 8, "no ownerd admin server answers at the address"
    DEADLINE = 9, "no answer within --timeout; the outcome is unknown"
    EXHAUSTED = 10, "the server's queue or store is full, or you are over your rate limit"
    PERMISSION = 11, "you may not do this, or did not say who you are"
    INPUT_FILE = 12, "the input file is broken or unreadable; nothing was changed"
    INTERNAL = 13, "a defect, or the machine gave too few descriptors, threads or memory"
    OUTPUT_FILE = 14, "the output could not be written"
    NOT_BUILT = 15, "ownerd was installed without a part that the command needs"
    ALARM = (
        16,
        "an alarm is up, says `status`; or something is wrong, says `doctor` or `cluster status`",
    )
    DATABASE = 17, "the database to mirror into is away, refuses, or lacks a column"
    IN_USE = 18, "another mirror is at work on the table"
    INTERRUPTED = 130, "interrupted by Ctrl-C, SIGTERM or SIGHUP"


class CtlError(Exception):
    """A command cannot go on: a line for a person, more for several faults, and the exit code."""

    def __init__(self, exit_code: Exit, message: str, more: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.more = more


EXIT_OF_STATUS = {
    grpc.StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: Exit.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED: Exit.ABORTED,
    grpc.StatusCode.INVALID_ARGUMENT: Exit.INVALID_ARGUMENT,
    grpc.StatusCode.OUT_OF_RANGE: Exit.INVALID_ARGUMENT,
    grpc.StatusCode.UNAVAILABLE: Exit.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED: Exit.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Exit.DEADLINE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exit.EXHAUSTED,
    grpc.StatusCode.PERMISSION_DENIED: Exit.PERMISSION,
    grpc.StatusCode.UNAUTHENTICATED: Exit.PERMISSION,
}


def exit_of_status(code: grpc.StatusCode) -> Exit:
    """Return the exit code for a gRPC status; INTERNAL for one that no healthy server sends."""
    return EXIT_OF_STATUS.get(code, Exit.INTERNAL)


def help_text() -> str:
    """Return the table of exit codes for `ownerctl --help`, one line each."""
    lines = (f"{code.value:>5}  {code.meaning}" for code in Exit)
    return "Exit codes:\n" + "\n".join(lines)
