"""What the running agent answers on its control socket: plain JSON values, in the field's words."""

from __future__ import annotations

from typing import Any, Protocol

from contracts.batch import AlarmEvent, HealthRecord
from edge_agent.alarm_requests import AlarmRequests
from edge_agent.clock import monotonic_us
from edge_agent.control import Handler, Request, text_of
from edge_agent.errors import ControlError
from edge_agent.journal import KINDS, MAX_TEXT
from edge_agent.judge import Judge
from edge_agent.plan import Plan
from edge_agent.readings import Tick, describe
from edge_agent.reload import Reloader

#: whoever works longer on a point says so again (seconds)
LONGEST_INHIBIT_S = 86_400
#: what a name or a reason may have on the wire and in the alarm state (bytes of UTF-8)
MAX_WORD = 256


class Running(Protocol):
    """What is asked of the agent."""

    gateway: str
    plan: Plan
    judge: Judge
    requests: AlarmRequests

    def health(self) -> tuple[HealthRecord, ...]: ...

    def facts(self) -> dict[str, float | int | str | None]: ...

    def latest(self) -> list[Tick]: ...

    def note(self, kind: str, text: str) -> None: ...

    @property
    def reloads(self) -> Reloader: ...


def operations(agent: Running) -> dict[str, Handler]:
    """Returns operation -> handler for the control server."""

    async def status(request: Request) -> Any:
        records = {record.subject: dict(record.facts) for record in agent.health()}
        own = records.pop("agent", {})
        return {
            "gateway": agent.gateway,
            "en": agent.plan.en,
            "zh": agent.plan.zh,
            "points": len(agent.plan.points),
            "samples_per_hour": samples_per_hour(agent.plan),
            "alarms_standing": len(agent.judge.statement(monotonic_us()).events),
            **own,
            "subjects": records,
        }

    async def latest(request: Request) -> Any:
        return {"readings": describe(agent.plan, agent.latest(), monotonic_us())}

    async def alarms(request: Request) -> Any:
        now = monotonic_us()
        return {"alarms": [_alarm(event, now) for event in agent.judge.statement(now).events]}

    async def reset(request: Request) -> Any:
        words = {name: _word(request, name) for name in ("point", "rule", "by")}
        result = agent.requests.reset(words["point"], words["rule"], words["by"])
        if result.refused:
            raise ControlError(result.refused, exit_status=1)
        return {"events": len(result.events)}

    async def reload(request: Request) -> Any:
        return await agent.reloads.reload()

    async def reload_state(request: Request) -> Any:
        return agent.reloads.state()

    async def inhibit(request: Request) -> Any:
        words = {name: _word(request, name) for name in ("point", "reason", "by")}
        seconds = request.get("seconds")
        if not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST_INHIBIT_S:
            raise ControlError(f"seconds: expected a number above 0, at most {LONGEST_INHIBIT_S}", exit_status=2)
        result = agent.requests.inhibit(words["point"], reason=words["reason"], by=words["by"], seconds=seconds)
        if result.refused:
            raise ControlError(result.refused, exit_status=1)
        return {}

    async def inhibit_end(request: Request) -> Any:
        result = agent.requests.end_inhibit(_word(request, "point"), _word(request, "by"))
        if result.refused:
            raise ControlError(result.refused, exit_status=1)
        return {"events": len(result.events)}

    async def journal(request: Request) -> Any:
        kind = text_of(request, "kind")
        if kind not in KINDS:
            raise ControlError(f"kind {kind!r} is not known; {', '.join(KINDS)} are", exit_status=2)
        agent.note(kind, text_of(request, "text", MAX_TEXT))
        return {}

    async def spool(request: Request) -> Any:
        names = ("spool", "store", "sealed", "backlog", "receipt", "link", "readings_lost")
        return {name: value for name, value in agent.facts().items() if name.startswith(names)}

    return {
        "status": status,
        "latest": latest,
        "alarms": alarms,
        "alarm-reset": reset,
        "reload": reload,
        "reload-state": reload_state,
        "inhibit": inhibit,
        "inhibit-end": inhibit_end,
        "journal": journal,
        "spool": spool,
    }


def samples_per_hour(plan: Plan) -> int:
    """Returns how many samples the plan's grid expects in an hour."""
    return sum(len(block.points) * 3_600_000 // block.interval_ms for block in plan.row_blocks)


def _word(request: Request, name: str) -> str:
    value = text_of(request, name)
    size = len(value.encode())
    if size > MAX_WORD:
        raise ControlError(
            f"{name}: {size} bytes of UTF-8, at most {MAX_WORD} would be right: {MAX_WORD // 3} Chinese characters",
            exit_status=2,
        )
    return value


def _alarm(event: AlarmEvent, now_us: int) -> dict[str, Any]:
    return {
        "point": event.point,
        "en": event.en,
        "zh": event.zh,
        "rule_id": event.rule_id,
        "rule_en": event.rule_en,
        "rule_zh": event.rule_zh,
        "severity": event.severity,
        "scheme": event.scheme,
        "state": event.state,
        "cause": event.cause,
        "limit": event.limit,
        "value": event.value,
        "unit": event.unit,
        "age_s": round(max(0, now_us - event.sampled_us) / 1e6, 1),
        "marks": list(event.marks),
    }
