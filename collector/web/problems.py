"""What a request that failed is answered: a page to a person in a browser, JSON to a program.

The status is the same for both, and so is the sentence of what was wrong, which is English; a page says beside it in
the reader's language what that means, and leads back.  The pages of this file ask no table: what failed may be
the store.  Not here: forms whose own page says what was wrong (``trial.html``), and refusals of ``guard``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from collector.web.guard import HEADERS
from collector.web.language import Language, choose, mark, say
from collector.web.render import Renderer

COOKIE = "qianshao_language"
#: what is asked by programs, whatever they say that they accept
_FOR_PROGRAMS = ("/api/", "/static/", "/healthz", "/metrics", "/events")
_MEANING = {
    404: mark("What was asked for is not here, or not any more."),
    409: mark("It does not fit what is known here. Nothing was recorded."),
    413: mark("The file is empty or larger than 8 MB."),
    422: mark("Nothing was recorded: what was typed is missing, too long or cannot be read."),
    500: mark("The collector made a mistake; its log says more."),
    503: mark("The collector's store could not do it. Nothing was recorded; try again."),
}
_OTHER = mark("It could not be done.")


class Problems:
    """Answers requests that failed."""

    def __init__(self, renderers: Mapping[Language, Renderer], now_us: Callable[[], int]) -> None:
        """Takes what writes a page in each language, and the clock (UTC us)."""
        self._renderers = renderers
        self._now_us = now_us

    def http(self, request: Request, error: Exception) -> Response:
        """Says what a route said."""
        assert isinstance(error, HTTPException)
        return self._answer(request, error.status_code, str(error.detail), error.headers)

    def store_failed(self, request: Request, error: Exception) -> Response:
        """Says that nothing was kept or read; trying again can help."""
        return self._answer(request, 503, f"the store could not do it: {error}")

    def refused(self, request: Request, error: Exception) -> Response:
        """Says why what was asked for does not fit what is known."""
        return self._answer(request, 409, str(error))

    def wrong(self, request: Request, error: Exception) -> Response:
        """Says which parameters are wrong; what was sent is not sent back."""
        assert isinstance(error, RequestValidationError)
        parts = [f"{'.'.join(map(str, item['loc'][1:])) or item['loc'][0]}: {item['msg']}" for item in error.errors()]
        return self._answer(request, 422, "; ".join(parts))

    def unforeseen(self, request: Request, error: Exception) -> Response:
        """Says that it was our mistake; the log has the rest."""
        # Starlette answers this outside every middleware: what the guard adds would be missing.
        headers = {**HEADERS, "Cache-Control": "no-store"}
        return self._answer(request, 500, "the collector made a mistake; its log says more", headers)

    def _answer(self, request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
        if not is_for_a_person(request):
            return JSONResponse({"detail": detail}, status_code=status, headers=headers)
        language = language_of(request)
        html = self._renderers[language].problem(
            say(language, _MEANING.get(status, _OTHER)),
            detail,
            _back(request) or f"/?lang={language}",
            self._now_us(),
        )
        said = {"Content-Language": language, "Vary": "Accept, Accept-Language, Cookie", **(headers or {})}
        return HTMLResponse(html, status_code=status, headers=said)


def language_of(request: Request, form: str = "") -> Language:
    """Returns the language to answer in; ``form`` is what a form says of it.

    A form does not always say it where it fails; then the page that it stood on does.
    """
    asked = form or request.query_params.get("lang") or _asked_before(request)
    return choose(asked, request.cookies.get(COOKIE), request.headers.get("accept-language"))


def is_for_a_person(request: Request) -> bool:
    """Returns whether a browser shows the answer to somebody; our own scripts ask for something else."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(_FOR_PROGRAMS)


def _asked_before(request: Request) -> str | None:
    asked = parse_qs(urlsplit(_back(request)).query).get("lang")
    return asked[0] if asked else None


def _back(request: Request) -> str:
    """Returns the address on this host of the page that a form stood on; empty where it is not told."""
    try:
        page = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    if request.method != "POST" or page.netloc != request.headers.get("host") or not page.path.startswith("/"):
        return ""
    # To a browser a backslash is a slash, and what follows two of them another host.
    return "/" + page.path.lstrip("/\\") + (f"?{page.query}" if page.query else "")
