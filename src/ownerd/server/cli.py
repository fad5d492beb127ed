"""The program `ownerd`: serve, init, migrate, compact, restore, cluster, demo, config, verify,
clock, admin-token, docs, contrib, version.

Every failure is one line on stderr that says what to do, and an exit code of its own
(`ownerd.server.exits`):

    0  done; serve was asked to stop and answered every call that it had taken
    1  the job failed, or serve ended before every call was answered
    2  a flag, a variable or the configuration file is wrong
    3  another server uses the data directory
    4  the store cannot be opened, or the storage failed while serving
    5  an address is in use or cannot be listened on
    6  verify or restore found damage
    130  interrupted by Ctrl-C, before it served
"""

import dataclasses
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

# gRPC's own lines about an address in use would stand beside ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from cyclopts import App, CycloptsError, Parameter
from cyclopts.completion import CompletionContext
from cyclopts.validators import Number

import ownerd
from ownerd import streams
from ownerd.consoles import PipeConsole
from ownerd.loading import loading, uncollected
from ownerd.printable import clean, json_text
from ownerd.server import config, exits, logs

_EXIT_CODES = "\n".join(f"- {code}: {meaning}" for code, meaning in exits.MEANINGS.items())

app = App(
    name="ownerd",
    help="The referee for outbound campaigns that share a contact list: one record, one owner.",
    help_epilogue=f"Exit codes:\n\n{_EXIT_CODES}",
    help_format="markdown",
    version=ownerd.__version__,
    console=PipeConsole(),
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)
app.register_install_completion_command()
cluster_app = App(
    name="cluster", help="A node's way into its cluster, and out of it.", help_format="markdown"
)
app.command(cluster_app)


def _choices(key: config.Key) -> Callable[[CompletionContext], list[str]] | None:
    """Return what offers a shell the words that a setting may be; None for what has none."""
    kind = get_args(key.type)[0]
    if get_origin(kind) is not Literal:
        return None
    return lambda context: [str(each) for each in get_args(kind)]


def _flag(key: config.Key) -> tuple[str, Any, Any]:
    """Return a flag for one setting; its text is read and checked with all other sources."""
    value = config.defaults()[key.name]
    kinds: dict[type, Any] = {tuple: list[str] | None, bool: bool | None}
    kind = kinds.get(type(value), str | None)
    default = config.spell(key.name, value)
    about = Parameter(
        help=f"{key.help_text} [{key.variable}] [default: {default or 'none'}]",
        show_default=False,
        negative=f"--no-{key.flag.removeprefix('--')}" if value is True else (),
        # The last one counts, so that a wrapper's flag can be overridden.
        allow_repeating=True,
        completer=_choices(key),
    )
    return key.name, Annotated[kind, about], None


def _page_names(context: CompletionContext) -> list[str]:
    from ownerd.server import papers

    return papers.pages()


# One flag for each setting, so that the two cannot drift apart.
if TYPE_CHECKING:

    @dataclasses.dataclass
    class _Flags:
        """What its fields are is known when it is made, below."""

else:
    _Flags = dataclasses.make_dataclass(
        "_Flags", map(_flag, config.KEYS.values()), frozen=True, namespace={"__module__": __name__}
    )
Flags = Annotated[_Flags, Parameter(name="*")]
_NO_FLAGS = _Flags()
ConfigFile = Annotated[
    Path | None,
    Parameter(help="TOML file with settings, named as in `ownerd config`. [OWNERD_CONFIG]"),
]
BackupFile = Annotated[Path, Parameter(allow_leading_hyphen=True)]


@app.command
def serve(*, flags: Flags = _NO_FLAGS, config: ConfigFile = None) -> int:
    """Serve dialers and administrators until SIGTERM or SIGINT.

    A first signal drains: health says NOT_SERVING, new calls are refused with UNAVAILABLE, calls in
    flight are answered. A second one stops at once. SIGHUP reads the configuration file again: what
    can be changed under way is, and the log names what needs a restart.
    """
    loaded = _load_with_data(flags, config)
    logs.configure(loaded.settings.log_level, loaded.settings.log_format)
    # Imported here so that the other commands start fast and work without a store.
    try:
        with uncollected():
            from ownerd.server import app
    except ImportError as error:
        raise exits.StoreFailed(f"this installation cannot serve: {error}") from None
    return app.serve(loaded.settings, lambda: _load(flags, config).settings)


@app.command
def init(*, flags: Flags = _NO_FLAGS, config: ConfigFile = None) -> int:
    """Make a new, empty store in the data directory, and say its id.

    A directory that has a store already is left as it is, with exit code 4. Put the line with the
    id into the configuration file, beside `must_exist = true`, and a server never serves another.
    """
    settings = _load_with_data(flags, config).settings
    logs.configure("warning", settings.log_format)
    from ownerd.server import store

    print(f'store_id = "{store.init(settings)}"')
    return exits.OK


@app.command
def migrate(*, flags: Flags = _NO_FLAGS, config: ConfigFile = None) -> int:
    """Make a store of an earlier version one of this version's, once; no server has it open.

    Everything in it is checked first. The former files stay until it has succeeded: cut off at any
    moment, it goes on when it is run again. Keep a copy: an earlier version does not open the store
    any more. A store of this version is left as it is, with exit code 0.
    """
    settings = _load_with_data(flags, config).settings
    logs.configure("warning", settings.log_format)
    from ownerd.server import store

    for line in store.migrate(settings):
        print(line)
    return exits.OK


@app.command
def compact(*, flags: Flags = _NO_FLAGS, config: ConfigFile = None) -> int:
    """Give the disk back what the records of a store do not need; no server has it open.

    After many records were deleted or released, most of the file may be pages kept for later. A new
    file is written beside it, which needs as much space as the records still take, and then gets
    its place; cut off at any moment, the old one or the new one is whole. The store is verified
    first.
    """
    settings = _load_with_data(flags, config).settings
    logs.configure("warning", settings.log_format)
    from ownerd.server import store

    print(store.compact(settings))
    return exits.OK


@app.command
def demo(
    contacts: Path | None = None,
    *,
    keep: Annotated[bool, Parameter(negative=())] = False,
    seconds: Annotated[float, Parameter(validator=Number(gt=0, lte=3_600))] = 10.0,
    campaigns: Annotated[int, Parameter(validator=Number(gte=2, lte=20))] = 3,
    console: Annotated[bool, Parameter(negative=())] = False,
    cluster: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Run the whole thing once: a server, campaigns dialing one contact list, and a check.

    Args:
        contacts: CSV file with a header and a column i3_identity; without it, a made-up list.
        keep: Leave the store, the contacts and the logs in place and say where.
        seconds: How long the campaigns dial.
        campaigns: How many campaigns dial at once, 2 to 20.
        console: Show the supervisors' page in a browser instead, and dial until Ctrl-C.
        cluster: Two servers and three etcd members instead; the server that leads is killed.
    """
    if console and cluster:
        raise exits.ConfigError("--console and --cluster are two demos: say one of them")
    with loading("ownerd"):
        from ownerd.demo.main import run
    return run(
        contacts,
        keep=keep,
        seconds=seconds,
        campaigns=campaigns,
        with_console=console,
        with_cluster=cluster,
    )


@app.command(name="config")
def show_config(
    *,
    flags: Flags = _NO_FLAGS,
    config: ConfigFile = None,
    check: Annotated[bool, Parameter(negative=())] = False,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table",
) -> int:
    """Print the settings in force and where each comes from.

    They are checked on the way: one that is wrong is exit code 2.

    Args:
        check: Print no settings, but check what they name too: certificates and their keys, how
            long they are valid, the addresses, and that the store is there that has to be.
        output: Form of the output.
    """
    loaded = _load(flags, config)
    if check:
        from ownerd.server import config_check

        for remark in config_check.check(loaded.settings):
            print(f"note: {clean(remark)}")
        print("The configuration is good.")
        return exits.OK
    if output == "json":
        print(json_text(_as_rows(loaded), ascii_only=True, indent=2))
    else:
        _print_table(loaded)
    return exits.OK


@app.command
def verify(data: BackupFile) -> int:
    """Check a store that no server has open, or a backup, and say whether it is sound.

    Of a store every row's checksum is checked, of a backup every byte. Exit code 6 and a line that
    says what is damaged, if anything is.

    Args:
        data: Directory of the store; or the backup file, - for stdin.
    """
    if str(data) == "-" or os.path.isfile(data):  # unlike Path, also of a name that is too long
        from ownerd.server import restore

        return restore.check(data)
    from ownerd.server import verify

    return verify.check(str(data))


@app.command
def restore(file: BackupFile, *, flags: Flags = _NO_FLAGS, config: ConfigFile = None) -> int:
    """Make a store of a backup, in a data directory that has none.

    Everything is checked first; cut off at any moment it leaves no store, and is run again. A store
    that is there is never overwritten (exit code 4). The restored store begins a new incarnation:
    what clients keep of the former one (page tokens, etags, request ids) is refused.

    Args:
        file: The backup file, as `ownerctl backup` wrote it; - for stdin.
    """
    settings = _load_with_data(flags, config).settings
    logs.configure("warning", settings.log_format)
    from ownerd.server import restore

    for line in restore.restore(settings, file):
        print(line)
    return exits.OK


@cluster_app.command(name="join")
def cluster_join(
    *,
    replace: Annotated[bool, Parameter(negative=())] = False,
    flags: Flags = _NO_FLAGS,
    config: ConfigFile = None,
) -> int:
    """Make the store of a new node, or of one that was away for too long, from a running node's.

    `serve` does so by itself where there is no store, unless `must_exist` says that there is one.
    The other node is asked for a backup, with cluster_peer_token_file or cluster_peer_certificate;
    what comes after the backup is in the cluster's log.

    Args:
        replace: Replace the store that is there; it goes once the other one is whole.
    """
    settings, node = _load_node(flags, config)
    from ownerd.server import joining

    for line in joining.fetch(settings, node, replace=replace):
        print(line)
    return exits.OK


@cluster_app.command(name="leave")
def cluster_leave(
    *,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative=())] = False,
    without_log: Annotated[bool, Parameter(negative=())] = False,
    flags: Flags = _NO_FLAGS,
    config: ConfigFile = None,
) -> int:
    """Make a stopped node's store one of its own, which is served without a cluster.

    What the cluster's log has and the store lacks is fetched first. The store begins a new
    incarnation.

    Args:
        yes: Do not ask.
        without_log: Do not ask etcd: what the store lacks is lost.
    """
    from ownerd.server import joining

    if without_log:
        settings, node = _load_with_data(flags, config).settings, None
        logs.configure("warning", settings.log_format)
    else:
        settings, node = _load_node(flags, config)
    for line in joining.leave(settings, node, lambda said: _agreed(said, yes)):
        print(line)
    return exits.OK


@app.command
def clock(
    *,
    set_back: Annotated[bool, Parameter(negative=())] = False,
    flags: Flags = _NO_FLAGS,
    config: ConfigFile = None,
) -> int:
    """Show the time that a store goes on from, of a store that no server has open.

    A store's time never goes back by itself; one start with a clock that is ahead stays. This says
    how far ahead it is, and what the way back does.

    Args:
        set_back: Set the store's time to the wall clock's, if it is a minute or more ahead. No hold
            ends by it; holds made by the time that was ahead keep the length that they have left.
    """
    settings = _load_with_data(flags, config).settings
    logs.configure("warning", settings.log_format)
    from ownerd.server import clock

    for line in clock.set_back(settings) if set_back else clock.show(settings):
        print(line)
    return exits.OK


@app.command(name="admin-token")
def admin_token(*, flags: Flags = _NO_FLAGS, config: ConfigFile = None) -> int:
    """Make a new token for the principal `admin` of a store that no server has open.

    For when the tokens of every administrator are lost. The principal gets every right; the token
    is written to admin.token in the data directory, readable by its owner only. Of the tokens that
    it had the newest stays valid.
    """
    loaded = _load(flags, config)
    try:
        is_store = (Path(loaded.settings.data) / "records").is_dir()
    except OSError as error:
        raise exits.StoreFailed(f"cannot use {_named(error)}") from None
    if not is_store:
        raise exits.ConfigError(f"there is no store in {loaded.settings.data or 'data'!r}")
    logs.configure("warning", loaded.settings.log_format)
    from ownerd.server import app

    print(f"written to {app.renew_admin(loaded.settings)}")
    return exits.OK


@app.command
def docs(name: Annotated[str, Parameter(completer=_page_names)] = "") -> int:
    """Show a page of the manual; without a name, which there are.

    Args:
        name: The page.
    """
    from ownerd.server import papers

    papers.show(name)
    return exits.OK


@app.command
def contrib(directory: Path, *, replace: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Write files for the services around ownerd into a directory.

    A systemd unit and a settings file, a Containerfile, alert rules for Prometheus, a dashboard for
    Grafana, and rotation of a log that goes to a file.

    Args:
        directory: Where to; it is made.
        replace: Replace files that are there.
    """
    from ownerd.server import papers

    for path in papers.write_contrib(directory, replace=replace):
        print(path)
    if hidden := papers.hidden_program():
        print(
            f"note: {hidden} is not to be seen by the unit, nor by another user: install ownerd "
            "where it is, such as in /opt/ownerd, and run this from there ('ownerd docs service')",
            file=sys.stderr,
        )
    return exits.OK


@app.command
def version(
    *, output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table"
) -> int:
    """Show the version, the commit that it was built of, and the versions of its parts.

    Args:
        output: Form of the output.
    """
    from ownerd.server import about

    parts = about.parts()
    if output == "json":
        print(json_text(parts, ascii_only=True, indent=2))
    else:
        for name, value in parts.items():
            print(f"{name:13} {clean(value)}")
    return exits.OK


def _load_with_data(flags: Any, file: Path | None) -> config.Loaded:
    loaded = _load(flags, file)
    if not loaded.settings.data:
        raise exits.ConfigError(
            "no data directory is set; use --data DIR, the variable OWNERD_DATA, or data = "
            '"DIR" in the configuration file'
        )
    return loaded


def _load_node(flags: Any, file: Path | None) -> tuple[config.Settings, Any]:
    """Return the settings, and the node that they name."""
    settings = _load_with_data(flags, file).settings
    logs.configure("warning", settings.log_format)
    if not settings.cluster:
        raise exits.ConfigError("no cluster is set; use --cluster etcd://HOST:PORT,.../NAME")
    from ownerd.native import Clock
    from ownerd.server import cluster

    return settings, cluster.open_node(settings, Clock())


def _agreed(said: str, yes: bool) -> bool:
    """Say what ends, and ask; without a terminal only --yes is an agreement."""
    print(said, file=sys.stderr)
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise exits.ConfigError("that is asked on a terminal; say --yes")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _load(flags: Any, file: Path | None) -> config.Loaded:
    return config.load(dataclasses.asdict(flags), os.environ, file)


def _as_rows(loaded: config.Loaded) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": getattr(loaded.settings, name), "source": loaded.sources[name]}
        for name in config.KEYS
    }


def _print_table(loaded: config.Loaded) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for title in ("setting", "value", "from"):
        table.add_column(title, overflow="fold")
    for name in config.KEYS:
        value = config.spell(name, getattr(loaded.settings, name))
        table.add_row(name, *(Text(clean(text)) for text in (value, loaded.sources[name])))
    PipeConsole().print_table(table)


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit; whatever goes wrong is told in one line."""
    if streams.prepare():
        sys.stdout = _Closed()
    try:
        code = app(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        code = _complain(str(error), exits.USAGE)
    except exits.Stop as stop:
        code = _complain(str(stop), stop.exit_code)
    except KeyboardInterrupt:
        code = _complain("interrupted", exits.INTERRUPTED)
    except BrokenPipeError:
        # Its reader has seen enough; what is still buffered would fail once more at the end.
        code = _end_output()
    except OSError as error:
        code = _complain(f"failed: {_named(error)}", _end_output())
    except Exception as error:
        code = _defect(error)
    sys.exit(code if isinstance(code, int) else exits.OK)


def _complain(message: str, code: int) -> int:
    with suppress(OSError):
        print(f"ownerd: {clean(' '.join(message.split()))}", file=sys.stderr, flush=True)
    return code


def _named(error: OSError) -> str:
    """Say what the system said, and of which file."""
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


class _Closed(io.StringIO):
    """A stdout that is closed: a server needs none, and what prints fails."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "stdout is closed")


def _end_output() -> int:
    streams.drop(sys.stdout)
    return exits.FAILED


def _defect(error: Exception) -> int:
    if os.environ.get("OWNERD_DEBUG") == "1":
        traceback.print_exc()
    what = f"{type(error).__name__}: {error}"
    return _complain(f"internal error, {what} (OWNERD_DEBUG=1 shows where)", exits.FAILED)


if __name__ == "__main__":
    main()
