"""Plain values as YAML of printable characters, which any YAML reader takes for the same values."""

from collections.abc import Mapping
from typing import Any

import yaml
from yaml.nodes import ScalarNode


class _Dumper(yaml.SafeDumper):
    """Writes each value where it stands, and texts so that a terminal has nothing to obey."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def yaml_text(
    value: Mapping[str, Any] | list[Any], *, ascii_only: bool = False, leaves_inline: bool = False
) -> str:
    """Return a value as YAML.

    Args:
        value: mappings, lists, texts, numbers, bools and None.
        ascii_only: for an output that takes no other characters.
        leaves_inline: whether what holds no mapping and no list stands in one line.
    """
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        allow_unicode=not ascii_only,
        sort_keys=False,
        width=1 << 30,
        default_flow_style=None if leaves_inline else False,
    )
    # What is not printable stands between double quotes, where it may be spelled out.
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"
