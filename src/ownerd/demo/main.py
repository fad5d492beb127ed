"""`ownerd demo`: the whole of ownerd once, on a contact list, in under half a minute.

A real server on a fresh store and free ports, which asks everybody who they are; three campaigns
that dial one list at once through the real client, each with a token that lets it speak for itself
alone; a shortened duration, a release, and a check of the campaigns' own logs. `run` is called
from the main thread of a program that has not used gRPC yet.
"""

import asyncio
import shutil
import signal
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from ownerd.client import AsyncClient, ClientError
from ownerd.consoles import PipeConsole
from ownerd.demo import fail_over
from ownerd.demo.checker import check_directory
from ownerd.demo.contacts import ContactList, ContactsError, read_contacts, write_sample
from ownerd.demo.etcd_process import EtcdError
from ownerd.demo.server_process import DemoServer, ServerError
from ownerd.demo.story import NotRefused, Story
from ownerd.demo.verdict import Verdict
from ownerd.demo.view import show_verdict

SEED = 7411
OK = 0
FAILED = 1
BAD_CONTACTS = 2
INTERRUPTED = 130
NO_CONSOLE = (
    "ownerd was installed without the console; install it with: pip install 'ownerd[console]'"
)


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
    console = PipeConsole()
    with _stopped_like_ctrl_c(), _workspace(console, keep) as directory:
        try:
            contact_list = _contacts(contacts, directory, seed)
            if with_console:
                return _show(console, directory, contact_list, campaigns, seed)
            tell = fail_over.tell if with_cluster else _tell
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
    return OK if verdict.exclusive else FAILED


def _tell(
    console: Console,
    directory: Path,
    contacts: ContactList,
    seconds: float,
    campaign_count: int,
    seed: int,
) -> Verdict:
    logs = directory / "logs"
    logs.mkdir()
    with DemoServer(directory / "store", directory / "server.log") as server:
        console.print(
            f"ownerd demo: {len(contacts.record_ids):,} contacts of {contacts.path.name}, "
            f"seed {seed}\n"
            f"server {server.pid}: dial {server.dial_address}, admin {server.admin_address}",
            markup=False,
            highlight=False,
        )

        async def tell() -> None:
            admin = AsyncClient(
                server.dial_address,
                admin_target=server.admin_address,
                token_file=server.admin_token_file,
            )
            async with (
                admin,
                Story(
                    console, admin, server.dial_address, logs, contacts, campaign_count, seed
                ) as story,
            ):
                await story.tell(seconds)

        asyncio.run(tell())
    console.print("\n[bold]The server has stopped. Check the campaigns' own logs.[/]")
    verdict = check_directory(logs)
    show_verdict(console, verdict)
    return verdict


def _show(
    console: Console, directory: Path, contacts: ContactList, campaign_count: int, seed: int
) -> int:
    """Have campaigns dial behind the supervisors' page until interrupted.

    What somebody changes there is in no log of the demo's, so the logs are not checked.
    """
    try:
        from ownerd.console.main import serve
        from ownerd.console.settings import Settings, Upstream
    except ModuleNotFoundError:
        return _fail(NO_CONSOLE, FAILED)
    logs = directory / "logs"
    logs.mkdir()
    with DemoServer(directory / "store", directory / "server.log") as server:
        settings = Settings(
            Upstream(server.admin_address), port=0, token_file=str(server.admin_token_file)
        )

        def ready(address: str) -> None:
            said = f"Campaigns are dialing; Ctrl-C ends it. The supervisors' page is at {address}"
            console.print(said, markup=False, highlight=False, soft_wrap=True)
            if console.is_terminal:
                webbrowser.open(address)

        async def show() -> None:
            admin = AsyncClient(
                server.dial_address,
                admin_target=server.admin_address,
                token_file=server.admin_token_file,
            )
            async with (
                admin,
                Story(
                    console, admin, server.dial_address, logs, contacts, campaign_count, seed
                ) as story,
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(story.dial_on())
                tasks.create_task(serve(settings, ready))

        with suppress(KeyboardInterrupt):
            asyncio.run(show())
    return OK


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
