"""Releasing and transferring what campaigns own in a list: counted by a dry run, then done."""

import uuid

from starlette.responses import Response

from ownerd.console.pages import one_list
from ownerd.console.pages.one_list import ListPage
from ownerd.console.pages.visit import Visit
from ownerd.console.views.owners import campaign_of, owned_by
from ownerd.console.words import Name, link


async def review(visit: Visit) -> Response:
    """Show what the button that was pressed would do; nothing changes."""
    await visit.read_form()
    page = await one_list.load(visit)
    if page.owners is None:
        return visit.go(page.address)
    action, picked = visit.field("do"), visit.ids("campaign")
    if action == "release-all" and page.may["control_all"]:
        return await _ask_release(visit, page, [], is_all=True)
    if action == "release":
        if not picked:
            return _say_on_list(visit, page, "release.nothing")
        return await _ask_release(visit, page, picked, is_all=False)
    if len(picked) != 1:
        return _say_on_list(visit, page, "transfer.single", picked)
    return await _ask_transfer(visit, page, picked[0])


def _say_on_list(
    visit: Visit, page: ListPage, key: str, picked: list[str] | None = None
) -> Response:
    visit.say(key, is_error=True)
    return one_list.render(visit, page, 422, picked=picked or ())


async def _ask_release(
    visit: Visit, page: ListPage, picked: list[str], *, is_all: bool, complaint: str = ""
) -> Response:
    counted = await visit.who.client.release(
        page.list_id, picked, all_campaigns=is_all, dry_run=True
    )
    assert page.owners is not None
    rows = page.owners.rows if is_all else owned_by(page.owners, picked)
    return one_list.render(
        visit,
        page,
        422 if complaint else 200,
        dialog="release",
        count=counted.released_count,
        rows=[row for row in rows if row.owned],
        is_all=is_all,
        picked=picked,
        complaint=complaint,
        request_id=str(uuid.uuid4()),
        include_reservations=visit.field("reservations") == "1",
    )


async def release(visit: Visit) -> Response:
    """Release what was looked at, for the reason that is given."""
    await visit.read_form()
    is_all, picked = visit.field("all") == "1", visit.ids("campaign")
    reason = visit.field("reason").strip()
    if not reason:
        page = await one_list.load(visit)
        if page.owners is None:
            return visit.go(page.address)
        return await _ask_release(visit, page, picked, is_all=is_all, complaint="reason.missing")
    list_id = visit.given("id")
    done = await visit.who.client.release(
        list_id,
        picked,
        all_campaigns=is_all,
        include_reservations=visit.field("reservations") == "1",
        reason=reason,
        request_id=visit.field("request"),
    )
    visit.say("release.done", n=done.released_count)
    return visit.go(link("/list", id=list_id))


async def _ask_transfer(visit: Visit, page: ListPage, giver: str, complaint: str = "") -> Response:
    """Ask for the campaign that is to get the records; once it is named, say how many."""
    receiver, count = campaign_of(visit.field("to").strip(), page.names), None
    if visit.field("step") == "2" and not complaint:
        complaint = _wrong_receiver(giver, receiver)
        if not complaint:
            counted = await visit.who.client.transfer(
                giver, receiver, list_id=page.list_id, dry_run=True
            )
            count = counted.transferred_count
    elif complaint == "reason.missing":
        counted = await visit.who.client.transfer(
            giver, receiver, list_id=page.list_id, dry_run=True
        )
        count = counted.transferred_count
    return one_list.render(
        visit,
        page,
        422 if complaint else 200,
        dialog="transfer",
        giver=giver,
        giver_name=page.names.get(giver, giver),
        receiver=receiver,
        receiver_name=page.names.get(receiver, receiver),
        count=count,
        complaint=complaint,
        picked=[giver],
        request_id=str(uuid.uuid4()),
    )


def _wrong_receiver(giver: str, receiver: str) -> str:
    if not receiver:
        return "transfer.missing"
    return "transfer.same" if receiver == giver else ""


async def transfer(visit: Visit) -> Response:
    """Transfer what was looked at, for the reason that is given."""
    await visit.read_form()
    (giver,) = visit.ids("campaign") or [""]
    receiver, reason = visit.field("to").strip(), visit.field("reason").strip()
    wrong = _wrong_receiver(giver, receiver) or ("" if reason else "reason.missing")
    if wrong:
        page = await one_list.load(visit)
        return await _ask_transfer(visit, page, giver, wrong)
    list_id = visit.given("id")
    done = await visit.who.client.transfer(
        giver, receiver, list_id=list_id, reason=reason, request_id=visit.field("request")
    )
    name = (await visit.who.names()).get(receiver, receiver)
    visit.say("transfer.done", n=done.transferred_count, receiver=Name(name))
    return visit.go(link("/list", id=list_id))
