"""Asking a person before something that cannot be undone."""

import sys

from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.printable import clean


def need_terminal(what: str) -> None:
    """Refuse to go on where nobody can be asked.

    Raises:
        CtlError: USAGE; stdin is no terminal.
    """
    if not sys.stdin.isatty():
        raise CtlError(
            Exit.USAGE, f"stdin is no terminal to ask at; say --yes to {what} without being asked"
        )


def ask(what: str, question: str, *, yes: bool) -> None:
    """Ask, unless that was answered on the command line.

    Args:
        what: the verb, for whoever cannot be asked.
        question: what happens, with how many it happens to.
        yes: whether --yes was said.

    Raises:
        CtlError: DECLINED; or USAGE, nobody can be asked.
    """
    if not yes:
        need_terminal(what)
        confirm(question)


def counted(count: int, noun: str) -> str:
    """Return `1 record`, `2,000 records`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def confirm(question: str) -> None:
    """Ask a yes-or-no question on stderr; anything but yes is no.

    Raises:
        CtlError: DECLINED.
    """
    sys.stderr.write(f"{clean(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CtlError(Exit.DECLINED, "nothing was changed")
