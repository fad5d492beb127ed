"""Where contexts are kept: one JSON file of the user's, written as a whole.

Invariants: the file has mode 0600 and its directory 0700 when they are made here; a reader sees the
file before a change or after it; there is no token in it, only where one comes from.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ownerd import files
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.outfiles import written

GROUP_OR_OTHERS_MAY_WRITE = 0o022


class Context(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A server under a name: where it is, how it is reached, and where the token comes from."""

    server: str = ""
    dial: str = ""
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""
    token_file: str = ""
    token_env: str = ""
    token_command: tuple[str, ...] = ()


class Contexts(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All contexts by name, and the one in use; empty for none."""

    current: str = ""
    contexts: dict[str, Context] = msgspec.field(default_factory=dict)

    def get(self, name: str) -> Context:
        """Return a context.

        Raises:
            CtlError: USAGE, there is none of that name.
        """
        if name in self.contexts:
            return self.contexts[name]
        known = ", ".join(sorted(self.contexts)) or "none"
        raise CtlError(Exit.USAGE, f'there is no context "{name}"; there are: {known}')


def path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the file is: in $XDG_CONFIG_HOME, by default ~/.config."""
    home = environment.get("XDG_CONFIG_HOME", "")
    directory = Path(home) if os.path.isabs(home) else Path.home() / ".config"
    return directory / "ownerd" / "contexts.json"


def load() -> Contexts:
    """Return the contexts; none where there is no file.

    Raises:
        CtlError: USAGE, the file cannot be read or is broken.
    """
    file = path()
    try:
        return msgspec.json.decode(file.read_bytes(), type=Contexts)
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise CtlError(Exit.USAGE, f"cannot read {file}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CtlError(Exit.USAGE, f"{file} is broken ({error}); mend or remove it") from error


def save(contexts: Contexts) -> None:
    """Put the contexts in the place of those that are there.

    Raises:
        CtlError: OUTPUT_FILE; the file is as it was.
    """
    file = path()
    content = msgspec.json.format(msgspec.json.encode(contexts), indent=2) + b"\n"
    with written(file):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Through a link, rather than in its place.
        with files.replacing(file.resolve(), private=True) as text:
            text.write(content.decode())


def complaint() -> str:
    """Say what is wrong with the modes of the file; empty for nothing.

    Whoever can write it can have this user run a command.
    """
    file = path()
    try:
        mode = file.stat().st_mode
    except OSError:
        return ""
    if mode & GROUP_OR_OTHERS_MAY_WRITE:
        return f"{file} can be changed by others; chmod 600 {file}"
    return ""
