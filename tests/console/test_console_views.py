"""What the console's pages say, without a browser and without a server."""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter
from types import SimpleNamespace
from typing import Any

import pytest

from ownerd import console
from ownerd.api.reasons import REASONS
from ownerd.client import (
    Activity,
    AttemptRejected,
    AuditEntry,
    ContactList,
    DurationChanged,
    Holder,
    HoldKind,
    Owner,
    Owners,
    OwnershipReleased,
    OwnershipTransferred,
    Policy,
    PolicySaved,
    RecordChanged,
    Refusal,
    Revision,
)
from ownerd.console import kept, words
from ownerd.console.counts import CountBook
from ownerd.console.kept import Kept
from ownerd.console.texts import LANGUAGES, TEXTS
from ownerd.console.views import audit, charts, lists, policy, record
from ownerd.console.views.history import Feed
from ownerd.console.views.lists import ListsQuery
from ownerd.console.views.owners import campaign_of, owners_view
from ownerd.console.views.policy import FormError, PolicyForm
from ownerd.console.words import Name, Names, Words, language_of, link, zone_of
from ownerd.ctl.connect.words import COMMANDS as RPCS

HERE = Path(console.__file__).parent
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NO_POLICY = Policy()
ENGLISH, GERMAN = Words("en", "Europe/Berlin"), Words("de", "Europe/Berlin")


# ---- the catalogue, and how values are read


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_has_the_same_gaps_in_every_language(key: str) -> None:
    texts = TEXTS[key]
    assert len(texts) == len(LANGUAGES) and all(texts)
    assert len({frozenset(placeholders(text)) for text in texts}) == 1
    if key.endswith(".one"):
        many = placeholders(TEXTS[key.removesuffix(".one")][0])
        assert placeholders(texts[0]) <= many and "n" in many


def test_every_text_is_used_and_every_text_that_is_used_is_there() -> None:
    sources = "".join(
        path.read_text()
        for end in ("py", "html")
        for path in HERE.rglob(f"*.{end}")
        if path.name != "texts.py"
    )
    quoted = set(re.findall(r"""["']([a-z_0-9]+(?:\.[A-Za-z_0-9]+)*)["']""", sources))
    # Some are put together of a part and a value.
    begun = set(re.findall(r"""["']([a-z_.]+\.)(?:["']|\{)""", sources)) | {"why.", "record.free."}
    for key in TEXTS:
        stem = key.removesuffix(".one").removesuffix(".uncounted")
        if stem.count(".") > 1:  # else it is the whole of a text
            stem = stem.removesuffix(".never")
        is_begun = any(key.startswith(start) for start in begun)
        assert stem in quoted or is_begun, f"{key} is said nowhere"
    for said in re.findall(r"""\b(?:t|text|say|html)\(\s*["']([a-z_.]+)["']""", sources):
        assert said in TEXTS or said.endswith("."), said


def test_times_are_in_the_readers_zone_and_say_which() -> None:
    assert ENGLISH.time(NOW) == "1 Jul 2026, 14:00:00 CEST"
    assert GERMAN.time(NOW, seconds=False) == "01.07.2026, 14:00 CEST"
    assert Words("en", "America/Sao_Paulo").time(NOW).endswith("09:00:00 UTC-03")
    for wrong in ("Nowhere/City", "../../etc/passwd", "/etc/localtime", "", None, "x" * 500):
        assert zone_of(wrong).key == "UTC"


def test_numbers_and_lengths_are_as_the_language_has_them() -> None:
    assert (ENGLISH.count(1_234_567), GERMAN.count(1_234_567)) == ("1,234,567", "1.234.567")
    assert (ENGLISH.percent(0.0001), GERMAN.percent(0.5)) == ("< 0.1%", "50,0 %")
    assert ENGLISH.length(timedelta(days=2, hours=3)) == "2 days 3 hours"
    assert GERMAN.length(timedelta(days=1, seconds=1)) == "1 Tag 1 Sekunde"
    assert ENGLISH.length(None) == "No expiration"
    assert ENGLISH.from_now(NOW + timedelta(days=2, hours=3, minutes=4), NOW) == "in 2 d 3 h"
    assert GERMAN.from_now(NOW - timedelta(minutes=5), NOW) == "vor 5 min"


def test_a_name_that_somebody_chose_is_no_html_and_shows_what_is_in_it() -> None:
    said = ENGLISH.html("record.owned", campaign=Name('<script>"x"</script>'))
    assert "<script>" not in said and "&lt;script&gt;" in said
    assert "\u202e" not in ENGLISH.name("a\u202eb") and "\\u202e" in ENGLISH.name("a\u202eb")
    assert str(ENGLISH.marked(Names(("a<", "b")))).count("<bdi") == 2
    assert ENGLISH.text("transfer.from", campaign="{n} %s") == "From {n} %s"


def test_the_language_is_the_chosen_one_else_the_browsers() -> None:
    assert language_of("de", "en") == "de"
    assert language_of("xx", "fr-FR,de-AT;q=0.9,en;q=0.8") == "de"
    assert language_of(None, "") == "en"


def test_an_address_has_ids_of_any_kind() -> None:
    assert link("/list", id="a/b?c&d=ü", page=None) == "/list?id=a%2Fb%3Fc%26d%3D%C3%BC"


# ---- contact lists


def contact_list(list_id: str, policy: Policy = NO_POLICY) -> ContactList:
    return ContactList(list_id, policy, "1", None, None, None)


def owners(owned: int, reserved: int = 0, **asked: int) -> Owners:
    names = (each for each in Activity.__dataclass_fields__ if each.endswith("_count"))
    activity = Activity(
        campaign_id="spring",
        denied_by_campaign_id="summer",
        called_twice={},
        **{name: asked.get(name.removesuffix("_count"), 0) for name in names},
    )
    holding = Owner("spring", "Spring", owned, reserved, NOW)
    return Owners((holding,), owned, reserved, 1, NOW, (activity,))


@pytest.fixture
def counted() -> CountBook:
    book = CountBook()
    for list_id, owned in (("b", 5), ("C", 50)):
        book.add(list_id, owners(owned, granted_claim=100), 10.0)
        book.add(list_id, owners(owned, granted_claim=100 + owned, denied_claim=owned * 2), 20.0)
    return book


LISTS = [
    contact_list("a"),
    contact_list("b", Policy(True, DAY)),
    contact_list("C", Policy(True, 2 * DAY)),
]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (ListsQuery(), "Cab"),
        (ListsQuery(descending=True), "baC"),
        (ListsQuery(sort="enabled", descending=True), "Cba"),
        (ListsQuery(sort="duration"), "bCa"),
        (ListsQuery(sort="owned", descending=True), "Cba"),
        (ListsQuery(sort="owned"), "bCa"),
        (ListsQuery(sort="denied", descending=True), "Cba"),
        (ListsQuery(search="c"), "C"),
        (ListsQuery(search="zz"), ""),
    ],
)
def test_lists_are_searched_and_sorted_and_those_not_counted_come_last(
    counted: CountBook, query: ListsQuery, shown: str
) -> None:
    view = lists.lists_view(LISTS, counted, query)
    ids = [row.list_id for row in view.rows]
    if query.sort == "enabled":
        ids[:2] = sorted(ids[:2])
    assert "".join(ids) == shown
    assert view.is_counting is (query.is_counted)


def test_a_list_shows_what_happens_a_second(counted: CountBook) -> None:
    row = next(
        row for row in lists.lists_view(LISTS, counted, ListsQuery()).rows if row.owned == 50
    )
    assert (row.granted_per_s, row.denied_per_s) == (5.0, 10.0)
    unknown = next(
        row for row in lists.lists_view(LISTS, counted, ListsQuery()).rows if row.list_id == "a"
    )
    assert (unknown.owned, unknown.granted_per_s) == (None, None)


def test_a_restart_of_the_server_makes_no_negative_rate(counted: CountBook) -> None:
    counted.add("b", owners(5, granted_claim=1), 30.0)
    assert counted.rates("b") is None
    counted.add("b", owners(5, granted_claim=21), 40.0)
    assert counted.rates("b").granted == 2.0


def test_a_rate_is_taken_over_some_seconds_however_often_one_looks() -> None:
    book = CountBook(span_s=3.0)
    book.follow("a")
    for tenth in range(101):  # 100 claims a second, told in a burst at each whole second
        book.add("a", owners(0, granted_claim=tenth // 10 * 100), tenth / 10)
    assert book.rates("a").granted == pytest.approx(100, rel=0.35)
    assert all(rates.granted == pytest.approx(100, rel=0.35) for rates in book.history("a"))


def test_ten_thousand_lists_are_pages_of_fifty() -> None:
    many = [contact_list(f"list-{number:05}") for number in range(10_000)]
    view = lists.lists_view(many, CountBook(), ListsQuery(page=999_999))
    assert (view.pages, view.page, view.rows[-1].list_id) == (200, 200, "list-09999")
    given = {"sort": "owned", "page": "3", "q": " x "}
    query = lists.read_query(lambda name, default: given.get(name, default))
    assert query == ListsQuery("x", "owned", True, 3)
    given = {"sort": "<script>", "page": "-1"}
    query = lists.read_query(lambda name, default: given.get(name, default))
    assert query == ListsQuery()


# ---- who owns


def test_campaigns_show_their_share_and_who_denies_them() -> None:
    found = owners(30, 2, denied_claim=4)
    other = Owner("autumn", "Autumn", 10, 0, None)
    found = Owners((*found.owners, other), 40, 2, 1, NOW, found.activity)
    view = owners_view(found, {"summer": "Summer Upgrade"})
    first, second = view.rows
    assert (first.campaign_id, first.share, first.denied) == ("spring", 0.75, 4)
    assert first.denied_by == "Summer Upgrade"
    assert (second.name, second.earliest, view.owning) == ("Autumn", None, 2)


def test_a_campaign_that_holds_nothing_is_shown_where_it_was_denied() -> None:
    found = Owners((), 0, 0, 1, NOW, owners(0, denied_claim=3).activity)
    (row,) = owners_view(found, {}).rows
    assert (row.owned, row.share, row.denied) == (0, 0.0, 3)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("spring", "spring"), ("Spring renewals", "spring"), ("Twice", "Twice"), ("new", "new")],
)
def test_a_campaign_is_named_by_its_id_or_its_name(typed: str, meant: str) -> None:
    names = {"spring": "Spring Renewals", "a": "Twice", "b": "Twice"}
    assert campaign_of(typed, names) == meant


# ---- configuration

BEFORE = Policy(True, 5 * DAY, None, timedelta(minutes=15))


def typed(**fields: object) -> PolicyForm:
    form = policy.form_of(BEFORE)
    return PolicyForm(
        **{**{name: getattr(form, name) for name in form.__dataclass_fields__}, **fields}
    )


def test_two_days_and_three_hours_are_that() -> None:
    after = policy.policy_of(typed(days="2", hours="3"), BEFORE)
    assert after == Policy(True, timedelta(days=2, hours=3), None, timedelta(minutes=15))
    assert policy.changes(BEFORE, after) == {"duration": timedelta(days=2, hours=3)}


def test_a_form_that_nobody_touched_changes_nothing() -> None:
    for odd in (
        BEFORE,
        Policy(False, None, timedelta(0), timedelta(seconds=1)),
        Policy(True, timedelta(days=1, minutes=5, seconds=7, microseconds=250), 3 * DAY),
    ):
        assert policy.changes(odd, policy.policy_of(policy.form_of(odd), odd)) == {}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"days": "two"}, "days"),
        ({"days": "-1"}, "days"),
        ({"days": "0", "hours": "0"}, "days"),
        ({"days": "", "hours": ""}, "days"),
        ({"days": "36526"}, "days"),
        ({"days": "99999999999999999999"}, "days"),
        ({"hours": "1.5"}, "hours"),
        ({"renewal": "soon"}, "renewal"),
        ({"renewal": "40000d"}, "renewal"),
        ({"reservation": "0s"}, "reservation"),
        ({"reservation": "900000000h"}, "reservation"),
    ],
)
def test_r14_what_cannot_be_is_refused_at_its_field(fields: dict[str, str], wrong: str) -> None:
    with pytest.raises(FormError) as refused:
        policy.policy_of(typed(**fields), BEFORE)
    assert refused.value.field == wrong
    assert ENGLISH.said_plain(refused.value.what) and GERMAN.said_plain(refused.value.what)


def effect(after: Policy, owned: int | None = 1_234, shortened: int | None = None) -> str:
    said = policy.effects(BEFORE, after, owned, shortened, NOW)
    return " ".join(map(ENGLISH.said_plain, said))


def test_r12_a_shorter_duration_says_when_every_ownership_will_end() -> None:
    said = effect(Policy(True, DAY, None, BEFORE.reservation_ttl), shortened=1_000)
    assert "1,234 records are owned now" in said and "1 day after you save" in said
    assert "2 Jul 2026, 14:00:00 CEST" in said and "For 1,000 of them that is sooner" in said


def test_r12_a_longer_duration_shortens_none() -> None:
    said = effect(Policy(True, 9 * DAY, None, BEFORE.reservation_ttl), shortened=0)
    assert "9 days after you save" in said and "For none of them" in said


def test_r12_no_expiration_says_so_and_nothing_owned_moves_nothing() -> None:
    never = Policy(True, None, None, BEFORE.reservation_ttl)
    assert "without end, until they are released" in effect(never)
    assert effect(never, owned=0).endswith("No record is owned now, so no expiration moves.")
    assert "Every ownership that there is" in effect(never, owned=None)


def test_what_is_saved_says_how_long_an_ownership_lasts() -> None:
    days = timedelta(days=2, hours=3)
    for before, said in ((Policy(False), "record owns it"), (BEFORE, "comes to own is then owned")):
        for duration, length in ((days, "for 2 days 3 hours."), (None, "without end, until it is")):
            after = Policy(True, duration, None, BEFORE.reservation_ttl)
            effects = policy.effects(before, after, 0, None, NOW)
            if before.duration != duration or not before.enabled:
                first = ENGLISH.said_plain(effects[0])
                assert said in first and length in first and len(effects) == 2


def test_r13_disabling_says_that_ownership_stays() -> None:
    said = effect(Policy(False, 5 * DAY, None, BEFORE.reservation_ttl), owned=1)
    assert said.startswith("1 record stays with its campaign")
    assert "Nothing new is owned or reserved" in said


def test_what_moves_no_expiration_says_that() -> None:
    said = effect(Policy(True, 5 * DAY, timedelta(hours=2), timedelta(minutes=5)))
    assert "No expiration moves: 1,234 owned records stay as they are." in said
    assert "renewal window" in said and "reservation time" in said


def test_two_versions_differ_where_they_do() -> None:
    theirs = Policy(False, None, None, timedelta(minutes=15))
    found = policy.differences(theirs, BEFORE)
    labels = [each.label.key for each in found]
    assert labels == ["policy.enable", "policy.duration"]


# ---- one record

OWNED = Holder(HoldKind.OWNED, "spring", "Spring", NOW - DAY, NOW + 2 * DAY)
RESERVED = Holder(
    HoldKind.RESERVED,
    "spring",
    "Spring",
    NOW,
    NOW + timedelta(minutes=9),
    "line-1",
    NOW + timedelta(minutes=9),
)
LISTED = {"summer": "Summer", "spring": "Spring"}


@pytest.mark.parametrize(
    ("holder", "asking", "why"),
    [
        (
            OWNED,
            "summer",
            "Summer is denied because Spring made a valid attempt on this record first",
        ),
        (RESERVED, "summer", "Summer is denied because Spring is dialing this record now"),
        (OWNED, "spring", "Spring owns this record and may dial it."),
        (RESERVED, "spring", "but its dialer line-1 is dialing it"),
        (None, "summer", "Nobody holds this record, so Summer may dial it now."),
        (
            Holder(HoldKind.OWNED, "", "", None, NOW + DAY),
            "summer",
            "because another campaign holds",
        ),
    ],
)
def test_a_record_says_why_a_campaign_was_denied(
    holder: Holder | None, asking: str, why: str
) -> None:
    view = record.record_view(holder, Policy(True), asking, LISTED, NOW)
    assert view.why is not None and why in ENGLISH.said_plain(view.why)
    assert GERMAN.said(view.why)


def test_a_record_says_until_when() -> None:
    view = record.record_view(OWNED, Policy(True), "", {}, NOW)
    assert ENGLISH.said_plain(view.headline) == "Spring owns this record."
    assert ENGLISH.said_plain(view.until).endswith(
        "denied until 3 Jul 2026, 14:00:00 CEST, in 2 d."
    )
    assert view.owner_id == "spring"
    endless = Holder(HoldKind.OWNED, "spring", "Spring", NOW, None)
    view = record.record_view(endless, Policy(True), "", {}, NOW)
    assert "until it is released" in ENGLISH.said_plain(view.until)
    free = record.record_view(None, Policy(False), "", {}, NOW)
    assert "disabled for this list" in ENGLISH.said_plain(free.until) and not free.owner_id


def entry(action: str, detail: str = "{}", refusal: Refusal = Refusal.NONE) -> AuditEntry:
    return AuditEntry(1, NOW, "p", "", action, "L", (), "why", "", 3, 1, detail, refusal, ())


def test_what_happened_to_a_record_is_what_touches_it() -> None:
    entries = [
        entry("ReleaseOwnership"),
        entry("ReleaseRecords", '{"record_count":1,"record_ids":["42"]}'),
        entry("ReleaseRecords", '{"record_count":1,"record_ids":["7"]}'),
        entry("ReleaseRecords", '{"record_count":9000,"record_ids":["7"]}'),
        entry("ReleaseOwnership", refusal=Refusal.PERMISSION_DENIED),
        entry("CreatePrincipal"),
    ]
    keys = [event.what.key for event in record.audit_events(entries, "42", {})]
    assert keys == ["event.released.all", "action.ReleaseRecords", "action.ReleaseRecords"]


def test_what_was_done_to_a_list_says_to_whose_records() -> None:
    released = replace(entry("ReleaseOwnership"), campaign_ids=("spring", "autumn"))
    moved = replace(entry("TransferOwnership"), campaign_ids=("spring", "summer"))
    said = [
        ENGLISH.said_plain(each.what)
        for each in record.audit_events([released, moved], "42", LISTED)
    ]
    assert said == [
        "Ownership of Spring and autumn in the list was released",
        "Ownership of Spring went to Summer",
    ]


def test_the_feed_tells_what_happened_to_one_record() -> None:
    other = RecordChanged("L", "7", OWNED)
    wide = OwnershipReleased("L", NOW, "spring", False)
    events = (
        other,
        RecordChanged("L", "42", RESERVED),
        RecordChanged("L", "42", OWNED),
        RecordChanged("L", "42", Holder(HoldKind.OWNED, "spring", "Spring", NOW, None)),
        AttemptRejected("L", "42", "summer", "Summer", OWNED, NOW - DAY, "L"),
        RecordChanged("L", "42", None),
        wide,
        OwnershipTransferred("L", NOW, "spring", "summer", "Summer"),
        DurationChanged("L", NOW, DAY),
        DurationChanged("L", NOW, None),
        PolicySaved("L", Policy(True)),
    )
    revision = Revision(9, "ab", NOW, events)
    told = [*Feed("42", with_list_wide=True).events(revision)]
    assert [event.what.key for event in told] == [
        "event.reserved",
        "event.owned",
        "event.owned.never",
        "event.rejected",
        "event.free",
        "event.released",
        "event.transferred",
        "event.duration",
        "event.duration.never",
    ]
    assert told[3].time == NOW - DAY
    for event in told:
        assert ENGLISH.said(event.what) and GERMAN.said(event.what)
    assert len([*Feed("42", with_list_wide=False).events(revision)]) == 5


def test_a_dial_by_the_owner_is_none_that_makes_an_owner() -> None:
    feed = Feed("42", with_list_wide=False)
    dialed = replace(OWNED, reserved_until=NOW + timedelta(minutes=9))
    again = replace(OWNED, acquire_time=NOW)
    told = [
        feed_event.what.key
        for number, holder in enumerate((dialed, OWNED, dialed, OWNED, RESERVED, again, OWNED))
        for feed_event in feed.events(
            Revision(number, "ab", NOW, (RecordChanged("L", "42", holder),))
        )
    ]
    dial = ["event.reserved", "event.kept"]
    assert told == [*dial, *dial, "event.reserved", "event.owned", "event.owned"]


class Told:
    """A server whose feed is a few revisions of one record."""

    revisions = tuple(
        Revision(number, "ab", NOW, (RecordChanged("L", "42", holder),))
        for number, holder in enumerate((RESERVED, OWNED, None), 1)
    )

    async def status(self) -> SimpleNamespace:
        return SimpleNamespace(oldest_revision=0, revision=3, incarnation_id="ab")

    async def watch(self, _lists: object, *, from_revision: int, **_: object) -> Any:
        for each in self.revisions[from_revision:]:
            yield each


def test_what_is_not_read_yet_is_read_with_the_next_look(monkeypatch: Any) -> None:
    async def look(seen: Kept) -> int:
        await seen.read_on(Told())
        return len(seen.events)

    async def looks() -> None:
        seen = Kept("L", "42", with_list_wide=False)
        monkeypatch.setattr(kept, "LONGEST_S", -1.0)
        assert (await look(seen), seen.is_behind, seen.is_short) == (1, True, False)
        monkeypatch.undo()
        assert (await look(seen), seen.is_behind, seen.is_short) == (3, False, False)

    asyncio.run(looks())


# ---- activity


def test_charts_add_lists_up_and_leave_a_restart_out() -> None:
    book = CountBook()
    for list_id in ("a", "b"):
        book.follow(list_id)
        for at_s, granted in ((0.0, 0), (5.0, 50), (10.0, 150), (15.0, 0), (20.0, 10)):
            book.add(list_id, owners(0, granted_claim=granted), at_s)
    steps = charts.summed(book.histories(), 20.0)
    assert [rates.granted for _, rates in steps] == [20.0, 40.0, 4.0]
    chart = charts.chart_of("chart.claims", charts.CLAIMS, steps)
    granted = chart.lines[0]
    assert (granted.latest, granted.highest, chart.top) == (4.0, 40.0, 50.0)
    assert granted.points.split()[-1].startswith("600.0,") and not chart.is_empty
    assert charts.chart_of("chart.claims", charts.CLAIMS, []).is_empty


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.5, 1), (1.1, 2), (24, 25), (40, 50), (99, 100), (1_001, 2_000)]
)
def test_an_axis_ends_with_a_round_number(highest: float, top: float) -> None:
    assert charts.nice_top(highest) == top


def test_releases_are_bars_of_a_minute() -> None:
    found = charts.releases([entry("ReleaseOwnership"), entry("ImportOwnership")], NOW)
    assert (found.total, found.bars[-1].count) == (3, 3)


def test_followed_lists_are_few_and_the_last_ones() -> None:
    book = CountBook()
    for number in range(100):
        book.follow(str(number))
    assert len(book.followed) < 30 and book.followed[-1] == "99"
    book.add("99", owners(1), 1.0)
    book.forget(["98"])
    assert book.latest("99") is None


def test_an_entry_shows_what_differs_before_and_after() -> None:
    facts = audit.facts_of(
        '{"before":{"enabled":false,"x":1},"after":{"enabled":true,"x":1},"n":2}'
    )
    assert facts == (("n", "2"), ("enabled", "false → true"))
    created = '{"principal":{"principal_id":"anna","grants":[],"calls_per_s":5}}'
    assert audit.facts_of(created) == (("principal_id", "anna"), ("calls_per_s", "5"))
    assert audit.facts_of('{"before":null,"after":{"name":"Spring"}}') == (("name", "Spring"),)
    assert audit.audit_rows([entry("CreatePrincipal", created)])[0].subject == "anna"
    assert audit.facts_of("no json") == (("detail", "no json"),)
    assert audit.facts_of("") == ()


@pytest.mark.parametrize("reason", REASONS)
def test_no_page_names_a_call_of_the_api(reason: str) -> None:
    for text in REASONS[reason][1]:
        said = words.for_people(text)
        assert said and text.startswith(said)
        assert not re.search("|".join(RPCS), said)
        assert said == text or re.search("|".join(RPCS), text)
