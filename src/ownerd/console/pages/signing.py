"""Coming in and going out: by a token of one's own, or by the address that the program printed."""

import hmac

from starlette.responses import Response

from ownerd.client import ClientError, DeadlineExceeded, Unauthenticated, Unavailable
from ownerd.console import counting
from ownerd.console.pages.visit import THEMES, Visit
from ownerd.console.texts import LANGUAGES

YEAR_S = 31_536_000
REASONS = ("signin.over", "signin.revoked", "signin.refused", "signin.empty", "signin.lost")


async def show(visit: Visit) -> Response:
    """Show the form, or why nobody can sign in here."""
    if visit.session is not None:
        return visit.go("/")
    return _form(visit, visit.given("why"))


def _form(visit: Visit, why: str = "", status: int = 200, message: str = "") -> Response:
    return visit.render(
        "signin.html",
        status,
        why=why if why in REASONS else "",
        message=message,
        next=_local(visit.given("next", "/")),
        can_sign_in=visit.console.settings.sign_in,
    )


def _local(address: str) -> str:
    """Return an address if it is one of ours."""
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_ours and address.isprintable() else "/"


async def sign_in(visit: Visit) -> Response:
    """Begin a session for whoever has a token that the server knows."""
    if not visit.console.settings.sign_in:
        return _form(visit, status=403)
    if visit.session is not None:  # the form is from before another tab signed in
        return visit.go("/")
    await visit.read_form()
    token = visit.field("token").strip()
    try:
        client = visit.console.settings.upstream.client(token)
    except ValueError:
        return _form(visit, "signin.empty", 422)
    if not token:
        await client.close()
        return _form(visit, "signin.empty", 422)
    try:
        access = await client.caller_access()
    except Unauthenticated:
        await client.close()
        return _form(visit, "signin.refused", 422)
    except (Unavailable, DeadlineExceeded):
        await client.close()
        return _form(visit, "signin.lost", 503)
    except ClientError as error:
        await client.close()
        return _form(visit, "signin.refused", 422, error.message)
    name, session = await visit.console.sessions.open(client, access.principal_id)
    session.begin(visit.console.task(counting.sample(session, visit.console.pace.sampling_s)))
    return _with_cookie(visit, visit.go(_local(visit.given("next", "/"))), name)


async def enter(visit: Visit) -> Response:
    """Begin a session for whoever has the address that was printed."""
    key = visit.console.entry_key
    if visit.console.settings.sign_in or not hmac.compare_digest(
        visit.given("key").encode(), key.encode()
    ):
        return visit.go("/signin")
    settings = visit.console.settings
    client = settings.upstream.client(settings.token, settings.token_file)
    try:
        principal_id = (await client.caller_access()).principal_id
    except Unauthenticated as error:
        await client.close()
        return _form(visit, "signin.refused", 401, error.message)
    except ClientError:
        principal_id = ""  # the pages say what is wrong, and go on trying
    name, session = await visit.console.sessions.open(client, principal_id)
    session.begin(visit.console.task(counting.sample(session, visit.console.pace.sampling_s)))
    return _with_cookie(visit, visit.go("/"), name)


def _with_cookie(visit: Visit, response: Response, name: str) -> Response:
    response.set_cookie(
        visit.console.cookie_name,
        name,
        path="/",
        httponly=True,
        samesite="strict",
        secure=visit.console.settings.is_secure,
    )
    return response


async def sign_out(visit: Visit) -> Response:
    """End the session."""
    if visit.session is not None:
        await visit.read_form()
        await visit.console.sessions.close(visit.session)
    response = visit.go("/signin")
    response.delete_cookie(
        visit.console.cookie_name,
        path="/",
        httponly=True,
        samesite="strict",
        secure=visit.console.settings.is_secure,
    )
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


async def prefer(visit: Visit) -> Response:
    """Keep the language and the appearance that somebody chose, in their browser."""
    await visit.read_form()
    response = visit.go(_local(visit.field("back", "/")))
    for name, known in (("language", [*LANGUAGES]), ("theme", [*THEMES])):
        if (chosen := visit.field(name)) in known:
            response.set_cookie(name, chosen, max_age=YEAR_S, path="/", samesite="strict")
    return response
