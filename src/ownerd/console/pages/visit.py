"""One request: who makes it, what it asks for, and the ways to answer it."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ownerd.client import CallerAccess, Right
from ownerd.console.sessions import Notice, Session
from ownerd.console.words import Words, language_of, link

if TYPE_CHECKING:
    from ownerd.console.app import Console

MOST_FIELDS = 3_000
THEMES = ("auto", "light", "dark")
LIVE_HEADER = "x-live"

Handler = Callable[["Visit"], Awaitable[Response]]


class FormRefused(Exception):
    """A form is not from a page of this session."""


class Visit:
    """A request to one console, and its answer."""

    def __init__(self, request: Request, console: "Console") -> None:
        self.request = request
        self.console = console
        cookies = request.cookies
        accepted = request.headers.get("accept-language", "")
        self.words = Words(language_of(cookies.get("language"), accepted), cookies.get("zone"))
        self.zone_cookie = cookies.get("zone", "")
        theme = cookies.get("theme", "")
        self.theme = theme if theme in THEMES else "auto"
        # A page that refreshes itself does not keep its session from idling.
        self.is_live = LIVE_HEADER in request.headers
        self.session = console.sessions.find(
            cookies.get(console.cookie_name), is_use=not self.is_live
        )
        self._form: dict[str, list[str]] = {}

    @property
    def who(self) -> Session:
        """The session; only pages that need one ask for it."""
        assert self.session is not None
        return self.session

    # ---- what is asked for

    def given(self, name: str, default: str = "") -> str:
        """Return a parameter of the address."""
        return self.request.query_params.get(name, default)

    @property
    def list_id(self) -> str:
        """The list that the address names; quoted where a form did, as for `ids`."""
        return unquote(self.given("in")) or self.given("list")

    async def read_form(self) -> None:
        """Read the form that is sent, and check that this session's page had it.

        Raises:
            FormRefused
        """
        body = (await self.request.body()).decode("utf-8", "replace")
        try:
            pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=MOST_FIELDS)
        except ValueError:
            raise FormRefused from None
        for name, value in pairs:
            self._form.setdefault(name, []).append(value)
        if self.session is not None:
            sent = self.field("csrf").encode()
            if not hmac.compare_digest(sent, self.session.csrf.encode()):
                raise FormRefused

    def field(self, name: str, default: str = "") -> str:
        """Return a field of the form."""
        return self._form.get(name, [default])[-1]

    def ids(self, name: str) -> list[str]:
        """Return ids of the form, which are quoted there: a browser would change line ends."""
        return list(dict.fromkeys(unquote(value) for value in self._form.get(name, ()) if value))

    # ---- answers

    def render(self, template: str, status: int = 200, **context: Any) -> Response:
        """Return a page."""
        now = datetime.now(UTC)
        session = self.session
        notices = session.take_notices() if session and not self.is_live else []
        page = self.console.templates.get_template(template)
        text = page.render(
            visit=self,
            words=self.words,
            t=self.words.html,
            text=self.words.text,
            said=self.words.said,
            csrf=session.csrf if session else "",
            signed_in=session is not None,
            principal=session.principal_id if session else "",
            notices=notices,
            now=now,
            link=link,
            quote=lambda value: quote(value, safe=""),
            console=self.console,
            right=Right,
            **context,
        )
        return HTMLResponse(text, status)

    def go(self, address: str) -> Response:
        """Send the browser on to another page."""
        return RedirectResponse(address, 303)

    def say(self, key: str, *, is_error: bool = False, **arguments: Any) -> None:
        """Have something said on the next page."""
        self.who.notices.append(Notice(key, arguments, is_error))


def may(access: CallerAccess) -> Mapping[str, bool]:
    """Return what somebody may do on a list, by name, as templates ask for it.

    `control_all` is for what is done to every campaign at once.
    """
    return {
        "view": access.may(Right.VIEW),
        "configure": Right.CONFIGURE in access.rights,
        "control": access.may(Right.OWNERSHIP_CONTROL),
        "control_all": Right.OWNERSHIP_CONTROL in access.rights,
        "audit": Right.VIEW in access.rights,
        "dial": access.may(Right.DIAL),
    }
