"""Databases of the mirror's tests: SQLite in a file, and a PostgreSQL for the whole run."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest
import sqlalchemy as sa
from mirrored import Mirrored

_tables = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Postgres]:
    """A PostgreSQL server; a test that stops it starts it again."""
    if why := postgres.missing():
        pytest.skip(why)
    server = postgres.Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """Each kind of database in turn."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'contacts.db'}"
    else:
        url = request.getfixturevalue("postgresql").url
    made = sa.create_engine(url)
    yield made
    made.dispose()


@pytest.fixture
def mirrored(engine: sa.Engine) -> Mirrored:
    """A table of contacts, without rows."""
    return Mirrored(engine, f"Contacts_{next(_tables)}")
