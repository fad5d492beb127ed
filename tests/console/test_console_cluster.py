"""The page on a cluster: the server that leads is killed in the middle, and the page goes on."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cluster_servers import eventually, leads, server
from console_page import ConsoleThread
from harness import ServerProcess
from real_etcd import etcd_members

pytest.importorskip("ownerd.cluster.node")

from ownerd.client import Client, Policy
from ownerd.console.settings import Settings, Upstream

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

OUTLASTED_MS = 30_000


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """Two servers of one cluster, of which the first leads."""
    with etcd_members(tmp_path, 1) as etcd:
        first = server(tmp_path, etcd, "a", "floor", "--cluster-create")
        second = server(tmp_path, etcd, "b", "floor")
        with first, second:
            eventually(lambda: leads(first), "the first leads")
            yield [first, second]


def test_a_page_and_a_release_outlast_a_fail_over(
    chromium: Any, nodes: list[ServerProcess]
) -> None:
    address = ",".join(each.admin_address for each in nodes)
    with (
        ConsoleThread(Settings(Upstream(address), port=0)) as console,
        Client(address) as client,
        chromium.new_context(base_url=console.base, locale="en-GB") as context,
    ):
        client.create_list("list", Policy(True, timedelta(days=1)))
        client.report_batch("list", "spring", [(each, "Busy") for each in ("41", "42", "43")])
        client.report_batch("list", "summer", [("7", "Busy")])
        watching, releasing = context.new_page(), context.new_page()
        watching.goto(console.address)
        for page in (watching, releasing):
            page.set_default_timeout(OUTLASTED_MS)
            page.goto(f"/list?{urlencode({'id': 'list'})}")
            expect(page.locator("#owned-total")).to_have_text("4")
        watching.check("#pick-summer")
        releasing.check("#pick-spring")
        releasing.click("button[value=release]")
        releasing.fill("#reason", "in the middle")

        nodes[0].kill()
        releasing.click("#dialog-go")
        expect(releasing.get_by_text("3 records were released.")).to_be_visible(
            timeout=OUTLASTED_MS
        )
        # The other page by itself, with what was ticked there.
        expect(watching.locator("#owned-total")).to_have_text("1", timeout=OUTLASTED_MS)
        expect(watching.locator("#status")).to_have_text("")
        expect(watching.locator("#recent")).to_contain_text("in the middle")
        expect(watching.locator("#pick-summer")).to_be_checked()

        watching.click("button[value=release]")
        watching.fill("#reason", "afterwards")
        watching.click("#dialog-go")
        expect(watching.get_by_text("1 record was released.")).to_be_visible()
        assert client.owners("list").total_owned_count == 0
        reasons = [each.reason for each in client.audit_entries(list_id="list") if each.reason]
        assert reasons == ["afterwards", "in the middle"]
