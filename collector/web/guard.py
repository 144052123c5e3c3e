"""What is asked of a request before it is served, and what every answer tells the browser.

There is no log-in yet, so the page listens on 127.0.0.1.  Even there another web site open in
the same browser could send requests to it.  Three rules stand against that:

* a request must name this machine as an IP literal, ``localhost`` or a configured name, so that a
  foreign name that was made to point here (DNS rebinding) is refused;
* whatever changes something must come from a page of ours (``Sec-Fetch-Site``, else ``Origin``);
* the browser may load and run only what comes from here, and nothing inline.

Knowledge: the Fetch Metadata and CSP Level 3 specifications of the W3C.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not ``no-referrer``: that would turn the Origin of our own forms into ``null``.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_our_name(host: str, names: Collection[str]) -> bool:
    """Tells whether a Host header names this machine: an IP literal, localhost, or one of ``names``."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_from_our_page(headers: Mapping[str, str]) -> bool:
    """Tells whether a request that changes something comes from a page of ours or from no page at all.

    Browsers send ``Sec-Fetch-Site`` to loopback and https addresses and ``Origin`` with every POST;
    a command-line client sends neither.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    return origin != "null" and urlsplit(origin).netloc == headers.get("host", "")


class Guard:
    """ASGI middleware that applies the rules; it streams answers through untouched."""

    def __init__(self, app: ASGIApp, *, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or refuses it in a sentence."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message, path=str(scope["path"]))
            await send(message)

        headers = Headers(scope=scope)
        if not is_our_name(headers.get("host", ""), self._names):
            refusal = PlainTextResponse("This collector is not known by that host name.\n", status_code=421)
            await refusal(scope, receive, send_with_headers)
        elif scope["method"] not in _SAFE and not is_from_our_page(headers):
            refusal = PlainTextResponse("Requests from pages of other sites are refused.\n", status_code=403)
            await refusal(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def _add_headers(message: MutableMapping[str, Any], *, path: str) -> None:
    headers = MutableHeaders(raw=message["headers"])
    for name, value in HEADERS.items():
        headers[name] = value
    # Static files have an ETag and may be kept if they are asked about; a state never may.
    headers["Cache-Control"] = "no-cache" if path.startswith("/static/") else "no-store"
    message["headers"] = headers.raw
