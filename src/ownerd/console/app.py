"""The console as one ASGI application: its routes, its sessions, and what errors look like."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ownerd.client import (
    ClientError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from ownerd.console.changes import DEFAULT_PACE, Pace
from ownerd.console.guard import Guard
from ownerd.console.pages import (
    activity,
    configuring,
    lists,
    live,
    one_list,
    one_record,
    releasing,
    signing,
)
from ownerd.console.pages.visit import FormRefused, Handler, Visit
from ownerd.console.sessions import Sessions
from ownerd.console.settings import Settings
from ownerd.console.texts import LANGUAGES
from ownerd.console.views.audit import ACTIONS
from ownerd.console.words import for_people, link

HERE = Path(__file__).parent
SWEEP_EVERY_S = 30.0

# What a page says of an error, and with which status.
_ERRORS: tuple[tuple[type[Exception], int, str], ...] = (
    (PermissionDenied, 403, "error.denied"),
    (NotFound, 404, "error.not_found"),
    (ResourceExhausted, 429, "error.busy"),
    (InvalidArgument, 422, "error.value"),
    (ClientError, 502, "error.other"),
)


class Console:
    """What all requests of one console share; used on its event loop's thread only."""

    def __init__(self, settings: Settings, pace: Pace = DEFAULT_PACE) -> None:
        self.settings = settings
        self.pace = pace
        self.sessions = Sessions(settings.idle_s, settings.longest_s, span_s=pace.span_s)
        self.entry_key = secrets.token_urlsafe(32)
        self.port = settings.port
        self.stopping = asyncio.Event()
        self.languages = LANGUAGES
        self.actions = frozenset(ACTIONS)
        # The prefix has browsers take it from this very host only.
        self.cookie_name = "__Host-ownerd" if settings.is_secure else "ownerd_console"
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin something in the background."""
        return asyncio.create_task(work)

    async def keep(self) -> None:
        """End sessions that are over, for ever."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            await self.sessions.sweep()

    # ---- requests

    def page(
        self, handler: Handler, *, needs_session: bool = True
    ) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers requests with a page, also where that goes wrong."""

        async def answer(request: Request) -> Response:
            visit = Visit(request, self)
            if needs_session and visit.session is None:
                return self._to_sign_in(visit, "signin.over")
            try:
                response = await handler(visit)
                if visit.session is not None and needs_session:
                    visit.session.answered = datetime.now(UTC)
                return response
            except FormRefused:
                return self._error(visit, 403, "error.form")
            except Unauthenticated as error:
                return await self._no_longer_known(visit, error)
            except (Unavailable, DeadlineExceeded) as error:
                return self._lost(visit, error)
            except ClientError as error:
                status, key = next((s, k) for kind, s, k in _ERRORS if isinstance(error, kind))
                return self._error(visit, status, key, error.message)

        return answer

    def _to_sign_in(self, visit: Visit, why: str) -> Response:
        if visit.is_live:  # the page then loads itself anew, and comes here
            return PlainTextResponse("", 401)
        had_one = bool(visit.request.cookies.get(self.cookie_name))
        url = visit.request.url
        back = url.path + (f"?{url.query}" if url.query else "")
        is_page = visit.request.method == "GET" and back != "/"
        why_said = why if had_one or why != "signin.over" else None
        return visit.go(link("/signin", why=why_said, next=back if is_page else None))

    async def _no_longer_known(self, visit: Visit, error: Unauthenticated) -> Response:
        session, visit.session = visit.session, None
        if session is not None:
            await self.sessions.close(session)
        return self._to_sign_in(visit, "signin.revoked")

    def _lost(self, visit: Visit, error: ClientError) -> Response:
        if visit.request.method != "GET":
            return self._error(visit, 503, "error.unknown_outcome", error.message)
        since = visit.session.answered if visit.session else None
        return visit.render("lost.html", 503, since=since)

    def _error(self, visit: Visit, status: int, key: str, message: str = "") -> Response:
        return visit.render("error.html", status, key=key, message=for_people(message))

    async def failed(self, request: Request, error: Exception) -> Response:
        """Answer where we failed; what failed goes to the log."""
        return self._error(Visit(request, self), 500, "error.other")

    async def not_found(self, request: Request, error: Exception) -> Response:
        """Answer what no route does."""
        status = error.status_code if isinstance(error, HTTPException) else 404
        return self._error(Visit(request, self), status, "error.page")


def _routes(console: Console) -> list[Route | Mount]:
    page = console.page

    def get(path: str, handler: Handler, *, needs_session: bool = True) -> Route:
        return Route(path, page(handler, needs_session=needs_session), methods=["GET"])

    def post(path: str, handler: Handler, *, needs_session: bool = True) -> Route:
        return Route(path, page(handler, needs_session=needs_session), methods=["POST"])

    return [
        get("/", lists.show),
        get("/lists.csv", lists.save),
        get("/list", one_list.show),
        get("/campaigns.csv", one_list.save),
        *[get(f"/list/{step}", one_list.back) for step in _LIST_STEPS],
        post("/list/configure", configuring.review),
        post("/list/save", configuring.save),
        post("/list/act", releasing.review),
        post("/list/release", releasing.release),
        post("/list/transfer", releasing.transfer),
        get("/record", one_record.show),
        *[get(f"/record/{step}", one_record.back) for step in ("act", "release")],
        post("/record/act", one_record.review),
        post("/record/release", one_record.release),
        get("/activity", activity.show),
        get("/activity.csv", activity.save_charts),
        get("/audit.csv", activity.save),
        get("/events", live.stream),
        get("/signin", signing.show, needs_session=False),
        post("/signin", signing.sign_in, needs_session=False),
        get("/enter", signing.enter, needs_session=False),
        post("/signout", signing.sign_out, needs_session=False),
        post("/prefer", signing.prefer, needs_session=False),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]


_LIST_STEPS = ("configure", "save", "act", "release", "transfer")


def make_app(console: Console) -> Guard:
    """Return the application of a console."""
    errors: dict[Any, Any] = {404: console.not_found, 405: console.not_found, 500: console.failed}
    app = Starlette(routes=_routes(console), exception_handlers=errors)
    settings = console.settings
    return Guard(app, lambda: settings.hosts(console.port), is_secure=settings.is_secure)
