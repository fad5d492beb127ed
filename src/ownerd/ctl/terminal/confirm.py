"""Asking a person before something that cannot be undone."""

import sys

from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import clean


def need_terminal(what: str) -> None:
    """Refuse to go on where nobody can be asked.

    Raises:
        CtlError: USAGE; stdin is no terminal.
    """
    if not sys.stdin.isatty():
        raise CtlError(
            Exit.USAGE, f"stdin is no terminal to ask at; say --yes to {what} without being asked"
        )


def confirm(question: str) -> None:
    """Ask a yes-or-no question on stderr; anything but yes is no.

    Raises:
        CtlError: DECLINED.
    """
    sys.stderr.write(f"{clean(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CtlError(Exit.DECLINED, "nothing was changed")
