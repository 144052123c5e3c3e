"""Puts the web side together: the page, the live stream, the API, health and metrics.

One page, server-rendered, readable without scripts.  The scripts are our own (``static/live.js``,
``static/trend.js``) and one fetched library for the chart; nothing is loaded from elsewhere at run
time.  There is no log-in yet: serve it on 127.0.0.1 only.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import FastAPI, Form, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from collector.errors import LetterError, NotOnTrialError, StoreError
from collector.views import PointView, Queries, Trend
from collector.web import arrange, words
from collector.web.api import api_router
from collector.web.caller import caller
from collector.web.guard import Guard
from collector.web.journal_page import journal_page
from collector.web.language import LANGUAGES
from collector.web.live import LivePage, read_alarms, read_quarantine, stream
from collector.web.metrics import CONTENT_TYPE, metrics_text
from collector.web.models import Problem, is_readable
from collector.web.notify_api import NoNotifying, Notifying, notify_router
from collector.web.ports import Actions, Changes, Info
from collector.web.problems import COOKIE, Problems, is_for_a_person, language_of
from collector.web.render import Renderer
from collector.web.trial_api import Letters, NoLetters, attach_from_form
from collector.web.visits_page import visits_page
from collector.web.watch_api import Watcher, watch_router
from collector.web.waveform_page import waveform_page

STATIC = Path(__file__).resolve().parent / "static"
_YEAR_S = 31_536_000


def wall_us() -> int:
    """Returns this machine's clock, UTC microseconds."""
    return time.time_ns() // 1000


_UNHEALTHY: dict[int | str, dict[str, Any]] = {503: {"model": Problem, "description": "not in order, and why"}}


def _span(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None


def create_app(
    *,
    queries: Queries,
    actions: Actions,
    changes: Changes,
    info: Info,
    now_us: Callable[[], int] = wall_us,
    zone: tzinfo | None = None,
    host_names: Collection[str] = (),
    static: Path = STATIC,
    watcher: Watcher | None = None,
    notifying: Notifying | None = None,
    letters: Letters | None = None,
) -> FastAPI:
    """Returns the ASGI application.

    Args:
        queries: everything that is shown.
        actions: what a person may do.
        changes: tells live pages what a commit has changed.
        info: facts for the foot of the page and the metrics.
        now_us: UTC microseconds.
        zone: of the times on the page; None is the zone of this machine.
        host_names: names besides IP literals and ``localhost`` under which browsers may ask.
        static: folder of scripts and styles.
        watcher: asks a gateway for live data when a point of it is opened; None: nobody does.
        notifying: tells people outside the room; None: nobody is told.
        letters: keeps the letters that confirm limits; None: nothing can be attached.
    """
    told = notifying if notifying is not None else NoNotifying()
    kept = letters if letters is not None else NoLetters()
    has_chart = (static / "vendor" / "uPlot.iife.min.js").is_file()
    renderers = {
        language: Renderer(language, zone=zone, info=info, has_chart=has_chart, counts=queries.alarm_counts)
        for language in LANGUAGES
    }
    app = FastAPI(
        title="Qianshao collector",
        version=info.version,
        openapi_url="/api/v1/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.router.redirect_slashes = False
    problems = Problems(renderers, now_us)
    app.add_exception_handler(StoreError, problems.store_failed)
    app.add_exception_handler(sqlite3.Error, problems.store_failed)
    app.add_exception_handler(NotOnTrialError, problems.refused)
    app.add_exception_handler(LetterError, problems.refused)
    app.add_exception_handler(RequestValidationError, problems.wrong)
    app.add_exception_handler(StarletteHTTPException, problems.http)
    app.add_exception_handler(Exception, problems.unforeseen)
    app.add_middleware(Guard, names=host_names)
    app.include_router(api_router(queries=queries, actions=actions, changes=changes, now_us=now_us, letters=kept))
    if watcher is not None:
        app.include_router(watch_router(watcher, lambda id: any(view.id == id for view in queries.gateways())))
    app.include_router(notify_router(told))
    app.mount("/static", StaticFiles(directory=static), name="static")

    def trend_of(chosen: arrange.Chosen, end_us: int) -> Trend | None:
        return queries.trend(chosen.gateway, chosen.key, end_us - chosen.span_s * 1_000_000, end_us)

    def look_at(asked: str | None, points: Sequence[PointView], request: Request) -> None:
        """Asks for live data of the gateway whose point somebody has opened."""
        gateway = (asked or "").partition("/")[0]
        if watcher is not None and any(point.gateway == gateway for point in points):
            watcher.watch(gateway, caller(request, "page"))

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        language, now = language_of(request), now_us()
        gateways, points, counters = queries.gateways(), queries.points(), queries.counters()
        shown_alarms = read_alarms(queries)
        asked = request.query_params.get("point")
        look_at(asked, points, request)
        chosen = arrange.choose_point(asked, _span(request.query_params.get("span")), points, shown_alarms)
        html = renderers[language].page(
            gateways=gateways,
            points=points,
            alarms=shown_alarms,
            counts=queries.alarm_counts(),
            chains=queries.chains(),
            statements=queries.statements(),
            trouble=arrange.Trouble.read(counters),
            quarantine=read_quarantine(queries, counters),
            chosen=chosen,
            trend=None if chosen is None else trend_of(chosen, now),
            now_us=now,
            problem=request.query_params.get("problem", ""),
        )
        actions.note_shown([alarm.id for alarm in shown_alarms if alarm.shown_us is None])
        response = HTMLResponse(html, headers={"Content-Language": language, "Vary": "Accept-Language, Cookie"})
        if request.query_params.get("lang") == language:
            response.set_cookie(COOKIE, language, max_age=_YEAR_S, samesite="strict", httponly=True)
        return response

    @app.get("/trend-panel", response_class=HTMLResponse, include_in_schema=False)
    def trend_panel(request: Request) -> HTMLResponse:
        gateway, _, key = request.query_params.get("point", "").partition("/")
        point = queries.point(gateway, key)
        if point is None:
            raise HTTPException(404, "no such point")
        look_at(f"{gateway}/{key}", [point], request)
        chosen = arrange.choose_point(f"{gateway}/{key}", _span(request.query_params.get("span")), [point], [])
        if chosen is None:
            raise HTTPException(404, "no such point")
        now = now_us()
        renderer = renderers[language_of(request)]
        return HTMLResponse(renderer.trend_panel(point, trend_of(chosen, now), chosen.span_s, now))

    @app.get("/events", include_in_schema=False)
    async def events(request: Request) -> StreamingResponse:
        live = LivePage(
            queries=queries, renderer=renderers[language_of(request)], now_us=now_us, note_shown=actions.note_shown
        )
        body: AsyncIterator[str] = stream(changes, live)
        return StreamingResponse(body, media_type="text/event-stream")

    @app.get("/alarms", response_class=HTMLResponse, include_in_schema=False)
    def alarms(request: Request) -> HTMLResponse:
        language = language_of(request)
        html = journal_page(queries, renderers[language], request.query_params, zone=zone, now_us=now_us())
        return HTMLResponse(html, headers={"Content-Language": language, "Vary": "Accept-Language, Cookie"})

    @app.get("/waveforms", response_class=HTMLResponse, include_in_schema=False)
    def waveforms(request: Request) -> HTMLResponse:
        html = waveform_page(queries, renderers[language_of(request)], request.query_params, now_us())
        return HTMLResponse(html, headers={"Vary": "Accept-Language, Cookie"})

    @app.get("/visits", response_class=HTMLResponse, include_in_schema=False)
    def visits(request: Request) -> HTMLResponse:
        language = language_of(request)
        html = visits_page(queries, renderers[language], request.query_params, now_us())
        return HTMLResponse(html, headers={"Content-Language": language, "Vary": "Accept-Language, Cookie"})

    @app.get("/notify", response_class=HTMLResponse, include_in_schema=False)
    def notify(request: Request) -> HTMLResponse:
        language, tested = language_of(request), request.query_params.get("tested", "")
        html = renderers[language].notify(told.rules(), told.recent(50), tested[:32], now_us(), told.problem())
        return HTMLResponse(html, headers={"Content-Language": language, "Vary": "Accept-Language, Cookie"})

    @app.post("/notify/test", include_in_schema=False)
    def notify_test(
        request: Request, name: Annotated[str, Form(max_length=32)], lang: Annotated[str, Form()] = ""
    ) -> Response:
        if told.test(name, caller(request, "page")) is None:
            raise HTTPException(404, "no such rule")
        language = language_of(request, lang)
        return RedirectResponse(f"/notify?{urlencode({'lang': language, 'tested': name})}", status_code=303)

    @app.get("/trial", response_class=HTMLResponse, include_in_schema=False)
    def trial(request: Request) -> HTMLResponse:
        language, query = language_of(request), request.query_params
        points = queries.trial(query.get("gateway") or None)
        html = renderers[language].trial(
            points, queries.letters(), now_us(), has_file=kept.has, attached=query.get("attached", "")
        )
        return HTMLResponse(html, headers={"Content-Language": language, "Vary": "Accept-Language, Cookie"})

    @app.post("/trial/letters", include_in_schema=False)
    async def attach(request: Request) -> Response:
        language = language_of(request)
        try:
            lang, digest = await attach_from_form(request, kept)
        except LetterError as error:
            html = renderers[language].trial(
                queries.trial(), queries.letters(), now_us(), has_file=kept.has, wrong=str(error), why=error.why
            )
            return HTMLResponse(html, status_code=409, headers={"Content-Language": language})
        language = language_of(request, lang)
        return RedirectResponse(f"/trial?{urlencode({'lang': language, 'attached': digest})}", status_code=303)

    @app.get("/day/{gateway}", response_class=HTMLResponse, include_in_schema=False)
    def day(gateway: str, request: Request) -> HTMLResponse:
        # Decodes what the gateway sent today, so it is asked for and not shown by itself.
        now = now_us()
        start = words.day_begin_us(now, zone)
        views = queries.completeness(start, now, gateway=gateway, by_day=True) if now > start else []
        return HTMLResponse(renderers[language_of(request)].day_line(gateway, views, start))

    @app.post("/alarms/{id}/{action}", include_in_schema=False)
    def acknowledge(
        id: str,
        action: Literal["acknowledge", "unacknowledge", "warn"],
        request: Request,
        by: Annotated[str, Form(min_length=1, max_length=64)],
        note: Annotated[str, Form(max_length=500)] = "",
        lang: Annotated[str, Form()] = "",
        back: Annotated[Literal["", "journal"], Form()] = "",
    ) -> Response:
        if not by.strip() or not is_readable(by) or not is_readable(note):
            raise HTTPException(422, "a name is needed, of characters that can be seen")
        says = {"acknowledge": actions.acknowledge, "unacknowledge": actions.unacknowledge, "warn": actions.warn}
        language, problem = language_of(request, lang), {}
        try:
            alarm = says[action](id, by.strip(), note.strip(), caller(request, "page"))
        except NotOnTrialError:
            if not is_for_a_person(request):
                raise
            alarm, problem = queries.alarm(id), {"problem": "trial"}
        if alarm is None:
            raise HTTPException(404, "no such alarm")
        if request.headers.get("accept", "").startswith("text/x-row"):
            # Our script puts the row in place; without it the browser goes back to the page.
            return HTMLResponse(renderers[language].alarm(alarm))
        place = "/alarms?{}" if back == "journal" else "/?{}#alarms-section"
        return RedirectResponse(place.format(urlencode({"lang": language} | problem)), status_code=303)

    @app.get("/healthz", tags=["health"], responses=_UNHEALTHY)
    def healthz() -> dict[str, str]:
        """Answers 200 while the store can be read and takes commits; otherwise 503 and why."""
        if arrange.Trouble.read(queries.counters()).is_store_failing:
            raise HTTPException(503, "the store takes no commit; nothing is acknowledged until it does")
        return {"status": "ok", "version": info.version}

    @app.get("/metrics", response_class=PlainTextResponse, tags=["health"])
    def metrics() -> Response:
        """Counters in the Prometheus text format."""
        text = metrics_text(
            queries.counters(),
            queries.gateways(),
            queries.alarm_counts(),
            version=info.version,
            up_s=(now_us() - info.started_us) / 1_000_000,
        )
        return Response(text, media_type=CONTENT_TYPE)

    return app
