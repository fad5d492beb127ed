"""The table that is mirrored into: where it is, which columns are ours, and its statements.

Names are found in any letter case. Nothing is asked of the database that SQLAlchemy Core does not
say in every dialect. The conditions on time are those of the rules: an ownership is alive while the
time is before its expiration (R2), and what is over is not touched, but may stand.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector

from ownerd.mirror.codecs import Instants, Keys, Texts, instants_of, keys_of, texts_of
from ownerd.mirror.faults import TableFault

KEY: Final = "ownerd_key"  # names of parameters, which no column may have
OWNER: Final = "ownerd_owner"
NAME: Final = "ownerd_name"
EXPIRATION: Final = "ownerd_expiration"


@dataclass(frozen=True)
class Names:
    """What table and columns are called, in any letter case."""

    table: str
    key: str = "i3_identity"
    owner: str = "i3_campaignownerid"
    name: str = "i3_campaignownername"
    expiration: str = "i3_campaignownerexpiration"

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """The four columns."""
        return self.key, self.owner, self.name, self.expiration


@dataclass(frozen=True)
class Table:
    """A table with four columns of ours among its others."""

    schema: str | None
    name: str
    columns: tuple[str, str, str, str]
    keys: Keys
    owners: Texts
    owner_names: Texts
    expirations: Instants
    is_indexed: bool = True

    @property
    def full_name(self) -> str:
        """The table's name, with its schema."""
        return f"{self.schema}.{self.name}" if self.schema else self.name

    @cached_property
    def _table(self) -> sa.TableClause:
        types = (self.keys.type_, self.owners.type_, self.owner_names.type_, self.expirations.type_)
        columns = [sa.column(*each) for each in zip(self.columns, types, strict=True)]
        return sa.table(self.name, *columns, schema=self.schema)

    def _columns(self) -> Sequence[sa.ColumnElement[Any]]:
        return [self._table.c[name] for name in self.columns]

    def _rows(self) -> Any:
        """Select our columns, as the driver has them."""
        # What somebody wrote by hand may be of no type at all.
        raw = [sa.type_coerce(column, sa.types.NullType()) for column in self._columns()]
        return sa.select(*raw)

    def rows_of(self, keys: Iterable[int | str]) -> sa.Executable:
        """Select the rows with one of some keys."""
        found: sa.Executable = self._rows().where(self._columns()[0].in_(list(keys)))
        return found

    def rows_from(self, key: int | str | None, count: int) -> sa.Executable:
        """Select rows in the order of their keys, from one on (None: the first)."""
        column = self._columns()[0]
        beyond = column.is_not(None) if key is None else column >= key
        found: sa.Executable = self._rows().where(beyond).order_by(column).limit(count)
        return found

    @cached_property
    def update_row(self) -> sa.Update:
        """Set the three columns of a row; parameters are KEY, OWNER, NAME and EXPIRATION."""
        key, owner, name, expiration = self._columns()
        return (
            sa.update(self._table)
            .where(key == sa.bindparam(KEY, type_=key.type))
            .values(
                {
                    owner: sa.bindparam(OWNER, type_=owner.type),
                    name: sa.bindparam(NAME, type_=name.type),
                    expiration: sa.bindparam(EXPIRATION, type_=expiration.type),
                }
            )
        )

    def release(self, time_ns: int, campaign_id: str) -> sa.Update:
        """End what is alive of a campaign, or of all (""): what may just be over ends with it."""
        _, owner, name, expiration = self._columns()
        alive = self._alive(time_ns)
        whose = alive if not campaign_id else sa.and_(alive, owner == self._owner(campaign_id))
        return (
            sa.update(self._table).where(whose).values({owner: None, name: None, expiration: None})
        )

    def expire(self, time_ns: int, expire_ns: int | None) -> sa.Update:
        """Let everything end at one instant that is surely alive at `time_ns`."""
        _, _, _, expiration = self._columns()
        # Of what was rounded up to here one cannot tell: `doubtful`.
        beyond = self.expirations.write(time_ns)
        return (
            sa.update(self._table)
            .where(self._lasts(expiration, beyond))
            .values({expiration: self._instant(self.expirations.write(expire_ns))})
        )

    def doubtful(self, time_ns: int) -> sa.Executable:
        """Select what may be alive at `time_ns` or just over."""
        _, owner, _, expiration = self._columns()
        at = self._instant(self.expirations.write(time_ns))
        found: sa.Executable = self._rows().where(owner.is_not(None), expiration == at)
        return found

    def transfer(self, time_ns: int, from_id: str, to_id: str, to_name: str) -> sa.Update:
        """Give all that is alive of one campaign to another."""
        _, owner, name, _ = self._columns()
        return (
            sa.update(self._table)
            .where(self._alive(time_ns), owner == self._owner(from_id))
            .values({owner: self._owner(to_id), name: self._name(to_name)})
        )

    def rename(self, campaign_id: str, campaign_name: str) -> sa.Update:
        """Give a campaign's rows its new name."""
        _, owner, name, _ = self._columns()
        return (
            sa.update(self._table)
            .where(owner == self._owner(campaign_id))
            .values({name: self._name(campaign_name)})
        )

    def _alive(self, time_ns: int) -> sa.ColumnElement[bool]:
        _, _, _, expiration = self._columns()
        return self._lasts(expiration, self.expirations.write_floor(time_ns))

    def _lasts(self, expiration: sa.ColumnElement[Any], written: Any) -> sa.ColumnElement[bool]:
        _, owner, _, _ = self._columns()
        later = sa.or_(expiration.is_(None), expiration > self._instant(written))
        return sa.and_(owner.is_not(None), later)

    def _owner(self, campaign_id: str) -> sa.BindParameter[Any]:
        return sa.literal(self.owners.write(campaign_id), self.owners.type_)

    def _name(self, campaign_name: str) -> sa.BindParameter[Any]:
        return sa.literal(self.owner_names.write(campaign_name), self.owner_names.type_)

    def _instant(self, written: Any) -> sa.BindParameter[Any]:
        return sa.literal(written, self.expirations.type_)


def find_table(connection: sa.Connection, names: Names) -> Table:
    """Return the table that is meant.

    Raises:
        TableFault: It is not there, or lacks a column, or one is not fit.
    """
    inspector = sa.inspect(connection)
    schema, name = _find(inspector, names.table)
    found = inspector.get_columns(name, schema)
    columns = [_find_column(found, wanted, name) for wanted in names.columns]
    key, owner, owner_name, expiration = ((each["name"], each["type"]) for each in columns)
    spelled = (key[0], owner[0], owner_name[0], expiration[0])
    if len(set(spelled)) < len(spelled):
        raise TableFault("key, owner, name and expiration need columns of their own")
    return Table(
        schema,
        name,
        spelled,
        keys_of(*key),
        texts_of(*owner, is_name=False),
        texts_of(*owner_name, is_name=True),
        instants_of(*expiration, connection.dialect.name),
        _is_indexed(inspector, schema, name, key[0]),
    )


def _find(inspector: Inspector, table: str) -> tuple[str | None, str]:
    """Return schema and name as the database spells them; a name may have dots in it."""
    if found := _spelled(table, inspector.get_table_names()):
        return None, found
    schema, dot, name = table.rpartition(".")
    if dot:
        spelled = _spelled(schema, inspector.get_schema_names())
        if spelled and (found := _spelled(name, inspector.get_table_names(spelled))):
            return spelled, found
    raise TableFault(f'there is no table "{table}" in the database; name one, or SCHEMA.TABLE')


def _find_column(found: Sequence[ReflectedColumn], wanted: str, table: str) -> ReflectedColumn:
    by_name = {column["name"]: column for column in found}
    spelled = _spelled(wanted, by_name)
    if spelled is None:
        there = ", ".join(by_name)
        there = there if len(there) <= 200 else f"{there[:200]} ..."
        raise TableFault(f'table "{table}" has no column "{wanted}"; it has: {there}')
    return by_name[spelled]


def _spelled(wanted: str, names: Iterable[str]) -> str | None:
    """Return the name as it is spelled, else one in any letter case."""
    known = list(names)
    if wanted in known:
        return wanted
    return next((name for name in known if name.casefold() == wanted.casefold()), None)


def _is_indexed(inspector: Inspector, schema: str | None, name: str, key: str) -> bool:
    """Say whether rows are found by their key; True where the database does not tell."""
    try:
        leading = [
            inspector.get_pk_constraint(name, schema)["constrained_columns"][:1],
            *(each["column_names"][:1] for each in inspector.get_indexes(name, schema)),
            *(each["column_names"][:1] for each in inspector.get_unique_constraints(name, schema)),
        ]
    except (exc.SQLAlchemyError, NotImplementedError):
        return True
    return [key] in leading
