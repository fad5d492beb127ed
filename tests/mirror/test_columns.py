"""Columns as databases have them: found in any letter case, of several types, in every dialect."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from mirrored import Mirrored, Story, StorySource
from sqlalchemy.dialects import mssql, mysql, oracle, postgresql, sqlite
from subject import HOUR, MS, SECOND, Row

from ownerd.mirror.codecs import UNREADABLE, Keys, Texts, instants_of, keys_of, texts_of
from ownerd.mirror.faults import TableFault
from ownerd.mirror.position import _positions
from ownerd.mirror.table import Names, Table, find_table

NOW_NS = 1_800_000_000_123_456_789
DIALECTS = {
    "mssql": mssql.dialect(),
    "oracle": oracle.dialect(),
    "postgresql": postgresql.dialect(),
    "sqlite": sqlite.dialect(),
    "mysql": mysql.dialect(),
}


@pytest.fixture
def base(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'contacts.db'}")
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("dialect", "type_", "precision_ns"),
    [
        ("postgresql", postgresql.TIMESTAMP(), 1_000),
        ("postgresql", postgresql.TIMESTAMP(precision=0), SECOND),
        ("postgresql", postgresql.TIMESTAMP(precision=3, timezone=True), MS),
        ("sqlite", sqlite.DATETIME(), 1_000),
        ("mssql", mssql.DATETIME(), 10 * MS),
        ("mssql", mssql.SMALLDATETIME(), 60 * SECOND),
        ("mssql", mssql.DATETIME2(), 1_000),
        ("mssql", mssql.DATETIME2(precision=2), 10 * MS),
        ("mssql", mssql.DATETIMEOFFSET(), 1_000),
        ("oracle", oracle.DATE(), SECOND),
        ("oracle", oracle.TIMESTAMP(), 1_000),
        ("mysql", mysql.DATETIME(), SECOND),
        ("mysql", mysql.DATETIME(fsp=6), 1_000),
        ("sqlite", sa.TEXT(), 1_000),
    ],
    ids=str,
)
def test_expirations_are_rounded_up_to_what_their_column_keeps(
    dialect: str, type_: Any, precision_ns: int
) -> None:
    instants = instants_of("c", type_, dialect)
    assert instants.precision_ns == precision_ns
    rounded_ns = instants.rounded_up(NOW_NS)
    assert 0 <= rounded_ns - NOW_NS < precision_ns and instants.rounded_up(rounded_ns) == rounded_ns
    assert instants.read(instants.write(NOW_NS)) == rounded_ns
    assert instants.write(None) is None and instants.read(None) is None


def test_times_without_a_zone_are_utc_and_those_with_one_are_aware() -> None:
    plain = instants_of("c", sa.DateTime(), "postgresql").write(NOW_NS)
    assert plain == datetime(2027, 1, 15, 8, 0, 0, 123457)
    for type_, dialect in (
        (sa.DateTime(timezone=True), "postgresql"),
        (mssql.DATETIMEOFFSET(), "mssql"),
    ):
        assert instants_of("c", type_, dialect).write(NOW_NS) == plain.replace(tzinfo=UTC)
    text = instants_of("c", sa.String(30), "sqlite")
    assert text.write(NOW_NS) == "2027-01-15T08:00:00.123457Z"
    assert text.read("2027-01-15T09:00:00+01:00") == 1_800_000_000 * SECOND
    assert text.read("soon") is UNREADABLE and text.read(7) is UNREADABLE


def test_a_column_that_is_not_fit_is_refused_by_its_name() -> None:
    for make, type_ in (
        (keys_of, sa.DateTime()),
        (keys_of, sa.Numeric(10, 2)),
        (lambda name, type_: texts_of(name, type_, is_name=False), sa.Integer()),
        (lambda name, type_: instants_of(name, type_, "sqlite"), sa.Date()),
        (lambda name, type_: instants_of(name, type_, "sqlite"), sa.Integer()),
        (lambda name, type_: instants_of(name, type_, "sqlite"), sa.String(20)),
    ):
        with pytest.raises(TableFault, match='column "c"'):
            make("c", type_)


def test_a_number_is_the_key_of_the_record_that_is_written_like_it() -> None:
    numbers = keys_of("c", sa.Integer())
    assert numbers.write("42") == 42 and numbers.write("-7") == -7
    for none in ("042", "4.2", "", "+1", "spring", "9223372036854775808", "\u0664\u0662"):
        assert numbers.write(none) is None
    assert numbers.read(Decimal("42")) == numbers.read(42.0) == numbers.read(42) == "42"
    assert numbers.read(Decimal("4.2")) == "4.2" and numbers.read(float("nan")) == "nan"
    texts = keys_of("c", sa.CHAR(8))
    assert texts.write("42") == "42" and texts.read("42      ") == "42"
    assert texts.write("a\x00b") is None
    assert isinstance(texts, Keys)


def test_a_name_that_is_too_long_is_cut_and_an_id_is_refused() -> None:
    names = texts_of("c", sa.String(6), is_name=True)
    assert names.write("Spring Renewals") == "Spring" and names.write("a\x00b") == "ab"
    ids = texts_of("c", sa.String(6), is_name=False)
    assert isinstance(ids, Texts) and ids.write("spring") == "spring"
    with pytest.raises(TableFault, match="takes 6 characters"):
        ids.write("summer2")


def test_table_and_columns_are_found_in_any_letter_case(base: sa.Engine) -> None:
    Mirrored(base, "Contacts")
    with base.connect() as connection:
        table = find_table(connection, Names("CONTACTS", key="i3_IDENTITY"))
        assert (table.name, table.columns[:2]) == (
            "Contacts",
            ("I3_Identity", "I3_CampaignOwnerID"),
        )
        with pytest.raises(TableFault, match='no table "contact"'):
            find_table(connection, Names("contact"))
        with pytest.raises(TableFault, match=r'no column "phone"; it has: I3_Identity, note'):
            find_table(connection, Names("contacts", owner="phone"))
        with pytest.raises(TableFault, match="columns of their own"):
            find_table(connection, Names("contacts", name="I3_CampaignOwnerId"))


def test_a_table_in_a_schema_is_found(postgresql) -> None:
    engine = sa.create_engine(postgresql.url)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema("Floor"))
        connection.exec_driver_sql(
            'CREATE TABLE "Floor".list (i3_identity int, i3_campaignownerid text,'
            " i3_campaignownername text, i3_campaignownerexpiration timestamptz)"
        )
        table = find_table(connection, Names("floor.LIST"))
    assert (table.full_name, table.is_indexed) == ("Floor.list", False)
    engine.dispose()


@pytest.mark.parametrize("key", ["VARCHAR(40) PRIMARY KEY", "CHAR(40) PRIMARY KEY", "NUMERIC(19)"])
@pytest.mark.parametrize("expiration", ["TIMESTAMP WITH TIME ZONE", "VARCHAR(40)", "TIMESTAMP(0)"])
def test_it_follows_whatever_the_columns_are_of(postgresql, key: str, expiration: str) -> None:
    engine = sa.create_engine(postgresql.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS typed")
        connection.exec_driver_sql("DROP TABLE IF EXISTS ownerd_mirror")
    mirrored = Mirrored(engine, "typed", key=key, owner="CHAR(80)", expiration=expiration)
    chance = random.Random(3)
    story = Story(records=8)
    mirrored.fill(story.record_ids)
    source = StorySource(story)
    for compare in (False, False, True):
        for _ in range(20):
            story.something(chance)
        mirrored.run(source, compare=compare)
        alive = mirrored.alive(story.model.time_ns)
        stripped = {
            name.strip(): owned._replace(campaign_id=owned.campaign_id.strip())
            for name, owned in alive.items()
        }
        exact_ns = mirrored.table.expirations
        assert stripped == {
            row.record_id: (
                row.campaign_id,
                row.name,
                None if row.expire_ns is None else exact_ns.rounded_up(row.expire_ns),
            )
            for row in story.model.owned("customers")
        }
    engine.dispose()


def test_a_duration_asks_of_rows_that_end_within_the_columns_precision(postgresql) -> None:
    engine = sa.create_engine(postgresql.url)
    mirrored = Mirrored(engine, "coarse", expiration="TIMESTAMP(0)")
    story = Story()
    mirrored.fill(story.record_ids)
    second_ns = (story.model.time_ns // SECOND + 10) * SECOND
    story.load(
        [
            Row("1", "spring", expire_ns=second_ns + 200 * MS),  # is over by then
            Row("2", "spring", expire_ns=second_ns + 700 * MS),
            Row("3", "spring", expire_ns=second_ns + 2 * SECOND),
            Row("4", "spring", expire_ns=second_ns),
            Row("5", "spring", expire_ns=None),
            Row("6", "spring", expire_ns=second_ns + 700 * MS),
        ]
    )
    source = StorySource(story)
    mirrored.run(source)
    story.advance(second_ns + 500 * MS - story.model.time_ns)
    story.set_duration(2 * HOUR)
    story.release_records("6")
    mirrored.run(source)
    mirrored.check(story)
    assert sorted(source.asked) == ["1", "2", "6"]
    assert set(mirrored.alive(story.model.time_ns)) == {"2", "3", "5"}
    engine.dispose()


def test_keys_that_are_there_twice_or_not_at_all_are_compared_like_others(
    base: sa.Engine, monkeypatch
) -> None:
    monkeypatch.setattr("ownerd.mirror.comparison.ROW_COUNT", 10)
    mirrored = Mirrored(base, "contacts", key="BIGINT")
    story = Story(records=40)
    mirrored.fill(story.record_ids)
    mirrored.sql(f"INSERT INTO TABLE (I3_Identity) VALUES {','.join(['(1)'] * 25)}")
    mirrored.sql("INSERT INTO TABLE (I3_Identity) VALUES (NULL), (NULL)")
    for record_id in story.record_ids[:10]:
        story.attempt(record_id, "spring")
    status = mirrored.run(StorySource(story))
    owned = mirrored.sql(
        "SELECT I3_Identity, count(*) FROM TABLE WHERE I3_CampaignOwnerID = 'spring' GROUP BY 1"
    )
    assert sorted(owned) == [(key, 26 if key == 1 else 1) for key in range(10)]
    assert status.missing_count == 0
    last = "(SELECT max(rowid) FROM TABLE WHERE I3_Identity = 1)"
    mirrored.sql(f"UPDATE TABLE SET I3_CampaignOwnerID = 'autumn' WHERE rowid = {last}")
    assert mirrored.run(StorySource(story), compare=True).mended_count == 1
    mirrored.check(story)
    story.release_records("1", "2")
    mirrored.run(StorySource(story))
    assert mirrored.sql("SELECT count(*) FROM TABLE WHERE I3_CampaignOwnerID IS NOT NULL") == [(8,)]


def test_a_table_of_several_steps_is_compared_as_a_whole(base: sa.Engine, monkeypatch) -> None:
    monkeypatch.setattr("ownerd.mirror.comparison.ROW_COUNT", 10)
    mirrored = Mirrored(base, "contacts")
    story = Story(records=230)
    mirrored.fill(story.record_ids[10:])
    story.load([Row(each, "spring") for each in story.record_ids[::2]])
    status = mirrored.run(StorySource(story))
    mirrored.check(story)
    assert (status.compared_count, status.mended_count, status.missing_count) == (220, 110, 5)


def table_of(dialect: str) -> Table:
    expiration = {"mssql": mssql.DATETIME(), "oracle": oracle.DATE(), "mysql": mysql.DATETIME()}
    return Table(
        "dbo",
        "Contacts",
        ("I3_IDENTITY", "I3_campaignownerid", "I3_campaignownername", "I3_campaignownerexpiration"),
        keys_of("k", sa.BigInteger()),
        texts_of("o", sa.VARCHAR(80), is_name=False),
        texts_of("n", sa.VARCHAR(80), is_name=True),
        instants_of("e", expiration.get(dialect, sa.DateTime()), dialect),
    )


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_statement_is_one_that_each_dialect_has(dialect: str) -> None:
    table = table_of(dialect)
    statements = [
        table.rows_of([1, 2, 3]),
        table.rows_from(None, 1000),
        table.rows_from(7, 1000),
        table.update_row,
        table.release(NOW_NS, ""),
        table.release(NOW_NS, "spring"),
        table.expire(NOW_NS, NOW_NS + HOUR),
        table.expire(NOW_NS, None),
        table.doubtful(NOW_NS),
        table.transfer(NOW_NS, "spring", "summer", "Summer"),
        table.rename("spring", "Spring"),
    ]
    texts = [" ".join(str(each.compile(dialect=DIALECTS[dialect])).split()) for each in statements]
    for text in texts:
        assert text.startswith(("SELECT", "UPDATE"))
        assert not any(word in text for word in ("RETURNING", "OUTPUT", "ON CONFLICT", "CAST"))
    limit = {"mssql": "TOP", "oracle": "FETCH FIRST"}.get(dialect, "LIMIT")
    assert limit in texts[1] and "ORDER BY" in texts[1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_table_of_positions_can_be_made_in_each_dialect(dialect: str) -> None:
    statement = sa.schema.CreateTable(_positions("dbo"))
    text = " ".join(str(statement.compile(dialect=DIALECTS[dialect])).split())
    assert "ownerd_mirror" in text and "PRIMARY KEY (mirrored)" in text


def test_a_release_says_what_the_rules_do_in_the_words_of_sql_server() -> None:
    table = table_of("mssql")
    found = table.release(NOW_NS, "spring").compile(dialect=DIALECTS["mssql"])
    assert " ".join(str(found).split()) == (
        "UPDATE dbo.[Contacts] SET [I3_campaignownerid]=:I3_campaignownerid,"
        " [I3_campaignownername]=:I3_campaignownername,"
        " [I3_campaignownerexpiration]=:I3_campaignownerexpiration"
        " WHERE dbo.[Contacts].[I3_campaignownerid] IS NOT NULL AND"
        " (dbo.[Contacts].[I3_campaignownerexpiration] IS NULL OR"
        " dbo.[Contacts].[I3_campaignownerexpiration] > :param_1) AND"
        " dbo.[Contacts].[I3_campaignownerid] = :param_2"
    )
