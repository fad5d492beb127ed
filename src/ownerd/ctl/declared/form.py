"""The form of a declared configuration: its sections, the fields of each, and what a field takes.

The one table that the file is read by, written by and documented from. A thing of a section is a
mapping of fields to plain values: bools, ints (lengths in nanoseconds), texts, sorted tuples of
texts and of `Grant`; None where a length has a word in its place. A field that is not there is not
declared: it stays as it is, and has the server's default where the thing is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from ownerd import durations, limits


class Grant(msgspec.Struct, frozen=True, order=True):
    """A right, and the patterns of lists and campaigns that it is for; none: every one."""

    right: str
    lists: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()


class Kind(Enum):
    """What a field holds."""

    FLAG = "true or false"
    LENGTH = "a length such as 2d3h"
    TEXT = "a text"
    CHOICE = "one of some words"
    TEXTS = "a list of texts"
    COUNT = "a whole number, 0 or more"
    GRANTS = "a list of grants: right, and where it is not for all of them, lists and campaigns"


Value = Any
Fields = Mapping[str, Value]


@dataclass(frozen=True)
class Field:
    """One field of a thing.

    Attributes:
        name: as the file has it.
        kind: what it holds.
        about: what it is for, one line.
        word: what the file has for a length that is None.
        most_bytes: of a text, or of each of several.
        choices: the words that it may be.
        prefixes: what each text begins with one of.
        most: how large a count may be.
    """

    name: str
    kind: Kind
    about: str
    word: str = ""
    most_bytes: int = 0
    choices: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    most: int = 0

    @property
    def allowed(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.prefixes:
            return f"{self.kind.value}, each beginning with one of {', '.join(self.prefixes)}"
        return f"{self.kind.value}, or {self.word}" if self.word else self.kind.value


@dataclass(frozen=True)
class Section:
    """Things of one kind, by their ids.

    Attributes:
        name: its key in the file.
        noun: what one of them is called.
        key_bytes: the most that an id has; 0: there is one thing only, without an id.
        fields: what each has.
        short: the field that a text alone in the place of a thing stands for.
    """

    name: str
    noun: str
    key_bytes: int
    fields: tuple[Field, ...]
    short: str = ""

    def field(self, name: str) -> Field | None:
        """Return the field of a name, or None."""
        return next((each for each in self.fields if each.name == name), None)


RIGHTS = ("dial", "view", "configure", "ownership_control", "admin")
NAME_KINDS = ("DNS:", "URI:", "email:", "IP:")
GRANT_FIELDS = (
    Field("right", Kind.CHOICE, "What is allowed.", choices=RIGHTS),
    Field(
        "lists",
        Kind.TEXTS,
        "Patterns of lists; without: every one.",
        most_bytes=limits.LIST_ID_BYTES,
    ),
    Field(
        "campaigns",
        Kind.TEXTS,
        "Patterns of campaigns; without: every one.",
        most_bytes=limits.CAMPAIGN_ID_BYTES,
    ),
)
SHARES = "shares_ownership_with"
ONLY = "store"  # the id of what is there once

SETTINGS = Section(
    "settings",
    "settings",
    0,
    (
        Field(
            "unknown_wrap_up_code",
            Kind.CHOICE,
            "What an attempt with an unknown wrap-up code is.",
            choices=("refuse", "attempt", "no-attempt"),
        ),
    ),
)
CODES = Section(
    "wrapup_codes",
    "wrap-up code",
    limits.WRAP_UP_CODE_BYTES,
    (
        Field(
            "category",
            Kind.TEXT,
            "The shipped code that it is a kind of.",
            most_bytes=limits.CATEGORY_BYTES,
        ),
        Field("counts_as_attempt", Kind.FLAG, "Whether it makes the caller the owner."),
        Field("success", Kind.FLAG, "Whether the contact was reached."),
    ),
    short="category",
)
LISTS = Section(
    "lists",
    "list",
    limits.LIST_ID_BYTES,
    (
        Field(
            SHARES,
            Kind.TEXT,
            "A list whose policy and ownership it shares, for good; goes with no other field.",
            most_bytes=limits.LIST_ID_BYTES,
        ),
        Field("enabled", Kind.FLAG, "Whether campaigns can come to own records."),
        Field("duration", Kind.LENGTH, "How long ownership lasts.", word="never"),
        Field(
            "renewal_window",
            Kind.LENGTH,
            "An attempt by the owner renews what has no more left; default: a tenth of duration.",
            word="default",
        ),
        Field("reservation_ttl", Kind.LENGTH, "How long a claim keeps a record during the dial."),
    ),
)
CAMPAIGNS = Section(
    "campaigns",
    "campaign",
    limits.CAMPAIGN_ID_BYTES,
    (Field("name", Kind.TEXT, "What people call it.", most_bytes=limits.CAMPAIGN_NAME_BYTES),),
    short="name",
)
PRINCIPALS = Section(
    "principals",
    "principal",
    limits.PRINCIPAL_ID_BYTES,
    (
        Field("grants", Kind.GRANTS, "What it may do."),
        Field("hide_holders", Kind.FLAG, "Whether it is told kind and end of a hold only."),
        Field(
            "certificate_names",
            Kind.TEXTS,
            "Names in client certificates that stand for it.",
            most_bytes=limits.CERTIFICATE_NAME_BYTES,
            prefixes=NAME_KINDS,
        ),
        Field("calls_per_s", Kind.COUNT, "Most calls a second; 0: any.", most=limits.RATE_PER_S),
        Field(
            "records_per_s", Kind.COUNT, "Most records a second; 0: any.", most=limits.RATE_PER_S
        ),
    ),
)
# In the order in which changes are made: what comes later may name what comes before.
SECTIONS = (SETTINGS, CODES, LISTS, CAMPAIGNS, PRINCIPALS)
BY_NAME = {section.name: section for section in SECTIONS}


def spelled(field: Field, value: Value) -> Any:
    """Return a field's value as the file has it."""
    if field.kind is Kind.LENGTH:
        return field.word if value is None else durations.format(value)
    if field.kind is Kind.TEXTS:
        return list(value)
    if field.kind is Kind.GRANTS:
        return [_grant(each) for each in value]
    return value


def _grant(grant: Grant) -> dict[str, Any]:
    patterns = {"lists": list(grant.lists), "campaigns": list(grant.campaigns)}
    return {"right": grant.right, **{key: value for key, value in patterns.items() if value}}


def spelled_thing(section: Section, fields: Fields) -> dict[str, Any]:
    """Return a thing as the file has it, its fields in the section's order."""
    return {
        field.name: spelled(field, fields[field.name])
        for field in section.fields
        if field.name in fields
    }
