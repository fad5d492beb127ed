"""What a server would have to change to be as a file says. Pure: no call is made here.

What the file does not name stays: fields, things, sections. Only with `prune` are the things of a
section that the file has, and does not name, deleted.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ownerd.ctl.declared import form
from ownerd.ctl.declared.form import Fields, Section
from ownerd.ctl.declared.yamlfile import Declared, Thing
from ownerd.ctl.terminal.exits import CtlError, Exit

Action = Literal["create", "update", "delete"]


@dataclass(frozen=True)
class Found:
    """One thing as the server has it."""

    fields: Fields
    etag: str = ""
    group: tuple[str, ...] = ()  # the lists that share its ownership, itself included
    token_count: int = 0


State = Mapping[str, Mapping[str, Found]]


@dataclass(frozen=True)
class Change:
    """One thing that is made, changed or deleted.

    Attributes:
        before: the fields that change as they are; of a deletion, all.
        after: the same as they will be.
        found: the thing as it is; None: it is made.
        place: where the file declares it.
    """

    section: Section
    thing_id: str
    action: Action
    before: Fields
    after: Fields
    found: Found | None = None
    place: str = ""

    @property
    def title(self) -> str:
        """What it is about, in words."""
        if not self.section.key_bytes:
            return self.section.noun
        return f"{self.section.noun} {self.thing_id}"


def changes(
    declared: Declared, found: State, *, prune: bool = False, spare: Collection[str] = ()
) -> list[Change]:
    """Return what has to change, in the order in which it can be done.

    Args:
        declared: the file.
        found: what the server has, of the sections of the file.
        prune: whether what the file does not name is deleted.
        spare: principals that are never deleted.

    Raises:
        CtlError: FAILED_PRECONDITION, the file wants what cannot be had.
    """
    made: list[Change] = []
    for section in form.SECTIONS:
        things = declared.sections.get(section.name, {})
        there = found.get(section.name, {})
        if section is form.LISTS:
            _check_groups(things, there)
            things = {name: things[name] for name in _givers_first(things)}
        for thing_id, thing in things.items():
            change = _change(section, thing_id, thing, there.get(thing_id))
            if change is not None:
                made.append(change)
    return made + (_deletions(declared, found, spare) if prune else [])


def _change(section: Section, thing_id: str, thing: Thing, found: Found | None) -> Change | None:
    if found is None:
        return Change(section, thing_id, "create", {}, thing.fields, None, thing.place)
    fields = {name: value for name, value in thing.fields.items() if name != form.SHARES}
    after = {name: value for name, value in fields.items() if found.fields.get(name) != value}
    if not after:
        return None
    before = {name: found.fields.get(name) for name in after}
    return Change(section, thing_id, "update", before, after, found, thing.place)


def _deletions(declared: Declared, found: State, spare: Collection[str]) -> list[Change]:
    """Return what goes, in the opposite order: who may do something before what it is done to."""
    gone = []
    for section in reversed(form.SECTIONS):
        if not section.key_bytes or section.name not in declared.sections:
            continue
        for thing_id, each in found.get(section.name, {}).items():
            spared = section is form.PRINCIPALS and thing_id in spare
            if thing_id not in declared.sections[section.name] and not spared:
                gone.append(Change(section, thing_id, "delete", each.fields, {}, each))
    return gone


def _check_groups(things: Mapping[str, Thing], there: Mapping[str, Found]) -> None:
    """Refuse what the lists of a group, which have one policy and stay together, cannot have."""
    wanted: dict[tuple[str, ...], tuple[str, Thing]] = {}
    for name, thing in things.items():
        found = there.get(name)
        if found is None:
            continue
        other = thing.fields.get(form.SHARES)
        if other is not None and other not in found.group:
            raise CtlError(
                Exit.FAILED_PRECONDITION,
                f"{thing.place}: list {name} exists and does not share the ownership of {other};"
                " which lists share is decided when they are made, and for good",
            )
        if len(found.group) < 2 or other is not None:
            continue
        first, before = wanted.setdefault(found.group, (name, thing))
        for field, value in thing.fields.items():
            if before.fields.get(field, value) != value:
                raise CtlError(
                    Exit.FAILED_PRECONDITION,
                    f"{thing.place}: lists {first} and {name} share one policy, and the file gives"
                    f" them two values of {field}; name it once",
                )


def _givers_first(things: Mapping[str, Thing]) -> Iterable[str]:
    """Return the lists so that each comes after the one whose ownership it shares."""
    ordered: dict[str, None] = {}
    for name in things:
        chain = [name]
        while (other := things[chain[-1]].fields.get(form.SHARES)) in things:
            if other in chain:
                raise CtlError(
                    Exit.FAILED_PRECONDITION,
                    f"{things[name].place}: lists {' and '.join(chain)} share the ownership of each"
                    " other; one of them has a policy, and the others share its ownership",
                )
            chain.append(str(other))
        ordered.update(dict.fromkeys(reversed(chain)))
    return ordered
