"""Texts that anyone may have chosen, as a terminal may be given them.

Ids and names come from callers, and a terminal obeys control characters. What is not printable is
spelled out instead; in JSON that changes no value. Pure functions.
"""

import json
import re
from collections.abc import Callable
from typing import Any

# What JSON leaves as it is, and is no printable character: more than a terminal obeys.
_RAW = re.compile(r"[^\x20-\x7e]")


def clean(text: str) -> str:
    """Return the text with what is not printable spelled out, as Python would."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_text(
    value: Any,
    *,
    ascii_only: bool = False,
    indent: int | None = None,
    default: Callable[[Any], Any] | None = None,
) -> str:
    """Return a value as JSON of printable characters, and line ends where it is indented.

    Args:
        value: what to write.
        ascii_only: for an output that takes no others.
        indent: blanks for each level; None: all in one line.
        default: what writes a value that JSON does not know.
    """
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent, default=default)
    return text if ascii_only else "\n".join(map(_printable_line, text.split("\n")))


def _printable_line(line: str) -> str:
    return line if line.isprintable() else _RAW.sub(_escaped, line)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]
