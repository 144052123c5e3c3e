"""What is on trial, and the letters that confirm limits: in the API, and for the page to attach them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request, Response

from collector.documents import MOST_BYTES, Letter
from collector.errors import LetterError
from collector.views import Queries
from collector.web import models
from collector.web.caller import caller
from collector.web.models import is_readable

#: beside the file itself, in a form
_ROOM = 64 * 1024
_NOT_KEPT: dict[int | str, dict[str, Any]] = {
    403: {"description": "the request comes from a page of another site"},
    409: {"model": models.Problem, "description": "it is none that a gateway names, or no letter"},
    413: {"model": models.Problem, "description": "it is too large"},
}
_NO_LETTER: dict[int | str, dict[str, Any]] = {
    404: {"model": models.Problem, "description": "no such letter is attached"},
    409: {"model": models.Problem, "description": "its file is gone or damaged"},
}
_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {}}}}


class Letters(Protocol):
    """Keeps letters.  Safe to call from any thread."""

    def attach(self, content: bytes, *, name: str, by: str, note: str, source: str, expected: str) -> str:
        """Keeps a letter that a gateway names and returns its SHA-256 (hex); raises LetterError with a sentence."""
        ...

    def read(self, digest: str) -> Letter | None:
        """Returns a letter that was attached, or None; raises LetterError where it is damaged."""
        ...

    def has(self, digest: str) -> bool:
        """Returns whether the file of a letter is here."""
        ...


class NoLetters:
    """Nothing can be attached."""

    def attach(self, content: bytes, *, name: str, by: str, note: str, source: str, expected: str) -> str:
        """Refuses."""
        raise LetterError("letters cannot be attached here")

    def read(self, digest: str) -> Letter | None:
        """Has none."""
        return None

    def has(self, digest: str) -> bool:
        """Has none."""
        return False


def trial_router(queries: Queries, letters: Letters) -> APIRouter:
    """Returns the routes, to be included below ``/api/v1``."""
    router = APIRouter()

    @router.get("/trial")
    def trial(
        gateway: Annotated[str | None, Query(max_length=128)] = None,
        state: Literal["trial", "confirmed", "unsaid"] | None = None,
    ) -> list[models.Trial]:
        """Every point that has limits: on trial since when, confirmed by whom, or unsaid by its gateway."""
        return [models.Trial.model_validate(view) for view in queries.trial(gateway, state)]

    @router.get("/letters")
    def named() -> list[models.LetterNamed]:
        """The letters that gateways name, and whether each is attached here."""
        return [models.LetterNamed.model_validate(view) for view in queries.letters()]

    @router.put("/letters", responses=_NOT_KEPT, openapi_extra=_BODY)
    async def attach(
        request: Request,
        by: Annotated[str, Query(min_length=1, max_length=64)],
        name: Annotated[str, Query(max_length=255)] = "",
        note: Annotated[str, Query(max_length=500)] = "",
        digest: Annotated[str, Query(max_length=64)] = "",
    ) -> models.Attached:
        """Attach a letter: the body is the file, and its SHA-256 must be one that a gateway names."""
        from anyio import to_thread

        check_length(request.headers, MOST_BYTES)
        check_words(by, note)
        content = b""
        async for part in request.stream():
            content += part
            if len(content) > MOST_BYTES:
                raise HTTPException(413, f"a letter has at most {MOST_BYTES} bytes")
        source = caller(request, "api")
        kept = await to_thread.run_sync(
            lambda: letters.attach(
                content, name=name, by=by.strip(), note=note.strip(), source=source, expected=digest.lower()
            )
        )
        return models.Attached(digest=kept)

    @router.get("/letters/{digest}", responses=_NO_LETTER, response_class=Response)
    def letter(digest: str) -> Response:
        """The letter itself, as it was attached; compared with its SHA-256 before it is handed out."""
        found = letters.read(digest)
        if found is None:
            raise HTTPException(404, "no such letter is attached")
        name = f"attachment; filename*=UTF-8''{quote(found.name, safe='')}"
        # Never shown by the browser as a page of ours, whatever is in it.
        return Response(found.content, media_type="application/octet-stream", headers={"Content-Disposition": name})

    return router


async def attach_from_form(request: Request, letters: Letters) -> tuple[str, str]:
    """Attaches what a form of the page sends; returns the form's language and the SHA-256 that was kept.

    Raises:
        HTTPException: it is too large, or names nobody.
        LetterError: as ``Letters.attach``.
    """
    from anyio import to_thread
    from starlette.datastructures import UploadFile

    check_length(request.headers, MOST_BYTES + _ROOM)
    form = await request.form(max_files=1, max_fields=8)
    words = {key: value for key, value in form.items() if isinstance(value, str)}
    file = form.get("file")
    by, note = words.get("by", "").strip(), words.get("note", "").strip()[:500]
    check_words(by, note)
    content = await file.read() if isinstance(file, UploadFile) else b""
    name = (file.filename or "") if isinstance(file, UploadFile) else ""
    source = caller(request, "page")
    kept = await to_thread.run_sync(
        lambda: letters.attach(
            content, name=name, by=by[:64], note=note, source=source, expected=words.get("digest", "")
        )
    )
    return words.get("lang", ""), kept


def check_length(headers: Mapping[str, str], most: int) -> None:
    """Refuses a body before it is read; the server holds it to the length that it declares."""
    length = headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        raise HTTPException(411, "the length of the body has to be declared")
    if len(length) > 12 or int(length) > most:
        raise HTTPException(413, f"a letter has at most {MOST_BYTES} bytes")


def check_words(by: str, note: str) -> None:
    """Refuses a name or note that is empty or cannot be read."""
    if not by.strip() or not is_readable(by) or not is_readable(note):
        raise HTTPException(422, "a name is needed, of characters that can be seen")
