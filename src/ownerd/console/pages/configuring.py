"""Saving a list's configuration: first what it would do (R12, R13), then the change itself."""

import uuid

from starlette.responses import Response

from ownerd.client import Aborted, ContactList
from ownerd.console.pages import one_list
from ownerd.console.pages.one_list import ListPage
from ownerd.console.pages.visit import Visit
from ownerd.console.views import policy
from ownerd.console.views.policy import FormError, PolicyForm


async def review(visit: Visit) -> Response:
    """Show what saving the form would do; nothing changes."""
    await visit.read_form()
    page = await one_list.load(visit)
    form = policy.read_form(visit.field)
    before = page.contact_list
    if before is None or not page.may["configure"]:
        return visit.go(page.address)
    try:
        after = policy.policy_of(form, before.policy)
    except FormError as error:
        return one_list.render(visit, page, 422, form=form, field_error=error)
    if visit.field("etag") != before.etag:
        return _stale(visit, page, form, before)
    what = policy.changes(before.policy, after)
    if not what:
        visit.say("policy.same")
        return visit.go(page.address)
    shortened = None
    if "duration" in what and after.duration is not None:
        shortened = await visit.who.client.count_shortened(page.list_id, **what)
    owned = page.owners.owned if page.owners and page.may["control_all"] else None
    said = policy.effects(before.policy, after, owned, shortened, page.now)
    return one_list.render(
        visit,
        page,
        form=form,
        dialog="policy",
        effects=said,
        etag=before.etag,
        request_id=str(uuid.uuid4()),
        reason=visit.field("reason"),
    )


def _stale(visit: Visit, page: ListPage, form: PolicyForm, now_there: ContactList) -> Response:
    """Show both versions: what somebody else saved, and what was to be saved."""
    try:
        ours = policy.policy_of(form, now_there.policy)
    except FormError as error:
        return one_list.render(visit, page, 422, form=form, field_error=error)
    return one_list.render(
        visit,
        page,
        409,
        form=form,
        dialog="stale",
        differences=policy.differences(now_there.policy, ours),
        etag=now_there.etag,
    )


async def save(visit: Visit) -> Response:
    """Save the form, if the configuration is still the one that was looked at."""
    await visit.read_form()
    client, list_id = visit.who.client, visit.given("id")
    before = await client.get_list(list_id)
    form = policy.read_form(visit.field)
    try:
        after = policy.policy_of(form, before.policy)
    except FormError as error:
        page = await one_list.load(visit)
        return one_list.render(visit, page, 422, form=form, field_error=error)
    what = policy.changes(before.policy, after)
    if what:
        try:
            await client.set_policy(
                list_id,
                **what,
                etag=visit.field("etag"),
                reason=visit.field("reason"),
                request_id=visit.field("request"),
            )
        except Aborted:
            page = await one_list.load(visit)
            there = page.contact_list or before
            return _stale(visit, page, form, there)
    visit.say("policy.saved")
    return visit.go(f"/list?{visit.request.url.query}")
