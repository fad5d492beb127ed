"""`ownerd demo`: the whole of ownerd once, on a contact list, in under half a minute.

A real server on a fresh store and free ports, which asks everybody who they are; three campaigns
that dial one list at once through the real client, each with a token that lets it speak for itself
alone; a shortened duration, a release, and a check of the campaigns' own logs. `run` is called
from the main thread of a program that has not used gRPC yet.
"""

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ownerd.client import ClientError
from ownerd.consoles import PipeConsole
from ownerd.demo import fail_over, one_server
from ownerd.demo.children import uninterrupted
from ownerd.demo.contacts import ContactList, ContactsError, read_contacts, write_sample
from ownerd.demo.etcd_process import EtcdError
from ownerd.demo.server_process import ServerError
from ownerd.demo.story import NotRefused
from ownerd.demo.verdict import Verdict
from ownerd.loading import loading

SEED = 7411
OK = 0
FAILED = 1
BAD_CONTACTS = 2
INTERRUPTED = 130
NO_CONSOLE = (
    "ownerd was installed without the console; install it with: pip install 'ownerd[console]'"
)

Teller = Callable[[Console, Path, ContactList, float, int, int], Verdict | None]
"""Takes where to say it, a directory, the contacts, seconds of dialing, campaigns, and a seed; the
verdict is of the campaigns' own logs, None: nothing of it was checked."""


def run(
    contacts: Path | None = None,
    *,
    keep: bool = False,
    seconds: float = 10.0,
    campaigns: int = 3,
    seed: int = SEED,
    with_console: bool = False,
    with_cluster: bool = False,
) -> int:
    """Run the demo and return the exit code for it.

    Args:
        contacts: CSV file with a header and a column i3_identity; None makes up 10,000 contacts.
        keep: Leave the store, the contacts and the logs where they are, and say where.
        seconds: Time of dialing, over 0; the rest takes about three seconds more.
        campaigns: How many campaigns dial, 2 to 20.
        seed: Decides the made-up contacts, the calling lists and how dials end.
        with_console: Show the supervisors' page instead of the story, and dial until interrupted.
        with_cluster: Tell of two servers instead, one of which dies.

    Returns:
        0: no record was dialed by two campaigns while one held it. 1: one was, a campaign could
        speak for another, or the demo could not be run to its end. 2: the contacts cannot be
        read. 130: interrupted.
    """
    if not 2 <= campaigns <= 20 or not seconds > 0:
        raise ValueError(f"{campaigns} campaigns, {seconds} s: give 2 to 20, and more than 0 s")
    try:
        with loading("ownerd"):
            tell = _teller(with_console=with_console, with_cluster=with_cluster)
    except ModuleNotFoundError:
        return _fail(NO_CONSOLE, FAILED)
    console = PipeConsole()
    with _stopped_like_ctrl_c(), _workspace(console, keep) as directory:
        try:
            contact_list = _contacts(contacts, directory, seed)
            verdict = tell(console, directory, contact_list, seconds, campaigns, seed)
        except ContactsError as error:
            return _fail(str(error), BAD_CONTACTS)
        except (ServerError, EtcdError) as error:
            return _fail(str(error), FAILED)
        except KeyboardInterrupt:
            return _fail("interrupted", INTERRUPTED)
        except NotRefused as error:
            return _fail(str(error), FAILED)
        except (ClientError, ExceptionGroup) as error:
            return _fail(f"the server stopped answering: {_innermost(error)}", FAILED)
    return OK if verdict is None or verdict.exclusive else FAILED


def _teller(*, with_console: bool, with_cluster: bool) -> Teller:
    """Load and return what tells the demo; ModuleNotFoundError without the extra that it needs."""
    if with_console:
        from ownerd.demo import supervised

        return supervised.tell
    return fail_over.tell if with_cluster else one_server.tell


def _contacts(path: Path | None, directory: Path, seed: int) -> ContactList:
    if path is None:
        path = directory / "contacts.csv"
        write_sample(path, seed)
    return read_contacts(path)


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does: the server and the files go with it."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, _interrupt) for number in numbers}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a shell's script starts what is in the background, and asyncio would not end its tasks.
        previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


@contextmanager
def _workspace(console: Console, keep: bool) -> Iterator[Path]:
    """Make a temporary directory; remove it afterwards, or say where it is."""
    directory = Path(tempfile.mkdtemp(prefix="ownerd-demo-"))
    try:
        yield directory
    finally:
        if keep:
            console.print(f"\nkept: {directory} (store, logs, server.log)", soft_wrap=True)
        else:
            with uninterrupted():
                shutil.rmtree(directory, ignore_errors=True)


def _innermost(error: Exception) -> Exception:
    """Return the first error in nested groups, as tasks that fail together raise them."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(message: str, exit_code: int) -> int:
    PipeConsole(stderr=True).print(
        f"demo: {message}", markup=False, highlight=False, soft_wrap=True
    )
    return exit_code
