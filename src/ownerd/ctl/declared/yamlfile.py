"""Reads the file of a declared configuration: YAML, of which JSON is a part.

Every text is taken as it is spelled, so that the ids 007, no and 1e5 need no quotes. All that is
wrong is said at once, each with line and column.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ownerd import durations
from ownerd.ctl.declared import form
from ownerd.ctl.declared.form import Field, Fields, Grant, Kind, Section
from ownerd.ctl.terminal.exits import CtlError, Exit

MOST_BYTES = 64 << 20
MOST_FAULTS = 20
_FLAGS = dict.fromkeys(("true", "yes", "on"), True) | dict.fromkeys(("false", "no", "off"), False)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Thing:
    """One thing that a file declares, and where it does."""

    fields: Fields
    place: str = ""


@dataclass(frozen=True)
class Declared:
    """What a file declares: the things of each section that it has, by id."""

    sections: Mapping[str, Mapping[str, Thing]] = field(default_factory=dict)


class _Wrong(Exception):
    """What stands at a node is not what may stand there."""

    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.node = node


def read(text: str, name: str) -> Declared:
    """Return what a file declares.

    Args:
        text: the file.
        name: what it is called in messages.

    Raises:
        CtlError: INPUT_FILE; the message has a line for each fault.
    """
    return _Reader(name).read(text)


class _Reader:
    """Reads one file and collects what is wrong with it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._faults: list[str] = []

    def read(self, text: str) -> Declared:
        try:
            root = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            raise self._refused(
                [f"{self._name}{place}: {error.problem or error.context}"]
            ) from None
        except yaml.YAMLError as error:
            raise self._refused([f"{self._name}: {' '.join(str(error).split())}"]) from None
        except RecursionError:
            raise self._refused([f"{self._name}: it is nested too deeply"]) from None
        sections = {} if root is None or _is_empty(root) else self._sections(root)
        if self._faults:
            raise self._refused(self._faults)
        return Declared(sections)

    def _refused(self, faults: list[str]) -> CtlError:
        if len(faults) == 1:
            return CtlError(Exit.INPUT_FILE, faults[0])
        more = len(faults) - MOST_FAULTS
        lines = [*faults[:MOST_FAULTS], *([f"and {more} more"] if more > 0 else [])]
        found = f"{len(faults)} faults in {self._name}; nothing was changed"
        return CtlError(Exit.INPUT_FILE, found, lines)

    def _sections(self, root: Node) -> dict[str, dict[str, Thing]]:
        found: dict[str, dict[str, Thing]] = {}
        for key, node in self._members(root, "sections"):
            section = form.BY_NAME.get(key.value)
            if section is None:
                self._fault(key, _unknown("section", key.value, form.BY_NAME))
            elif not section.key_bytes:
                thing = self._attempt(self._thing, section, node, self._place(key))
                found[section.name] = {form.ONLY: thing} if thing else {}
            else:
                found[section.name] = self._things(section, node)
        return found

    def _things(self, section: Section, node: Node) -> dict[str, Thing]:
        found = {}
        for key, each in self._members(node, f"{section.noun}s by id"):
            self._attempt(_text, key, section.key_bytes)
            thing = self._attempt(self._thing, section, each, self._place(key))
            if thing is not None:
                found[key.value] = thing
        return found

    def _thing(self, section: Section, node: Node, place: str) -> Thing:
        if section.short and isinstance(node, ScalarNode) and not _is_empty(node):
            short = section.field(section.short)
            assert short is not None
            return Thing({section.short: _value(short, node)}, place)
        fields = {}
        for key, each in self._members(node, f"fields of a {section.noun}"):
            known = section.field(key.value)
            if known is None:
                names = [each.name for each in section.fields]
                self._fault(key, _unknown(f"field of a {section.noun}", key.value, names))
            elif known.kind is Kind.GRANTS:
                fields[known.name] = self._grants(each)
            else:
                fields[known.name] = self._attempt(_value, known, each)
        if form.SHARES in fields and len(fields) > 1:
            other = next(name for name in fields if name != form.SHARES)
            self._fault(
                node,
                f"a list that shares the ownership of another has its policy; leave {other} out",
            )
        return Thing(fields, place)

    def _grants(self, node: Node) -> tuple[Grant, ...]:
        if not isinstance(node, SequenceNode):
            self._fault(node, f"this is no list; it takes {Kind.GRANTS.value}")
            return ()
        found = [self._grant(each) for each in node.value]
        return tuple(sorted({each for each in found if each is not None}))

    def _grant(self, node: Node) -> Grant | None:
        if isinstance(node, ScalarNode):
            right = self._attempt(_value, form.GRANT_FIELDS[0], node)
            return None if right is None else Grant(right)
        values: dict[str, Any] = {}
        known = {each.name: each for each in form.GRANT_FIELDS}
        for key, each in self._members(node, "right, lists and campaigns"):
            if key.value not in known:
                self._fault(key, _unknown("field of a grant", key.value, known))
            else:
                values[key.value] = self._attempt(_value, known[key.value], each)
        if "right" not in values:
            self._fault(node, f"a grant has a right, one of {', '.join(form.RIGHTS)}")
            return None
        if values["right"] == "admin" and len(values) > 1:
            self._fault(node, "the right admin is for every list and campaign; name none")
        return None if None in values.values() else Grant(**values)

    def _members(self, node: Node, what: str) -> Iterator[tuple[ScalarNode, Node]]:
        """Yield the keys and values of a mapping, each key once."""
        if _is_empty(node):
            return
        if not isinstance(node, MappingNode):
            self._fault(node, f"this is no mapping; it takes {what}")
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._fault(key, "this is no text; it takes a name, or an id")
            elif key.value in seen:
                self._fault(key, f'"{key.value}" stands in line {seen[key.value]} already')
            else:
                seen[key.value] = key.start_mark.line + 1
                yield key, value

    def _attempt(self, read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except _Wrong as wrong:
            self._fault(wrong.node, str(wrong))
            return None

    def _fault(self, node: Node, message: str) -> None:
        self._faults.append(f"{self._place(node)}: {message}")

    def _place(self, node: Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and not node.style and node.value in ("", "~", "null")


def _unknown(what: str, word: str, names: Any) -> str:
    meant = difflib.get_close_matches(word, list(names), n=1)
    hint = f'did you mean "{meant[0]}"?' if meant else f"there are {', '.join(names)}"
    return f'"{word}" is no {what}; {hint}'


def _value(known: Field, node: Node) -> Any:
    """Return what stands at a node as the field's kind."""
    if known.kind is Kind.TEXTS:
        if not isinstance(node, SequenceNode):
            raise _Wrong(node, f"{known.name} takes {known.allowed}")
        return tuple(sorted({_one_of_several(known, each) for each in node.value}))
    if not isinstance(node, ScalarNode) or _is_empty(node):
        raise _Wrong(node, f"{known.name} takes {known.allowed}")
    return _READERS[known.kind](known, node)


def _one_of_several(known: Field, node: Node) -> str:
    found = _text(node, known.most_bytes)
    if known.prefixes and not any(
        found.startswith(each) and found != each for each in known.prefixes
    ):
        raise _Wrong(node, f'"{found}" begins with none of {", ".join(known.prefixes)}')
    return found


def _text(node: Node, most_bytes: int) -> str:
    if not isinstance(node, ScalarNode):
        raise _Wrong(node, "this is no text")
    length = len(str(node.value).encode(errors="surrogatepass"))
    if not 0 < length <= most_bytes:
        raise _Wrong(node, f"this has {length} bytes; 1 to {most_bytes} are allowed")
    return str(node.value)


def _flag(known: Field, node: ScalarNode) -> bool:
    if node.value.lower() not in _FLAGS:
        raise _Wrong(node, f'{known.name} is "{node.value}"; it takes {known.allowed}')
    return _FLAGS[node.value.lower()]


def _length(known: Field, node: ScalarNode) -> int | None:
    if known.word and node.value.lower() == known.word:
        return None
    try:
        return durations.parse(node.value)
    except durations.DurationError as error:
        word = f", or say {known.word}" if known.word else ""
        raise _Wrong(node, f"{known.name}: {error}{word}") from None


def _choice(known: Field, node: ScalarNode) -> str:
    if node.value not in known.choices:
        raise _Wrong(node, f'{known.name} is "{node.value}"; it takes {known.allowed}')
    return str(node.value)


def _count(known: Field, node: ScalarNode) -> int:
    text = node.value.replace("_", "")
    if not (text.isascii() and text.isdecimal() and int(text) <= known.most):
        most = f" up to {known.most:,}" if known.most else ""
        raise _Wrong(node, f'{known.name} is "{node.value}"; it takes {known.allowed}{most}')
    return int(text)


_READERS: Mapping[Kind, Callable[[Field, ScalarNode], Any]] = {
    Kind.FLAG: _flag,
    Kind.LENGTH: _length,
    Kind.CHOICE: _choice,
    Kind.COUNT: _count,
    Kind.TEXT: lambda known, node: _text(node, known.most_bytes),
}
