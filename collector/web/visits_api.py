"""Visits in the API, ``/api/v1``: where to go and why, what was done there, what is due; each as CSV, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import StreamingResponse

from collector.views import Queries
from collector.visit_views import ErrandView, UpkeepView, VisitFilter, VisitView
from collector.web import visit_models as models
from collector.web.spreadsheet import BYTE_ORDER_MARK, cell, csv_text, utc
from rules.visit_words import said_of

CSV_PAGE = 500

Word = Annotated[str | None, Query(max_length=128)]


def visit_filter(gateway: Word = None, point: Word = None, job: Word = None, result: Word = None) -> VisitFilter:
    """Returns the filter that a request asks for."""
    return VisitFilter(gateway=gateway, point=point, job=job, result=result)


Chosen = Annotated[VisitFilter, Depends(visit_filter)]


def visits_router(queries: Queries) -> APIRouter:
    """Returns the routes about visits, to be included below ``/api/v1``."""
    router = APIRouter()

    @router.get("/errands")
    def errands(gateway: Word = None) -> list[models.Errand]:
        """Where somebody has to go, street by street: probable cause and what to bring."""
        return [models.Errand.model_validate(view) for view in queries.errands(gateway)]

    @router.get("/errands.csv", response_class=StreamingResponse)
    def errands_csv(gateway: Word = None) -> StreamingResponse:
        """The same as CSV."""
        return _csv("errands.csv", [ERRAND_COLUMNS, *map(_errand_cells, queries.errands(gateway))])

    @router.get("/visits")
    def visits(
        chosen: Chosen, after: Word = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> models.VisitPage:
        """Bump tests and calibrations, newest first, a page at a time; ``after`` is the ``next`` of the page before.

        ``point`` is a key, or the beginning of one that ends in ``/``; ``job`` is bump or calibration; ``result`` is
        passed, failed, abandoned or interrupted.
        """
        try:
            return models.VisitPage.model_validate(queries.visits(chosen, limit=limit, after=after))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    @router.get("/visits.csv", response_class=StreamingResponse)
    def visits_csv(chosen: Chosen) -> StreamingResponse:
        """All of these as CSV (UTF-8 with a byte order mark, times in UTC)."""
        try:
            queries.visits(chosen, limit=1)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return StreamingResponse(
            visit_lines(queries, chosen), media_type="text/csv; charset=utf-8", headers=_named("visits.csv")
        )

    @router.get("/upkeep")
    def upkeep(gateway: Word = None) -> list[models.Upkeep]:
        """When each point was tested and calibrated last and is due again, as its gateway states it."""
        return [models.Upkeep.model_validate(view) for view in queries.upkeep(gateway)]

    @router.get("/upkeep.csv", response_class=StreamingResponse)
    def upkeep_csv(gateway: Word = None) -> StreamingResponse:
        """The same as CSV."""
        return _csv("upkeep.csv", [UPKEEP_COLUMNS, *map(_upkeep_cells, queries.upkeep(gateway))])

    return router


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _csv(name: str, rows: Iterable[Sequence[str]]) -> StreamingResponse:
    text = BYTE_ORDER_MARK + csv_text(rows)
    return StreamingResponse(iter([text]), media_type="text/csv; charset=utf-8", headers=_named(name))


# ---- cells -----------------------------------------------------------------------------------

_VISIT = (
    "id", "gateway", "point", "en", "zh", "job", "result", "reason", "by", "unit", "zero", "applied", "peak", "t90_s",
    "t90_limit_s", "return_s", "return_limit_s", "serial", "note",
)  # fmt: skip
_VISIT_TIMES = ("recorded_us", "began_us", "ended_us")
VISIT_COLUMNS = (*_VISIT, *(name.removesuffix("_us") for name in _VISIT_TIMES), "reason_zh")
_UPKEEP = ("street", "gateway", "point", "job", "state", "due", "last", "is_stated")
UPKEEP_COLUMNS = (*_UPKEEP, "stated")
_ERRAND = ("street", "gateway", "gateway_en", "gateway_zh", "device", "point", "en", "zh", "finding", "due", "detail")
ERRAND_COLUMNS = (
    *_ERRAND, "what_en", "what_zh", "cause_en", "cause_zh", "bring_en", "bring_zh", "based", "detail_zh",
)  # fmt: skip


def visit_lines(queries: Queries, filter: VisitFilter) -> Iterator[str]:
    """Yields visits as CSV, a page of them at a time."""
    yield BYTE_ORDER_MARK + csv_text([VISIT_COLUMNS])
    after: str | None = None
    while True:
        page = queries.visits(filter, limit=CSV_PAGE, after=after)
        yield csv_text(map(_visit_cells, page.visits))
        if page.next is None:
            return
        after = page.next


def _visit_cells(view: VisitView) -> tuple[str, ...]:
    plain = (cell(getattr(view, name)) for name in _VISIT)
    return (*plain, *(utc(getattr(view, name)) for name in _VISIT_TIMES), cell(said_of(view.reason)[1]))


def _upkeep_cells(view: UpkeepView) -> tuple[str, ...]:
    return (*(cell(getattr(view, name)) for name in _UPKEEP), utc(view.stated_us))


def _errand_cells(view: ErrandView) -> tuple[str, ...]:
    brought = ("; ".join(pair[0] for pair in view.bring), "; ".join(pair[1] for pair in view.bring))
    said = (*view.what, *view.cause, *brought)
    return (
        *(cell(getattr(view, name)) for name in _ERRAND),
        *map(cell, said),
        utc(view.based_us),
        cell(said_of(view.detail)[1]),
    )
