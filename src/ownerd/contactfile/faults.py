"""What is wrong with a contact file, or with a row of it, in words for a person."""

from dataclasses import dataclass


class FileFault(Exception):
    """A file cannot be read as a contact file at all; nothing of it counts.

    `line` is where, as an editor counts; None: no line is to blame. `hint` is what the options of
    ownerctl can do about it, "" for nothing.
    """

    def __init__(self, message: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.hint = hint


class RowFault(Exception):
    """A row cannot be taken; the rest of the file may be."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that is not taken: the line where it begins, and why."""

    line: int
    reason: str
    hint: str = ""


class NoRoom(Exception):
    """A temporary file cannot be written; the message says why."""
