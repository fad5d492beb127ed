"""Why a mirror cannot go on as it does: what is waited for, what compared again, what ends it."""


class MirrorFault(Exception):
    """It ends here; the message is for a person."""


class TableFault(MirrorFault):
    """The table, or a column of it, is not there or not fit."""


class DatabaseFault(MirrorFault):
    """The database refused, or is away where nobody waits for it."""


class InUse(MirrorFault):
    """Another mirror is at work on the table, or has taken it over."""


class ListGone(MirrorFault):
    """The list was deleted."""


class Away(Exception):
    """The server does not answer now; the message says why. Worth another try."""


class CompareAgain(Exception):
    """The feed cannot say what the table has to be; the message says why. A comparison can."""
