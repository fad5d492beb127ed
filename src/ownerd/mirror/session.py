"""A mirror as a command runs it: the database is opened, the table found, its row held and left."""

import sqlalchemy as sa
from sqlalchemy import exc

from ownerd.mirror.database import Database, told
from ownerd.mirror.faults import DatabaseFault
from ownerd.mirror.mirror import Mirror
from ownerd.mirror.position import Lease
from ownerd.mirror.source import Source
from ownerd.mirror.status import Teller
from ownerd.mirror.table import Names, Table, find_table


def mirror(
    source: Source,
    list_id: str,
    url: str,
    names: Names,
    teller: Teller,
    *,
    compare: bool,
    once: bool,
) -> None:
    """Keep a table as a list is, until an exception ends it, or once.

    Args:
        source: the list.
        list_id: its id.
        url: of the database, as SQLAlchemy has it.
        names: of the table and its columns.
        teller: is told how it goes.
        compare: whether to compare in any case.
        once: whether to return as soon as the table is in step.

    Raises:
        Away: The server does not answer; only at the begin, or with `once`.
        MirrorFault: It cannot be done.
    """
    engine = _engine(url)
    try:
        table = _table(engine, names)
        if not table.is_indexed:
            teller.say(
                f'no index of {table.full_name} begins with "{table.columns[0]}": each change reads'
                " the whole table"
            )
        database = Database(engine, teller.say)
        lease = Lease(database, table)
        position = lease.take(teller.say)
        try:
            follower = Mirror(source, database, table, lease, teller, list_id)
            follower.run(position, compare=compare, once=once)
        finally:
            lease.release()
    finally:
        engine.dispose()


def _engine(url: str) -> sa.Engine:
    try:
        return sa.create_engine(url, pool_pre_ping=True)
    except exc.NoSuchModuleError as error:
        raise DatabaseFault(
            "SQLAlchemy does not know this kind of database, or its dialect is not installed"
        ) from error
    except exc.ArgumentError as error:  # whose message may have the password
        raise DatabaseFault(
            "--to is no URL of SQLAlchemy's; one is such as"
            " postgresql+psycopg://user@host/contacts or sqlite:////var/lib/contacts.db"
        ) from error
    except ImportError as error:
        raise DatabaseFault(f"{error}; install the database's driver") from error


def _table(engine: sa.Engine, names: Names) -> Table:
    try:
        with engine.connect() as connection:
            return find_table(connection, names)
    except exc.DBAPIError as error:
        raise DatabaseFault(told(error)) from error
    except exc.SQLAlchemyError as error:
        raise DatabaseFault(str(error).splitlines()[0]) from error
