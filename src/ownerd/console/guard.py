"""What every request passes and every answer carries, whatever page it is.

Answers: headers by which a browser runs, shows and embeds nothing that is not from here. Requests:
the host must be ours, so that no other site's name leads here; what changes something must come
from a page of ours; bodies are small. Plain ASGI, so that it holds for streams and errors too.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ownerd.console.words import Words, language_of

MAX_BODY_BYTES = 1 << 20
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SAFE = ("GET", "HEAD")


class Guard:
    """The ASGI application around all others.

    Args:
        app: what answers.
        hosts: returns what a Host may be; None: anything.
        is_secure: browsers reach us by HTTPS, so they are told to stay with it.
    """

    def __init__(
        self, app: ASGIApp, hosts: Callable[[], frozenset[str] | None], *, is_secure: bool
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._is_secure = is_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message), scope["path"])
            await send(message)

        refusal = self._refusal(scope["method"], headers)
        if refusal:
            status, key = refusal
            words = Words(language_of(None, headers.get("accept-language", "")))
            answer = PlainTextResponse(words.text(key), status)
            await answer(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _add_headers(self, headers: MutableHeaders, path: str) -> None:
        for name, value in HEADERS.items():
            headers[name] = value
        if not path.startswith("/static/"):
            headers["Cache-Control"] = "no-store"
        if self._is_secure:
            headers["Strict-Transport-Security"] = "max-age=31536000"

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        """Return the status and the text that a request is refused with; None: it is not."""
        host, hosts = headers.get("host", ""), self._hosts()
        if hosts is not None and host not in hosts:
            return 421, "error.host"
        if method in _SAFE:
            return None
        # Browsers send it with every form; what comes without is no browser, or a page elsewhere.
        if urlsplit(headers.get("origin", "")).netloc != host or not host:
            return 403, "error.form"
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return 403, "error.form"
        size = headers.get("content-length", "")
        if not size.isdecimal() or int(size) > MAX_BODY_BYTES:
            return 413, "error.form"
        return None
