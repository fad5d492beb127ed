"""What is packaged beside the code: pages of the manual, and files for the machine's own services.

`pages` are Markdown, shown as such to a pipe and laid out at a terminal. The files of `contrib` are
written out once, with the path of this program in them.
"""

import difflib
import os
import shutil
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from rich.markdown import Markdown

from ownerd.consoles import PipeConsole
from ownerd.server import exits

PROGRAM = "@OWNERD@"

# What the unit's ProtectHome and PrivateTmp hide from it.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")


def pages() -> list[str]:
    """Return the names of the pages."""
    return sorted(each.name.removesuffix(".md") for each in _folder("docs"))


def show(name: str) -> None:
    """Print a page; for "" the names of all, with what each is about.

    Raises:
        exits.ConfigError: there is no such page.
    """
    found = {each.name.removesuffix(".md"): each for each in _folder("docs")}
    if not name:
        for each in sorted(found):
            print(f"{each:12} {_title(found[each])}")
        return
    if name not in found:
        meant = difflib.get_close_matches(name, found, n=1)
        hint = f'did you mean "{meant[0]}"?' if meant else f"there are {', '.join(sorted(found))}"
        raise exits.ConfigError(f'there is no page "{name}"; {hint}')
    text = found[name].read_text(encoding="utf-8")
    if sys.stdout.isatty():
        PipeConsole().print(Markdown(text))
    else:
        print(text, end="")


def _title(page: Traversable) -> str:
    return page.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")


def write_contrib(directory: Path, *, replace: bool = False) -> list[Path]:
    """Write the files for other services into a directory; return where they are.

    Raises:
        exits.ConfigError: one is there already, or cannot be written.
    """
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for each in _folder("contrib"):
            path = directory / each.name
            if path.exists() and not replace:
                raise exits.ConfigError(f"{path} exists, and is left as it is; say --replace")
            path.write_text(
                each.read_text(encoding="utf-8").replace(PROGRAM, _program()), encoding="utf-8"
            )
            written.append(path)
    except OSError as error:
        raise exits.ConfigError(
            f"cannot write {error.filename or directory}: {error.strerror or error}"
        ) from None
    return written


def hidden_program() -> str:
    """Return what a service needs of this installation and cannot reach; "" if it can all."""
    for path in (_program(), os.path.realpath(sys.executable)):
        if path.startswith(tuple(f"{hidden}/" for hidden in _HIDDEN)):
            return path
    return ""


def _program() -> str:
    """Return the absolute path of `ownerd`, as installed."""
    beside = Path(sys.executable).with_name("ownerd")
    found = str(beside) if beside.exists() else shutil.which("ownerd") or str(beside)
    return os.path.abspath(found)


def _folder(name: str) -> list[Traversable]:
    folder = resources.files("ownerd") / name
    return sorted((each for each in folder.iterdir() if each.is_file()), key=lambda each: each.name)
