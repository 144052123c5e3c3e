"""The documented API, ``/api/v1``: what the page shows, for other programs.

Thin: it asks ``Queries``, and ``Actions`` for the one thing that can be done.  Reads run in
worker threads, because queries may wait for a disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from collector.views import Queries
from collector.web import models
from collector.web.alarm_api import alarm_router
from collector.web.ports import Actions, Changes
from collector.web.trial_api import Letters, trial_router
from collector.web.visits_api import visits_router

#: a trend is never asked for over more than this
LONGEST_TREND_US = 400 * 86_400 * 1_000_000
DEFAULT_TREND_US = 900 * 1_000_000
#: every batch of the range is decoded when completeness is asked for
LONGEST_COMPLETENESS_US = 8 * 86_400 * 1_000_000
DEFAULT_COMPLETENESS_US = 86_400 * 1_000_000


#: what every route may answer besides; the bodies are sentences
PROBLEMS: dict[int | str, dict[str, Any]] = {
    422: {"model": models.Problem, "description": "a parameter is wrong"},
    503: {"model": models.Problem, "description": "the store cannot be read or written now"},
}
_NO_POINT: dict[int | str, dict[str, Any]] = {404: {"model": models.Problem, "description": "no such point"}}
_NO_WAVEFORM: dict[int | str, dict[str, Any]] = {404: {"model": models.Problem, "description": "no such waveform"}}


def api_router(
    *, queries: Queries, actions: Actions, changes: Changes, now_us: Callable[[], int], letters: Letters
) -> APIRouter:
    """Returns the routes below ``/api/v1``."""
    router = APIRouter(prefix="/api/v1", tags=["v1"], responses=PROBLEMS)

    @router.get("/gateways")
    def gateways() -> list[models.Gateway]:
        """All gateways with liveness, backlog, clock and health."""
        return [models.Gateway.model_validate(view) for view in queries.gateways()]

    @router.get("/points")
    def points(gateway: str | None = None) -> list[models.Point]:
        """All points, or those of one gateway, with their latest samples."""
        return [models.Point.model_validate(view) for view in queries.points(gateway)]

    @router.get("/points/{gateway}/{key:path}", responses=_NO_POINT)
    def point(gateway: str, key: str) -> models.Point:
        """One point with its latest sample."""
        view = queries.point(gateway, key)
        if view is None:
            raise HTTPException(404, "no such point")
        return models.Point.model_validate(view)

    router.include_router(alarm_router(queries=queries, actions=actions, changes=changes))

    router.include_router(visits_router(queries))

    router.include_router(trial_router(queries, letters))

    @router.get("/trend", responses=_NO_POINT)
    def trend(
        gateway: str,
        key: str,
        start_us: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        end_us: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    ) -> models.TrendColumns:
        """One point over time; without times, the last 15 minutes."""
        end = now_us() if end_us is None else end_us
        start = end - DEFAULT_TREND_US if start_us is None else start_us
        if not 0 < end - start <= LONGEST_TREND_US:
            raise HTTPException(422, "end_us must be after start_us, by at most 400 days")
        found = queries.trend(gateway, key, start, end)
        if found is None:
            raise HTTPException(404, "no such point")
        return models.TrendColumns.model_validate(found)

    @router.get("/completeness")
    def completeness(
        gateway: str,
        key: str | None = None,
        start_us: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        end_us: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        by: Annotated[str, Query(pattern="^(hour|day)$")] = "hour",
    ) -> list[models.Completeness]:
        """What became of every reading that was expected, by point and UTC hour or day; without times, of 24 hours.

        A gateway or point that is not known gives an empty list.
        """
        end = now_us() if end_us is None else end_us
        start = end - DEFAULT_COMPLETENESS_US if start_us is None else start_us
        if not 0 < end - start <= LONGEST_COMPLETENESS_US:
            raise HTTPException(422, "end_us must be after start_us, by at most 8 days")
        found = queries.completeness(start, end, gateway=gateway, key=key, by_day=by == "day")
        return [models.Completeness.model_validate(view) for view in found]

    @router.get("/chains")
    def chains(gateway: str | None = None) -> list[models.Chain]:
        """The proof: what is verified, missing and lost, for each lane of each epoch."""
        return [models.Chain.model_validate(view) for view in queries.chains(gateway)]

    @router.get("/quarantine")
    def quarantine(limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> list[models.Quarantined]:
        """What arrived and was not accepted, newest first, with the reason."""
        return [models.Quarantined.model_validate(view) for view in queries.quarantine(limit)]

    @router.get("/waveforms")
    def waveforms(
        gateway: str | None = None,
        alarm: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> list[models.Waveform]:
        """Waveforms that were kept, newest first: all, of one gateway, or of one alarm."""
        return [models.Waveform.model_validate(view) for view in queries.waveforms(gateway, alarm, limit)]

    @router.get("/waveforms/{gateway}/{id}", responses=_NO_WAVEFORM)
    def waveform(gateway: str, id: str) -> models.WaveformSamples:
        """One waveform with its samples, read from the signed bytes."""
        found = queries.waveform(gateway, id)
        if found is None:
            raise HTTPException(404, "no such waveform, or its batch is no longer here")
        return models.WaveformSamples.model_validate(found)

    return router
