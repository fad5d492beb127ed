"""The program `ownerd`: serve, demo, config, verify, admin-token.

Every failure is one line on stderr that says what to do, and an exit code of its own
(`ownerd.server.exits`):

    0  done; serve was asked to stop and answered every call that it had taken
    1  the job failed, or serve ended before every call was answered
    2  a flag, a variable or the configuration file is wrong
    3  another server uses the data directory
    4  the store cannot be opened, or the storage failed while serving
    5  an address is in use or cannot be listened on
    6  verify found damage
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

# gRPC's own lines about an address in use would stand beside ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

import ownerd
from ownerd.server import config, exits, logs

_EXIT_CODES = "\n".join(f"- {code}: {meaning}" for code, meaning in exits.MEANINGS.items())

app = App(
    name="ownerd",
    help="The referee for outbound campaigns that share a contact list: one record, one owner.",
    help_epilogue=f"Exit codes:\n\n{_EXIT_CODES}",
    help_format="markdown",
    version=ownerd.__version__,
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)
app.register_install_completion_command()


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
    )
    return key.name, Annotated[kind, about], None


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


@app.command
def serve(*, flags: Flags = _NO_FLAGS, config: ConfigFile = None) -> int:
    """Serve dialers and administrators until SIGTERM or SIGINT.

    A first signal drains: health says NOT_SERVING, new calls are refused with UNAVAILABLE, calls in
    flight are answered. A second one stops at once.
    """
    loaded = _load(flags, config)
    if not loaded.settings.data:
        raise exits.ConfigError(
            "no data directory is set; use --data DIR, the variable OWNERD_DATA, or data = "
            '"DIR" in the configuration file'
        )
    logs.configure(loaded.settings.log_level, loaded.settings.log_format)
    # Imported here so that the other commands start fast and work without a store.
    try:
        from ownerd.server import app
    except ImportError as error:
        raise exits.StoreFailed(f"this installation cannot serve: {error}") from None
    return app.serve(loaded.settings)


@app.command
def demo(
    contacts: Path | None = None,
    *,
    keep: Annotated[bool, Parameter(negative=())] = False,
    seconds: Annotated[float, Parameter(validator=Number(gt=0, lte=3_600))] = 10.0,
    campaigns: Annotated[int, Parameter(validator=Number(gte=2, lte=20))] = 3,
) -> int:
    """Run the whole thing once: a server, campaigns dialing one contact list, and a check.

    Args:
        contacts: CSV file with a header and a column i3_identity; without it, a made-up list.
        keep: Leave the store, the contacts and the logs in place and say where.
        seconds: How long the campaigns dial.
        campaigns: How many campaigns dial at once, 2 to 20.
    """
    from ownerd.demo.main import run

    return run(contacts, keep=keep, seconds=seconds, campaigns=campaigns)


@app.command(name="config")
def show_config(
    *,
    flags: Flags = _NO_FLAGS,
    config: ConfigFile = None,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table",
) -> int:
    """Print the settings in force and where each comes from; checks them on the way.

    Args:
        output: Form of the output.
    """
    loaded = _load(flags, config)
    if output == "json":
        print(json.dumps(_as_rows(loaded), indent=2))
    else:
        _print_table(loaded)
    return exits.OK


@app.command
def verify(data: Path) -> int:
    """Check a store that no server has open and say whether it is sound.

    Every row's checksum is checked. Exit code 6 and a line that says what is damaged, if any is.

    Args:
        data: Directory of the store.
    """
    from ownerd.server import verify

    return verify.check(str(data))


@app.command(name="admin-token")
def admin_token(*, flags: Flags = _NO_FLAGS, config: ConfigFile = None) -> int:
    """Make a new token for the principal `admin` of a store that no server has open.

    For when the tokens of every administrator are lost. The principal gets every right; the token
    is written to admin.token in the data directory, readable by its owner only. Of the tokens that
    it had the newest stays valid.
    """
    loaded = _load(flags, config)
    if not (Path(loaded.settings.data) / "records").is_dir():
        raise exits.ConfigError(f"there is no store in {loaded.settings.data or 'data'!r}")
    logs.configure("warning", loaded.settings.log_format)
    from ownerd.server import app

    print(f"written to {app.renew_admin(loaded.settings)}")
    return exits.OK


def _load(flags: Any, file: Path | None) -> config.Loaded:
    return config.load(dataclasses.asdict(flags), os.environ, file)


def _as_rows(loaded: config.Loaded) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": getattr(loaded.settings, name), "source": loaded.sources[name]}
        for name in config.KEYS
    }


def _print_table(loaded: config.Loaded) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("setting", "value", "from")
    for name in config.KEYS:
        value = config.spell(name, getattr(loaded.settings, name))
        table.add_row(name, value, loaded.sources[name])
    Console().print(table)


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit; never shows a traceback for what the user can mend."""
    try:
        code = app(arguments)
    except CycloptsError as error:
        code = _complain(str(error), exits.USAGE)
    except exits.Stop as stop:
        code = _complain(str(stop), stop.exit_code)
    except KeyboardInterrupt:
        code = exits.FAILED
    sys.exit(code if isinstance(code, int) else exits.OK)


def _complain(message: str, code: int) -> int:
    print(f"ownerd: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
