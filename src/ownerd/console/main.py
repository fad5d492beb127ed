"""Running one console: its socket, its server, and its end.

`run` belongs to the main thread and returns when the console is stopped.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from ownerd.console.app import Console, make_app
from ownerd.console.changes import DEFAULT_PACE, Pace
from ownerd.console.settings import Settings

GRACE_S = 2
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CannotListen(Exception):
    """The address is in use, or is none of this machine; the message says so."""


class _Server(uvicorn.Server):
    """Uvicorn, which ends the open streams first when it ends, and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, console: Console) -> None:
        super().__init__(config)
        self._console = console

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none: uvicorn would send itself each again at the end."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is open, then the server."""
        self._console.stopping.set()
        await super().shutdown(sockets)


def run(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until the process is told to stop, by Ctrl-C, SIGTERM or SIGHUP.

    Args:
        settings: where and what.
        ready: called once with the address to open, as soon as it answers.

    Raises:
        CannotListen: nothing was served.
    """
    listening = _listen(settings)
    try:
        asyncio.run(_serve(settings, listening, ready, DEFAULT_PACE, heeds_signals=True))
    finally:
        listening.close()


async def serve(
    settings: Settings, ready: Callable[[str], None], pace: Pace = DEFAULT_PACE
) -> None:
    """Serve within a running event loop until cancelled; errors as of `run`."""
    listening = _listen(settings)
    try:
        await _serve(settings, listening, ready, pace, heeds_signals=False)
    finally:
        listening.close()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        listening.close()
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise CannotListen(f"cannot listen on {settings.host}:{settings.port}: {said}") from error
    return listening


async def _serve(
    settings: Settings,
    listening: socket.socket,
    ready: Callable[[str], None],
    pace: Pace,
    *,
    heeds_signals: bool,
) -> None:
    console = Console(settings, pace)
    console.port = listening.getsockname()[1]
    config = uvicorn.Config(
        make_app(console),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config, console)
    for number in ENDING if heeds_signals else ():
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    keeping = asyncio.create_task(console.keep())
    telling = asyncio.create_task(_tell(server, console, ready))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
    finally:
        for task in (keeping, telling):
            task.cancel()
        await console.sessions.close_all()


async def _tell(server: uvicorn.Server, console: Console, ready: Callable[[str], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.01)
    ready(address_of(console))


def address_of(console: Console) -> str:
    """Return the address to open: with the key, where nobody signs in."""
    settings = console.settings
    scheme = "https" if settings.tls_certificate else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base = settings.public_url.rstrip("/") or f"{scheme}://{host}:{console.port}"
    return f"{base}/" if settings.sign_in else f"{base}/enter?key={console.entry_key}"
