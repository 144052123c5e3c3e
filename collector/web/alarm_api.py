"""Alarms in the API, ``/api/v1``: lists, journal, CSV, acknowledging, and a stream of server-sent events.

The stream tells first of every alarm that stands and then of each that changes, as it stands now:
``event: alarm`` with the alarm as JSON, ``event: ready`` once after the first ones.  Who connects again
is told all of them again, so nothing has to be remembered and nothing that happened in between is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import StreamingResponse

from collector.views import AlarmFilter, AlarmView, Change, Queries
from collector.web import models
from collector.web.caller import caller
from collector.web.ports import Actions, Changes
from collector.web.spreadsheet import BYTE_ORDER_MARK, cell, csv_text, utc

_NO_ALARM: dict[int | str, dict[str, Any]] = {404: {"model": models.Problem, "description": "no such alarm"}}
_FOREIGN: dict[int | str, dict[str, Any]] = {403: {"description": "the request comes from a page of another site"}}
_NOT_ON_TRIAL: dict[int | str, dict[str, Any]] = {
    409: {"model": models.Problem, "description": "it is not held back for trial"}
}
#: alarms that stand, at most, in one list
MOST = 10_000
CSV_PAGE = 500
#: between two looks at sources that have gone silent or came back, and between two signs of life (s)
LOOK_S, ALIVE_S = 10.0, 15.0

Word = Annotated[str | None, Query(max_length=128)]
Moment = Annotated[int | None, Query(ge=0, le=2**62)]


def journal_filter(
    gateway: Word = None,
    point: Word = None,
    severity: Word = None,
    state: Word = None,
    start_us: Moment = None,
    end_us: Moment = None,
    test: Word = None,
) -> AlarmFilter:
    """Returns the filter that a request asks for."""
    return AlarmFilter(
        gateway=gateway, point=point, severity=severity, state=state, test=test, start_us=start_us, end_us=end_us
    )


Chosen = Annotated[AlarmFilter, Depends(journal_filter)]


def alarm_router(*, queries: Queries, actions: Actions, changes: Changes) -> APIRouter:
    """Returns the routes about alarms, to be included below ``/api/v1``."""
    router = APIRouter()

    @router.get("/alarms")
    def alarms(standing: bool = True, limit: Annotated[int, Query(ge=1, le=MOST)] = 200) -> list[models.Alarm]:
        """Alarms that stand: not acknowledged, graver and newer ones first; or all of them, newer ones first."""
        return _told(queries.alarms(standing_only=standing, limit=limit))

    @router.get("/alarm-counts")
    def counts() -> models.AlarmCounts:
        """How many alarms stand, by severity, and how many wait for somebody."""
        return models.AlarmCounts.model_validate(queries.alarm_counts())

    @router.get("/alarm-reviews")
    def reviews(limit: Annotated[int, Query(ge=1, le=MOST)] = 200) -> list[models.Alarm]:
        """Alarms that were over before word of them came, not acknowledged yet; they page nobody."""
        return _told(queries.reviews(limit))

    @router.get("/alarm-statements")
    def statements(gateway: Word = None) -> list[models.Statement]:
        """What each gateway stated last of its alarms, and where that differs from what is held here."""
        return [models.Statement.model_validate(view) for view in queries.statements(gateway)]

    @router.get("/alarm-journal")
    def journal(
        chosen: Chosen, after: Word = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> models.AlarmPage:
        """Every alarm there was, newest first, a page at a time; ``after`` is the ``next`` of the page before.

        ``point`` is a key, or the beginning of one that ends in ``/``; ``state`` is active, source_silent, cleared,
        or standing for the first two; ``test`` is ``only`` (test alarms) or ``without``; times are when an alarm was
        raised.
        """
        try:
            return models.AlarmPage.model_validate(queries.journal(chosen, limit=limit, after=after))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    @router.get("/alarm-journal.csv", response_class=StreamingResponse)
    def journal_csv(chosen: Chosen) -> StreamingResponse:
        """The whole journal with the same filters as CSV (UTF-8 with a byte order mark, times in UTC)."""
        try:
            queries.journal(chosen, limit=1)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        headers = {"Content-Disposition": 'attachment; filename="alarms.csv"'}
        return StreamingResponse(csv_lines(queries, chosen), media_type="text/csv; charset=utf-8", headers=headers)

    @router.get("/alarm-events", response_class=StreamingResponse)
    async def alarm_events() -> StreamingResponse:
        """Server-sent events: every alarm that stands, then every one that changes."""
        return StreamingResponse(alarm_stream(queries, changes), media_type="text/event-stream")

    @router.get("/alarms/{id}", responses=_NO_ALARM)
    def alarm(id: str) -> models.Alarm:
        """One alarm with its time line and all that people said about it."""
        return _found(queries.alarm(id))

    @router.post("/alarms/{id}/acknowledge", responses=_NO_ALARM | _FOREIGN)
    def acknowledge(id: str, said: models.Acknowledgement, request: Request) -> models.Alarm:
        """Record who has seen an alarm. It clears and resets nothing."""
        return _found(actions.acknowledge(id, said.by, said.note, caller(request, "api")))

    @router.post("/alarms/{id}/unacknowledge", responses=_NO_ALARM | _FOREIGN)
    def unacknowledge(id: str, said: models.Acknowledgement, request: Request) -> models.Alarm:
        """Record who takes an acknowledgement back. What was said before stays in the record."""
        return _found(actions.unacknowledge(id, said.by, said.note, caller(request, "api")))

    @router.post("/alarms/{id}/warn", responses=_NO_ALARM | _FOREIGN | _NOT_ON_TRIAL)
    def warn(id: str, said: models.Acknowledgement, request: Request) -> models.Alarm:
        """Make a trial alarm a real warning: it pages, also where it is over by now. Nothing takes it back."""
        return _found(actions.warn(id, said.by, said.note, caller(request, "api")))

    return router


def _told(views: list[AlarmView]) -> list[models.Alarm]:
    return [models.Alarm.model_validate(view) for view in views]


def _found(view: AlarmView | None) -> models.Alarm:
    if view is None:
        raise HTTPException(404, "no such alarm")
    return models.Alarm.model_validate(view)


# ---- CSV -------------------------------------------------------------------------------------

_TIMES = (
    "raised_us", "sampled_us", "judged_us", "sealed_us", "received_us", "committed_us", "shown_us", "acknowledged_us",
    "cleared_us", "warned_us",
)  # fmt: skip
_PLAIN = (
    "id", "gateway", "point", "en", "zh", "rule_id", "rule_en", "rule_zh", "severity", "scheme", "state", "measurement",
    "cause", "value", "unit", "limit", "is_late", "decision", "decision_reason", "stood_s", "acknowledged_by",
    "warned_by",
)  # fmt: skip
COLUMNS = (*_PLAIN, *(name.removesuffix("_us") for name in _TIMES))


def csv_lines(queries: Queries, filter: AlarmFilter) -> Iterator[str]:
    """Yields the journal as CSV, a page of it at a time."""
    yield BYTE_ORDER_MARK + csv_text([COLUMNS])
    after: str | None = None
    while True:
        page = queries.journal(filter, limit=CSV_PAGE, after=after)
        yield csv_text([_cells(alarm) for alarm in page.alarms])
        if page.next is None:
            return
        after = page.next


def _cells(alarm: AlarmView) -> tuple[str, ...]:
    plain = (cell(getattr(alarm, name)) for name in _PLAIN)
    return (*plain, *(utc(getattr(alarm, name)) for name in _TIMES))


# ---- server-sent events ----------------------------------------------------------------------


async def alarm_stream(
    queries: Queries, changes: Changes, *, look_s: float = LOOK_S, alive_s: float = ALIVE_S
) -> AsyncIterator[str]:
    """Yields events for one listener until it goes away or the collector stops."""
    changed: set[str] = set()
    touched = asyncio.Event()
    collecting = asyncio.create_task(_collect(changes, changed, touched))
    collecting.add_done_callback(lambda _: touched.set())
    loop = asyncio.get_running_loop()
    told: dict[str, str] = {}
    try:
        await asyncio.sleep(0)  # the listener is there before the state is read
        first = await asyncio.to_thread(queries.alarms, standing_only=True, limit=MOST)
        for alarm in first:
            told[alarm.id] = alarm.measurement
            yield _event(alarm)
        yield "event: ready\ndata: {}\n\n"
        look_due, alive_due = loop.time() + look_s, loop.time() + alive_s
        while not collecting.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(touched.wait(), max(0.0, min(look_due, alive_due) - loop.time()))
            touched.clear()
            ids, now = sorted(changed), loop.time()
            changed.clear()
            for at in range(0, len(ids), CSV_PAGE):
                for alarm in await asyncio.to_thread(queries.alarms_by_id, ids[at : at + CSV_PAGE]):
                    told[alarm.id] = alarm.measurement
                    yield _event(alarm)
            if now >= look_due:
                standing = await asyncio.to_thread(queries.alarms, standing_only=True, limit=MOST)
                for alarm in standing:
                    if told.get(alarm.id) != alarm.measurement:
                        yield _event(alarm)
                told = {alarm.id: alarm.measurement for alarm in standing}
                look_due = loop.time() + look_s
            if now >= alive_due:
                yield ": alive\n\n"
                alive_due = loop.time() + alive_s
        collecting.result()
    finally:
        collecting.cancel()


async def _collect(changes: Changes, changed: set[str], touched: asyncio.Event) -> None:
    source: AsyncIterator[Change] = changes.subscribe()
    try:
        async for change in source:
            if change.alarms:
                changed |= change.alarms
                touched.set()
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


def _event(alarm: AlarmView) -> str:
    return f"event: alarm\nid: {alarm.id}\ndata: {models.Alarm.model_validate(alarm).model_dump_json()}\n\n"
