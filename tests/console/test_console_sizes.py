"""The page where there is much: ten thousand lists, a thousand campaigns, ten million records."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from ownerd.client import Policy
from ownerd.v1 import admin_pb2

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

LISTS = 10_000
CAMPAIGNS = 1_000
RECORDS = 10_000_000
ROWS = 20_000
FIRST_PAINT_MS = 2_000
REFRESH_S = 1.0

PAINTED = """() => new Promise(done => new PerformanceObserver(list => {
  const paint = list.getEntriesByName('first-contentful-paint')[0];
  if (paint) done(paint.startTime);
}).observe({type: 'paint', buffered: true}))"""

# By the page's own means: asked for, read and put in the place of what was there.
REFRESHED_S = """async () => {
  while (busy) await new Promise(done => setTimeout(done, 5));
  const began = performance.now();
  await refresh();
  return (performance.now() - began) / 1000;
}"""


def look(page: Any, path: str) -> tuple[float, float]:
    """Return the milliseconds to the first paint of a page, and the seconds of a refresh."""
    page.goto(path)
    return page.evaluate(PAINTED), page.evaluate(REFRESHED_S)


def best_of(page: Any, path: str) -> tuple[float, float]:
    """Return the better of three looks: the machine may have other things to do."""
    looks = [look(page, path) for _ in range(3)]
    return min(each[0] for each in looks), min(each[1] for each in looks)


@pytest.mark.long
def test_ten_thousand_lists_stay_quick(floor: Any, open_browser: Any) -> None:
    def create(number: int) -> None:
        policy = Policy(number % 2 == 0, timedelta(days=1 + number % 9))
        floor.client.create_list(f"list-{number:05}", policy)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(create, range(LISTS)))
    floor.own("list-07778", "spring", *map(str, range(100)))
    page = open_browser("boss")
    for path in ("/", "/?sort=duration&page=100", "/?q=list-077"):
        painted_ms, refreshed_s = best_of(page, path)
        print(f"{path}: first paint {painted_ms:.0f} ms, refresh {refreshed_s:.2f} s")
        assert painted_ms < FIRST_PAINT_MS and refreshed_s < REFRESH_S
    page.goto("/?sort=owned&dir=desc")
    expect(page.locator(".counting")).to_contain_text("Counting")
    expect(page.locator("#lists tbody tr").first).to_contain_text("list-07778", timeout=120_000)


@pytest.mark.long
def test_a_thousand_campaigns_are_shown_and_released_by_name(
    floor: Any, open_browser: Any, unique: str
) -> None:
    floor.client.create_list(unique, Policy(True, timedelta(days=1)))

    def call(number: int) -> None:
        floor.own(unique, f"campaign-{number:04}", *(f"{number}-{each}" for each in range(5)))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(call, range(CAMPAIGNS)))
    page = open_browser("boss")
    painted_ms, refreshed_s = best_of(page, f"/list?id={unique}")
    print(f"first paint {painted_ms:.0f} ms, refresh {refreshed_s:.2f} s")
    assert painted_ms < FIRST_PAINT_MS and refreshed_s < REFRESH_S
    boxes = page.locator("#owners input[type=checkbox]")
    assert boxes.count() == CAMPAIGNS
    page.evaluate("document.querySelectorAll('#owners input').forEach(each => each.checked = true)")
    page.click("button[value=release]")
    expect(page.locator("#effects")).to_contain_text("5,000 records become free")
    page.fill("#reason", "all of them")
    page.click("#dialog-go")
    expect(page.get_by_text("5,000 records were released.")).to_be_visible()


@pytest.mark.long
def test_a_list_of_ten_million_owned_records(floor: Any, open_browser: Any, unique: str) -> None:
    floor.client.create_list(unique, Policy(True, timedelta(days=30)))

    def rows() -> Iterator[admin_pb2.ImportOwnershipRequest]:
        for start in range(0, RECORDS, ROWS):
            request = admin_pb2.ImportOwnershipRequest(list_id="" if start else unique)
            request.rows.extend(
                admin_pb2.OwnershipRow(record_id=str(each), campaign_id=f"c{each % 16}")
                for each in range(start, min(start + ROWS, RECORDS))
            )
            yield request

    stub = floor.server.admin_stub()
    metadata = (("authorization", f"Bearer {floor.tokens['root']}"),)
    imported = stub.ImportOwnership(rows(), timeout=3_000, metadata=metadata)
    assert imported.imported_count == RECORDS
    page = open_browser("boss")
    painted_ms, refreshed_s = best_of(page, f"/list?id={unique}")
    print(f"first paint {painted_ms:.0f} ms, refresh {refreshed_s:.2f} s")
    assert painted_ms < FIRST_PAINT_MS and refreshed_s < REFRESH_S
    expect(page.locator("#owned-total")).to_have_text(f"{RECORDS:,}")
    page.get_by_role("button", name="Release all campaigns…").click()
    expect(page.locator("#effects")).to_contain_text(f"{RECORDS:,} records become free")
    page.fill("#reason", "a new season")
    page.click("#dialog-go")
    expect(page.get_by_text(f"{RECORDS:,} records were released.")).to_be_visible(timeout=30_000)
