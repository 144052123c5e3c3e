"""The door to visits: control operations, and nothing loaded before somebody comes.

    visit-begin  point, by, job, seconds, [gas], [deviation], [note]
    visit-gas    point, is_on
    visit-end    point, by
    visit-state  [point]
    visit-watch  point, revision, [wait_s]      answers when there is news

What a visit is, is in ``visits.py``, which is imported with the first one: most days nobody comes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from contracts.visit import JOBS, Visit
from edge_agent.control import Handler, Request, text_of
from edge_agent.errors import ControlError
from edge_agent.judge import MAX_NAME, Judge
from edge_agent.judged import Codes, Row
from edge_agent.plan import Plan
from edge_agent.seal import Boot
from edge_agent.sealer import Sealer
from edge_agent.visit_file import FILE

if TYPE_CHECKING:
    from edge_agent.visits import Visits

#: the longest visit (seconds); an inhibit for longer work is another command
LONGEST_S = 7200
_LONGEST_WAIT_S = 10.0


class Visited(Protocol):
    """What visits need of the agent."""

    gateway: str
    boot: Boot
    judge: Judge
    plan: Plan
    sealer: Sealer


class VisitDesk:
    """Where commands, rows and the start of the agent meet the visits."""

    def __init__(self, agent: Visited, folder: Path, clock: Callable[[], int]) -> None:
        """Remembers what visits need.

        Args:
            folder: the state directory.
            clock: monotonic us.
        """
        self._agent = agent
        self._folder = folder
        self._clock = clock
        self._visits: Visits | None = None
        #: whether what the last run left was looked at; before that a visit would write over its records
        self._is_resumed = False
        #: hears of every ended visit
        self.on_ended: Callable[[Visit], None] | None = None

    def resume(self) -> None:
        """Seals what the last run left; to be called when the alarm state of the last run is there."""
        if (self._folder / FILE).exists():
            self._there().resume()
        self._is_resumed = True

    async def close(self) -> None:
        """Leaves running visits to the next start; safe to call twice."""
        if self._visits is not None:
            await self._visits.close()

    def take_row(self, block: int, sampled_us: int, row: Row, codes: Codes) -> None:
        """Follows a row, after the judge has seen it."""
        if self._visits is not None and not self._visits.is_idle:
            self._visits.take_row(block, sampled_us, row, codes)

    def refusal(self, point: str) -> str:
        """Returns why somebody else may not begin or end an inhibit there; empty: he may."""
        if self._visits is not None and self._visits.is_visited(point):
            by = self._visits.view(point)["by"]
            return f"{by} is at {point}; end the visit first: edge-agent visit {point} --by NAME --end"
        return ""

    def _there(self) -> Visits:
        if self._visits is None:
            from edge_agent.visits import Visits

            agent = self._agent
            self._visits = Visits(
                gateway=agent.gateway,
                boot_id=agent.boot.boot_id,
                judge=agent.judge,
                plan=lambda: agent.plan,
                folder=self._folder,
                clock=self._clock,
                take_events=agent.sealer.take_events,
                seal=agent.sealer.take_visit,
                tell=agent.sealer.note,
                on_ended=self._ended,
                is_kept=lambda: agent.sealer.keeper is not None and agent.sealer.keeper.is_kept,
            )
        return self._visits

    def _ended(self, visit: Visit) -> None:
        if self.on_ended is not None:
            self.on_ended(visit)

    # -- operations ------------------------------------------------------------------

    def operations(self) -> dict[str, Handler]:
        """Returns operation -> handler for the control server."""
        return {
            "visit-begin": self._begin,
            "visit-gas": self._gas,
            "visit-end": self._end,
            "visit-state": self._state,
            "visit-watch": self._watch,
        }

    async def _begin(self, request: Request) -> Any:
        from rules.visiting import DEVIATION, Job

        if not self._is_resumed:
            raise ControlError("the agent is still asking its store; try again in a few seconds")
        visits, point, by = self._there(), text_of(request, "point"), text_of(request, "by")
        job = text_of(request, "job")
        if job not in JOBS:
            raise ControlError(f"job {job!r} is not known; {', '.join(sorted(JOBS))} are", exit_status=2)
        if len(by) > MAX_NAME:
            raise ControlError(f"by: a name has at most {MAX_NAME} characters", exit_status=2)
        applied = request.get("gas")
        await visits.begin(
            point,
            job=Job(job),
            by=by,
            seconds=_number(request, "seconds", LONGEST_S),
            applied=None if applied is None else _finite(request, "gas"),
            deviation=_number(request, "deviation", 1) if "deviation" in request else DEVIATION,
            note=text_of(request, "note", 1024) if request.get("note") else "",
        )
        return visits.view(point)

    async def _gas(self, request: Request) -> Any:
        point, is_on = text_of(request, "point"), request.get("is_on")
        if not isinstance(is_on, bool):
            raise ControlError("is_on: true or false would be right", exit_status=2)
        visits = self._there()
        await visits.gas(point, is_on=is_on)
        return visits.view(point)

    async def _end(self, request: Request) -> Any:
        point, visits = text_of(request, "point"), self._there()
        await visits.end(point, text_of(request, "by"))
        return visits.view(point)

    async def _state(self, request: Request) -> Any:
        if request.get("point") is not None:
            return self._there().view(text_of(request, "point"))
        return {"visits": [] if self._visits is None else self._visits.running()}

    async def _watch(self, request: Request) -> Any:
        revision = request.get("revision", -1)
        if type(revision) is not int:
            raise ControlError("revision: the number of the state that was seen last would be right", exit_status=2)
        wait_s = _number(request, "wait_s", _LONGEST_WAIT_S) if "wait_s" in request else _LONGEST_WAIT_S
        return await self._there().watch(text_of(request, "point"), revision, wait_s)


def _finite(request: Request, name: str) -> float:
    value = request.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        raise ControlError(f"{name}: a number would be right", exit_status=2)
    return float(value)


def _number(request: Request, name: str, most: float) -> float:
    value = _finite(request, name)
    if not 0 < value <= most:
        raise ControlError(f"{name}: a number above 0, at most {most:g}, would be right", exit_status=2)
    return value
