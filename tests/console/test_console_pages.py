"""Each flow of the supervisors' page in a browser, against a real server with what campaigns do."""

import csv
import io
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from console_page import ConsoleThread
from door import Door
from harness import poll

from ownerd.client import Client, Grant, Policy, Right
from ownerd.console.settings import Settings, Upstream

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect


def go(page: Any, path: str, **parameters: str) -> None:
    page.goto(f"{path}?{urlencode(parameters)}" if parameters else path)


def pick(campaign_id: str) -> str:
    return f'[id="pick-{quote(campaign_id, safe="")}"]'


def owned(floor: Any, list_id: str) -> dict[str, int]:
    found = floor.client.owners(list_id).owners
    return {each.campaign_id: each.owned_count for each in found if each.owned_count}


@pytest.fixture
def dialing(floor: Any, open_list: str) -> Iterator[str]:
    """A list on which two campaigns dial all the time, and get in each other's way."""
    over = threading.Event()

    def dial() -> None:
        with Client(floor.server.dial_address, token=floor.tokens["root"]) as client:
            number = 0
            while not over.wait(0.02):
                number += 1
                record, campaign = str(number % 50), ("spring", "summer")[number % 2]
                if client.claim(open_list, record, campaign).allowed:
                    client.report(open_list, record, campaign, "Busy")

    thread = threading.Thread(target=dial)
    thread.start()
    yield open_list
    over.set()
    thread.join(20)


# ---- configuration


def test_ownership_is_enabled_for_two_days_and_three_hours(
    floor: Any, open_browser: Any, unique: str
) -> None:
    floor.client.create_list(unique)
    page = open_browser("boss")
    page.get_by_role("link", name=unique, exact=True).click()
    page.get_by_label("Enable campaign ownership of records").check()
    page.get_by_label("Days").fill("2")  # which alone says that it has an end
    page.get_by_label("Hours").fill("3")
    page.get_by_role("button", name="Save…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("the first campaign that makes a valid attempt")
    expect(dialog).to_contain_text("for 2 days 3 hours")
    expect(dialog).to_contain_text("No record is owned now")
    assert not floor.client.get_list(unique).policy.enabled  # not yet
    dialog.get_by_label("Reason").fill("the season begins")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The configuration is saved.")).to_be_visible()
    expect(page.locator("#list-badge")).to_have_text("Enabled")
    policy = floor.client.get_list(unique).policy
    assert (policy.enabled, policy.duration) == (True, timedelta(days=2, hours=3))
    expect(page.locator("#recent")).to_contain_text("the season begins")


def test_r12_before_saving_one_is_told_how_many_records_it_is_about(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    page = open_browser("boss")
    go(page, "/list", id=open_list)
    page.fill("#days", "0")
    page.fill("#hours", "5")
    page.click("#policy-save")
    said = page.locator("#effects")
    expect(said).to_contain_text("4 records are owned now.")
    expect(said).to_contain_text("5 hours after you save")
    expect(said).to_contain_text("For 4 of them that is sooner than now.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert floor.client.get_list(open_list).policy.duration == timedelta(days=5)


def test_r13_disabling_says_what_stays_and_advanced_settings_are_kept(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    page = open_browser("boss")
    go(page, "/list", id=open_list)
    page.uncheck("#enabled")
    page.click("details.advanced summary")
    page.fill("#renewal", "5h")
    page.fill("#reservation", "20m")
    page.click("#policy-save")
    expect(page.locator("#effects")).to_contain_text("4 records stay with their campaigns")
    page.click("#dialog-go")
    expect(page.locator("#list-badge")).to_have_text("Disabled")
    found = floor.client.get_list(open_list).policy
    assert found == Policy(False, timedelta(days=5), timedelta(hours=5), timedelta(minutes=20))


def test_what_cannot_be_is_said_at_the_form_and_nothing_that_was_typed_is_lost(
    open_browser: Any, open_list: str
) -> None:
    page = open_browser("boss")
    go(page, "/list", id=open_list)
    page.fill("#days", "two")
    page.fill("#hours", "7")
    page.click("#policy-save")
    expect(page.get_by_role("alert").filter(has_text="no whole number")).to_be_visible()
    expect(page.locator("#days")).to_have_value("two")
    expect(page.locator("#hours")).to_have_value("7")


def test_a_stale_save_is_refused_and_both_versions_are_shown(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    mine, other = open_browser("boss"), open_browser("configurer")
    for page in (mine, other):
        go(page, "/list", id=open_list)
    mine.fill("#days", "9")
    mine.click("#policy-save")
    expect(mine.get_by_role("dialog")).to_be_visible()
    other.check("#expires-never")
    other.click("#policy-save")
    expect(other.locator("#effects")).to_contain_text("no end, until it is released")
    other.click("#dialog-go")
    expect(other.get_by_text("The configuration is saved.")).to_be_visible()
    mine.click("#dialog-go")
    versions = mine.locator("#versions")
    expect(versions).to_contain_text("No expiration")
    expect(versions).to_contain_text("9 days")
    assert floor.client.get_list(open_list).policy.duration is None
    mine.click("#dialog-go")  # look at mine again
    expect(mine.locator("#effects")).to_contain_text("9 days after you save")
    mine.click("#dialog-go")
    expect(mine.get_by_text("The configuration is saved.")).to_be_visible()
    assert floor.client.get_list(open_list).policy.duration == timedelta(days=9)


# ---- release and transfer


def test_one_campaign_is_released_with_a_reason_and_the_count_is_told(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    page = open_browser("supervisor")
    go(page, "/list", id=open_list)
    row = page.locator("#owners tbody tr").first
    expect(row).to_contain_text("Spring Renewals")
    expect(row).to_contain_text("75.0%")
    page.get_by_label("Select Spring Renewals").check()
    page.get_by_role("button", name="Release…", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 records become free at once")
    dialog.get_by_role("button", name="Release 3 records").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Say why")
    assert owned(floor, open_list) == {"spring": 3, "summer": 1}
    dialog.get_by_label("Reason").fill("the campaign ended early")
    dialog.get_by_role("button", name="Release 3 records").click()
    expect(page.get_by_text("3 records were released.")).to_be_visible()
    assert owned(floor, open_list) == {"summer": 1}
    entry = next(iter(floor.client.audit_entries(list_id=open_list)))
    assert (entry.principal, entry.reason) == ("supervisor", "the campaign ended early")


def test_several_and_all_campaigns_are_released(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    page = open_browser("boss")
    go(page, "/list", id=open_list)
    page.get_by_role("button", name="Release…", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Select the campaigns first")
    page.check(pick("spring"))
    page.check(pick("summer"))
    page.click("button[value=release]")
    expect(page.locator("#effects")).to_contain_text("4 records become free")
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Release all campaigns…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Of all campaigns in this list.")
    page.fill("#reason", "a new season")
    page.click("#dialog-go")
    expect(page.get_by_text("4 records were released.")).to_be_visible()
    expect(page.locator("#owned-total")).to_have_text("0")
    assert owned(floor, open_list) == {}


def test_a_form_that_is_sent_twice_is_one_change(
    floor: Any, open_browser: Any, unique: str
) -> None:
    floor.client.create_list(unique, Policy(True))
    floor.own(unique, "spring", "1", "2")
    page = open_browser("boss")
    go(page, "/list", id=unique)
    page.check(pick("spring"))
    page.click("button[value=release]")
    page.fill("#reason", "once")
    fields = page.evaluate(
        "Object.fromEntries(new FormData(document.querySelector('dialog form')))"
    )
    headers = {"Origin": floor.base}
    for _ in range(2):
        answer = page.request.post(
            f"/list/release?id={unique}", form=fields, headers=headers, max_redirects=0
        )
        assert answer.status == 303
        floor.own(unique, "spring", "3")  # of which the second knows nothing
    assert owned(floor, unique) == {"spring": 1}


def test_ownership_is_transferred_to_a_rerun(floor: Any, open_browser: Any, open_list: str) -> None:
    page = open_browser("boss")
    go(page, "/list", id=open_list)
    page.click("button[value=transfer]")
    expect(page.get_by_role("alert")).to_contain_text("exactly one campaign")
    page.check(pick("spring"))
    page.click("button[value=transfer]")
    page.get_by_label("To which campaign").fill("spring")
    page.click("#dialog-go")
    expect(page.get_by_role("dialog")).to_contain_text("the same campaign")
    page.get_by_label("To which campaign").fill("spring-again")
    page.click("#dialog-go")
    expect(page.locator("#effects")).to_contain_text("3 records go from Spring Renewals to spring")
    page.click("#dialog-go")
    expect(page.get_by_role("alert")).to_contain_text("Say why")
    page.fill("#reason", "rerun")
    page.click("#dialog-go")
    expect(page.get_by_text("3 records now belong to spring-again.")).to_be_visible()
    assert owned(floor, open_list) == {"spring-again": 3, "summer": 1}


def test_what_another_supervisor_does_is_shown_and_what_one_ticked_stays(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    one, other = open_browser("boss"), open_browser("supervisor")
    for page in (one, other):
        go(page, "/list", id=open_list)
    one.check(pick("summer"))
    other.check(pick("spring"))
    other.click("button[value=release]")
    other.fill("#reason", "meanwhile")
    other.click("#dialog-go")
    expect(other.get_by_text("3 records were released.")).to_be_visible()
    expect(one.locator("#owned-total")).to_have_text("1")  # by itself
    expect(one.locator(pick("spring"))).to_have_count(0)
    expect(one.locator(pick("summer"))).to_be_checked()
    expect(one.locator("#recent")).to_contain_text("meanwhile")


# ---- one record


def test_why_record_42_was_denied(floor: Any, open_browser: Any, open_list: str) -> None:
    assert not floor.client.claim(open_list, "42", "summer").allowed
    page = open_browser("supervisor")
    go(page, "/list", id=open_list)
    page.get_by_label("Record", exact=True).fill("42")
    page.get_by_label("Campaign that was denied (optional)").fill("summer upgrade")
    page.get_by_role("button", name="Look up").click()
    expect(page.locator("#record-state")).to_have_text("Spring Renewals owns this record.")
    expect(page.locator("#record-why")).to_contain_text("Summer Upgrade is denied because Spring")
    expect(page.locator("#record-until")).to_contain_text("CE")  # the browser's zone
    page.click("#record-release")
    page.fill("#reason", "the customer asked for it")
    page.click("#dialog-go")
    expect(page.get_by_text("The record was released.")).to_be_visible()
    expect(page.locator("#record-state")).to_have_text("Nobody holds this record.")
    history = page.locator("#history")
    expect(history).to_contain_text("the customer asked for it")
    expect(history).to_contain_text("Spring Renewals came to own it, until")
    expect(history.locator("li").first).to_contain_text("Records released")
    assert floor.client.holder(open_list, "42") is None
    floor.client.claim(open_list, "42", "summer")
    expect(history.locator("li").first).to_contain_text("Summer Upgrade began to dial it")


def test_a_record_that_went_to_another_meanwhile_is_not_taken_from_it(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    page = open_browser("supervisor")
    go(page, "/record", list=open_list, id="42")
    page.click("#record-release")
    floor.client.transfer("spring", "summer", list_id=open_list)
    page.fill("#reason", "too late")
    page.click("#dialog-go")
    expect(page.get_by_role("alert")).to_contain_text("Spring Renewals did not own the record")
    assert floor.client.holder(open_list, "42").campaign_id == "summer"


# ---- lists and activity


def test_lists_show_what_goes_on_and_are_searched_and_sorted(
    floor: Any, open_browser: Any, dialing: str
) -> None:
    page = open_browser("supervisor")
    row = page.locator("#lists tbody tr").filter(
        has=page.get_by_role("link", name=dialing, exact=True)
    )
    expect(row).to_contain_text("Enabled")
    expect(row).to_contain_text("5 days")
    expect(row.locator("td").nth(4)).not_to_have_text("–")  # granted a second
    page.get_by_role("link", name="Owned").click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Owned")
    page.get_by_role("searchbox").fill(dialing)
    expect(page.locator("#lists tbody tr")).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.get_by_role("searchbox").fill("no such list")
    expect(page.locator("#lists-part")).to_contain_text("No list has “no such list” in its name")


def test_activity_shows_charts_alarms_and_the_audit_that_is_asked_for(
    floor: Any, open_browser: Any, dialing: str
) -> None:
    floor.client.release(dialing, "summer", reason="for the chart")
    page = open_browser("boss")
    page.get_by_role("link", name="Activity").click()
    expect(page.locator("#alarms")).to_contain_text("Nothing is wrong.")
    expect(page.locator("#audit")).to_contain_text("for the chart")
    expect(page.get_by_role("img", name="Claims a second")).to_be_visible(timeout=25_000)
    page.select_option("#filter-list", label=dialing)
    page.select_option("#filter-action", "ReleaseOwnership")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#audit tbody tr")).to_have_count(1)
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").last.click()
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
    assert [(row["action"], row["reason"]) for row in rows] == [
        ("ReleaseOwnership", "for the chart")
    ]


def test_what_is_shown_is_saved_as_csv_and_no_cell_is_a_formula(
    floor: Any, open_browser: Any, unique: str
) -> None:
    list_id, campaign = f"{unique}=1+1", "=cmd|' /C calc'!A0"
    floor.client.create_list(list_id, Policy(True))
    floor.own(list_id, campaign, "1")
    page = open_browser("boss")
    go(page, "/list", id=list_id)
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").click()
    (row,) = csv.DictReader(io.StringIO(Path(saved.value.path()).read_text()))
    assert (row["campaign_id"], row["owned"]) == (f"'{campaign}", "1")


# ---- who may do what


@pytest.mark.parametrize(
    ("who", "lists", "owners", "release", "save", "find", "audit"),
    [
        ("viewer", True, False, False, False, True, True),
        ("controller", False, True, True, False, False, False),
        ("supervisor", True, True, True, False, True, True),
        ("configurer", True, False, False, True, True, True),
        ("boss", True, True, True, True, True, True),
        ("dialer", False, False, False, False, True, False),
        ("principals", False, False, False, False, False, False),
    ],
)
def test_what_one_may_not_do_is_not_there(
    floor: Any,
    open_browser: Any,
    open_list: str,
    who: str,
    lists: bool,
    owners: bool,
    release: bool,
    save: bool,
    find: bool,
    audit: bool,
) -> None:
    before = sum(bool(each.refusal) for each in floor.client.audit_entries())
    page = open_browser(who)
    assert page.locator("#lists").count() == lists
    go(page, "/list", id=open_list)
    assert page.locator("#owners").count() == owners
    assert page.locator("button[value=release]").count() == release
    assert page.locator("button[value=release-all]").count() == release
    assert page.locator("#policy-save").count() == save
    assert page.locator("#enabled").is_enabled() == save if lists else True
    assert page.get_by_label("Record", exact=True).count() == find
    go(page, "/activity")
    assert page.locator("#audit").count() == audit
    assert page.locator("#charts").count() == owners
    # Nothing was asked for that would be refused: the audit is for those who try.
    assert sum(bool(each.refusal) for each in floor.client.audit_entries()) == before


def test_a_right_on_some_lists_and_campaigns_shows_those(
    floor: Any, open_browser: Any, unique: str
) -> None:
    inside, outside = f"in-{unique}", f"out-{unique}"
    for list_id in (inside, outside):
        floor.client.create_list(list_id, Policy(True))
        floor.own(list_id, "spring", "1")
        floor.own(list_id, "summer", "2")
    page = open_browser("limited")
    expect(page.locator("#lists")).to_contain_text(inside)
    expect(page.locator("#lists")).not_to_contain_text(outside)
    go(page, "/list", id=inside)
    expect(page.locator("#owners tbody tr")).to_have_count(1)
    expect(page.locator("#owners")).not_to_contain_text("Summer")
    assert page.locator("button[value=release-all]").count() == 0
    go(page, "/list", id=outside)
    expect(page.get_by_role("alert")).to_contain_text("You may not do this")
    headers = {"Origin": floor.base}
    csrf = page.locator("input[name=csrf]").first.get_attribute("value")
    forged = {"csrf": csrf, "all": "1", "reason": "r", "request": "x"}
    answer = page.request.post(f"/list/release?id={inside}", form=forged, headers=headers)
    assert answer.status == 403
    assert owned(floor, inside) == {"spring": 1, "summer": 1}


# ---- ids that somebody chose

HOSTILE = (
    "<script>document.title='hacked'</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7*7 }} {% raw %} ${7*7}",
    "שלום\N{RIGHT-TO-LEFT OVERRIDE}evil-txt.exe",
    "\N{CJK UNIFIED IDEOGRAPH-20000}" * 32,  # 128 bytes of wide characters
    "a/../?b=c&d#e%00%2F+ ;\\",
    "line\r\nbreak\tand\x00nul",
)


def test_an_id_of_any_kind_is_shown_as_it_is_and_does_what_others_do(
    floor: Any, open_browser: Any, subtests: pytest.Subtests
) -> None:
    page = open_browser("boss", viewport={"width": 390, "height": 800})
    for name in HOSTILE:
        with subtests.test(name=ascii(name)):
            assert len(name.encode()) <= 128
            campaign = name.encode()[:80].decode(errors="ignore")
            floor.client.create_list(name, Policy(True))
            floor.own(name, campaign, name)
            go(page, "/", q=name[:12])
            page.locator("#lists tbody th a").first.click()
            expect(page.locator("#owned-total")).to_have_text("1")
            go(page, "/record", list=name, id=name, campaign=name)
            expect(page.locator("#record-state")).to_contain_text("owns this record")
            go(page, "/activity", list=name)
            expect(page.locator("#audit")).to_be_visible()
            go(page, "/list", id=name)
            page.check(pick(campaign))
            page.click("button[value=release]")
            page.fill("#reason", name[:40].replace("\x00", ""))
            page.click("#dialog-go")
            expect(page.get_by_text("1 record was released.")).to_be_visible()
            assert owned(floor, name) == {}
            assert page.title() != "hacked" and page.locator("img[src=x]").count() == 0
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, "nothing is wider than the window"


# ---- without a server, and with it again


def test_a_lost_server_shows_as_such_and_comes_back_by_itself(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    page = open_browser("boss")
    go(page, "/list", id=open_list)
    expect(page.locator("#owned-total")).to_have_text("4")
    page.check(pick("spring"))
    floor.door.shut()
    lost = page.locator("#status")
    expect(lost).to_contain_text("The server does not answer since", timeout=25_000)
    expect(page.locator("#owned-total")).to_have_text("4")  # what was there is still shown
    floor.restart()
    floor.own(open_list, "summer", "8", "9")
    floor.door.lead_to(floor.server.admin_address)
    expect(page.locator("#owned-total")).to_have_text("6", timeout=25_000)
    expect(lost).to_have_text("")
    expect(page.locator(pick("spring"))).to_be_checked()


def test_an_answer_that_takes_long_is_said_to_until_it_is_there(
    open_browser: Any, open_list: str
) -> None:
    page = open_browser("boss")
    go(page, "/list", id=open_list)
    held: list[Any] = []
    page.route("**/list?**", lambda route: held.append(route))
    expect(page.locator("#late")).to_be_visible(timeout=25_000)
    held.pop().continue_()
    expect(page.locator("#late")).to_be_hidden()


def test_who_comes_while_there_is_no_server_sees_the_page_when_there_is(
    floor: Any, chromium: Any, unique: str
) -> None:
    with Door(None) as door:
        settings = Settings(Upstream(door.address), port=0, token=floor.tokens["viewer"])
        with ConsoleThread(settings) as console:
            context = chromium.new_context(base_url=console.base, locale="en-GB")
            page = context.new_page()
            page.goto(console.address)
            expect(page.locator("#status")).to_contain_text("does not answer", timeout=25_000)
            floor.client.create_list(unique)
            door.lead_to(floor.server.admin_address)
            expect(page.locator("#lists")).to_be_visible(timeout=25_000)
            context.close()


def test_a_revoked_token_ends_an_open_page(floor: Any, open_browser: Any, unique: str) -> None:
    made = floor.server.principal(unique)
    floor.client.set_principal(unique, grants=[Grant(Right.VIEW)])
    floor.tokens[unique] = made.token
    page = open_browser(unique)
    floor.client.revoke_tokens(unique, all_tokens=True)
    page.wait_for_url("**/signin**", timeout=25_000)
    expect(page.get_by_role("alert")).to_be_visible()


# ---- for everybody


def test_everything_is_reached_and_done_by_the_keyboard(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    page = open_browser("boss")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    go(page, "/list", id=open_list)
    page.focus(pick("spring"))
    page.keyboard.press("Space")
    expect(page.locator(pick("spring"))).to_be_checked()
    page.focus("button[value=release]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_text("3 records were released.")).to_be_visible()


LABELS = """() => [...document.querySelectorAll('input, select, button, a, summary, img, svg')]
    .filter(e => e.type !== 'hidden' && e.checkVisibility() && !e.closest('[aria-hidden=true]'))
    .filter(e => !(e.labels?.length || e.ariaLabel || e.title || e.textContent.trim()
        || e.hasAttribute('alt') || e.getAttribute('aria-label')))
    .map(e => e.outerHTML.slice(0, 120))"""

# The contrast of each text with what is behind it; the least that WCAG 2 allows is 4.5.
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c;
    canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const over = (top, under) => { const a = top[3] / 255;
    return [0, 1, 2].map(i => top[i] * a + under[i] * (1 - a)).concat(255); };
  const light = c => { const [r, g, b] = c.map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { if (!e) return [255, 255, 255, 255];
    const own = rgba(getComputedStyle(e).backgroundColor);
    return own[3] === 255 ? own : over(own, ground(e.parentElement)); };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const left_out = e.closest('svg, .unseen, dialog, :disabled, .skip');
    if (!text || !e.checkVisibility() || left_out) continue;
    const under = ground(e), b = light(under);
    const a = light(over(rgba(getComputedStyle(e).color), under));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.textContent.trim().slice(0, 40)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_has_labels_contrast_and_room_in_a_narrow_window(
    floor: Any, open_browser: Any, dialing: str, scheme: str
) -> None:
    page = open_browser("boss", color_scheme=scheme, viewport={"width": 390, "height": 844})
    for path, parameters in (
        ("/", {}),
        ("/list", {"id": dialing}),
        ("/record", {"list": dialing, "id": "42", "campaign": "summer"}),
        ("/activity", {}),
        ("/nowhere", {}),
    ):
        go(page, path, **parameters)
        assert page.evaluate(LABELS) == [], path
        assert page.evaluate(CONTRAST) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        headings = page.locator("h1")
        assert headings.count() == 1, path


def test_german_is_spoken_to_germans_and_kept_when_chosen(
    open_browser: Any, open_list: str
) -> None:
    page = open_browser("boss", locale="de-DE")
    expect(page.get_by_role("heading", level=1)).to_have_text("Kontaktlisten")
    go(page, "/list", id=open_list)
    expect(page.get_by_role("heading", name="Kampagnen mit Datensätzen")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "de"
    page.get_by_label("Einstellungen").click()
    page.get_by_label("Sprache").select_option("en")
    page.get_by_label("Darstellung").select_option("dark")
    page.get_by_role("button", name="Anwenden").click()
    expect(page.get_by_role("heading", name="Campaigns that own records")).to_be_visible()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_times_are_in_the_browsers_zone(open_browser: Any, open_list: str) -> None:
    for zone, short in (("Europe/Berlin", "CE"), ("Asia/Tokyo", "JST")):
        page = open_browser("boss", timezone_id=zone)
        go(page, "/list", id=open_list)
        expect(page.locator("footer")).to_contain_text(f"Times in {zone} ({short}")
        expect(page.locator("#owners time").first).to_contain_text(short)


def test_a_page_asks_nobody_but_its_own_console(
    floor: Any, open_browser: Any, open_list: str
) -> None:
    page = open_browser("boss")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("/", f"/list?id={open_list}", "/activity"):
        page.goto(path)
    assert len(asked) > 6 and all(url.startswith(floor.base) for url in asked)


def test_a_page_is_whole_without_scripts(floor: Any, chromium: Any, open_list: str) -> None:
    context = chromium.new_context(base_url=floor.base, java_script_enabled=False, locale="en-GB")
    page = context.new_page()
    page.goto("/")
    page.fill("#token", floor.tokens["boss"])
    page.press("#token", "Enter")
    go(page, "/list", id=open_list)
    page.check(pick("spring"))
    page.click("button[value=release]")
    page.fill("#reason", "without scripts")
    page.click("#dialog-go")
    expect(page.get_by_text("3 records were released.")).to_be_visible()
    context.close()
    poll(lambda: owned(floor, open_list) == {"summer": 1}, "the release")


def test_the_picture_in_the_readme(
    floor: Any, open_browser: Any, dialing: str, tmp_path: Path
) -> None:
    """With TESTS_PICTURES=DIR it is put there, to be looked at and committed."""
    directory = Path(os.environ.get("TESTS_PICTURES") or tmp_path)
    page = open_browser("boss", viewport={"width": 1280, "height": 860})
    go(page, "/list", id=dialing)
    expect(page.locator("#owners tbody tr")).to_have_count(2)
    poll(lambda: floor.client.owners(dialing).total_owned_count > 40, "owned records")
    expect(page.locator(".tiles")).not_to_contain_text("–")
    page.evaluate("document.querySelector('h1').textContent = 'customers'")
    page.screenshot(path=directory / "console.png")
    assert (directory / "console.png").stat().st_size > 20_000
