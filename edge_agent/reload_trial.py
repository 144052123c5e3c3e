"""The trial of a new configuration: which devices have to answer under it, by when, and what follows.  Pure.

A device that answered before the reload and that the reload touched must give a good reading (good or
uncertain: a measurement) within its time, else the former plan comes back.  A device that was
silent before, or that is taken out, proves nothing either way.

::

    NONE --reloaded--> TRIAL --all answered--> CONFIRMED --reloaded--> TRIAL
                         | `--one did not----> ROLLED_BACK --reloaded--> TRIAL
                         `----reloaded-------> TRIAL
    nothing to prove: reloaded and all answered at once
    started again for the fourth time before there is a verdict: as one did not
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

from contracts.quality import CODES
from edge_agent.errors import PlanError
from edge_agent.plan import Plan
from rules import is_heard

#: a device has at least so many of its intervals
LEAST_INTERVALS = 3
#: a device answered before when its newest reading is not older than its intervals and this (us)
_SLACK_US = 2_000_000
_HEARD = frozenset(code for code in CODES if is_heard(code))
#: an agent that is started so often without a verdict may be ending because of the new configuration
MOST_STARTS = 3
_FORMAT = 1


class Phase(Enum):
    """Where the newest reload stands; the value is how status and health show it."""

    NONE = "none"
    TRIAL = "trial"
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled_back"


class Event(Enum):
    """What happens to a reload."""

    RELOADED = "reloaded"
    ANSWERED = "all answered"
    NOT_ANSWERED = "one did not answer"


TABLE: Mapping[Phase, Mapping[Event, Phase]] = MappingProxyType(
    {
        Phase.NONE: MappingProxyType({Event.RELOADED: Phase.TRIAL}),
        Phase.TRIAL: MappingProxyType(
            {
                Event.RELOADED: Phase.TRIAL,
                Event.ANSWERED: Phase.CONFIRMED,
                Event.NOT_ANSWERED: Phase.ROLLED_BACK,
            }
        ),
        Phase.CONFIRMED: MappingProxyType({Event.RELOADED: Phase.TRIAL}),
        Phase.ROLLED_BACK: MappingProxyType({Event.RELOADED: Phase.TRIAL}),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The newest reload, and what is known of it."""

    phase: Phase = Phase.NONE
    #: SHA-256 of the plan that was taken
    plan: bytes = b""
    #: device -> monotonic us by which it must have answered
    waiting: Mapping[str, int] = field(default_factory=dict)
    #: devices that did not answer in time
    failed: tuple[str, ...] = ()
    #: how often an agent was started in the middle of it
    starts: int = 0

    def heard(self, device: str) -> Trial:
        """Returns the trial after a good reading of a device."""
        if device not in self.waiting:
            return self
        return replace(self, waiting={id: until for id, until in self.waiting.items() if id != device})

    @property
    def due_us(self) -> int | None:
        """When it is decided at the latest, monotonic; None when nobody is waited for."""
        return min(self.waiting.values(), default=None)


def step(trial: Trial, now_us: int) -> Trial:
    """Returns the trial at ``now_us``: decided when all have answered, or when one did not in time."""
    if trial.phase is not Phase.TRIAL:
        return trial
    late = tuple(sorted(id for id, until in trial.waiting.items() if now_us >= until))
    if late:
        return replace(trial, phase=TABLE[trial.phase][Event.NOT_ANSWERED], waiting={}, failed=late)
    if not trial.waiting:
        return replace(trial, phase=TABLE[trial.phase][Event.ANSWERED])
    return trial


def refused(trial: Trial) -> Trial:
    """Returns a trial that no device had the time to decide, with those that it waited for as those that failed."""
    failed = tuple(sorted(trial.waiting))
    return replace(trial, phase=TABLE[trial.phase][Event.NOT_ANSWERED], waiting={}, failed=failed)


def begin(trial: Trial, plan: Plan, hash: bytes, devices: Iterable[str], now_us: int) -> Trial:
    """Returns the trial of a plan.

    Args:
        trial: of the reload before; devices that it still waits for are waited for under the new plan too.
        hash: of the plan as it was compiled.
        devices: that answered before and were touched.
        now_us: when the plan was taken, monotonic.
    """
    pending = trial.waiting if trial.phase is Phase.TRIAL else {}
    allowed = time_of_devices(plan)
    waiting = {id: now_us + allowed[id] for id in sorted({*devices, *pending}) if id in allowed}
    phase = TABLE[trial.phase][Event.RELOADED]
    return Trial(phase=phase, plan=hash, waiting=waiting if plan.own.reload_trial_s > 0 else {})


def time_of_devices(plan: Plan) -> dict[str, int]:
    """Returns for each device that is read how long it may take to answer (us)."""
    shortest: dict[str, int] = {}
    for block in plan.blocks:
        id = plan.devices[block.device].id
        shortest[id] = min(block.interval_ms, shortest.get(id, block.interval_ms))
    stated_us = round(plan.own.reload_trial_s * 1_000_000)
    return {id: max(stated_us, LEAST_INTERVALS * interval_ms * 1000) for id, interval_ms in shortest.items()}


def is_measured(codes: Sequence[int] | None) -> bool:
    """Whether any sample of a row is a measurement."""
    return codes is None or not _HEARD.isdisjoint(codes)


def answered(plan: Plan, rows: Iterable[tuple[int, int, Sequence[int] | None]], now_us: int) -> set[str]:
    """Returns the devices that answer now.

    Args:
        rows: block number, monotonic us and codes of the newest row of each block.
        now_us: monotonic.
    """
    found = set()
    for number, sampled_us, codes in rows:
        if number >= len(plan.blocks) or not is_measured(codes):
            continue
        block = plan.blocks[number]
        if now_us - sampled_us <= LEAST_INTERVALS * block.interval_ms * 1000 + _SLACK_US:
            found.add(plan.devices[block.device].id)
    return found


def trial_to_bytes(trial: Trial) -> bytes:
    """Returns what is kept of a trial; its times are not: after a restart each device has its whole time again."""
    document = {
        "format": _FORMAT,
        "phase": trial.phase.value,
        "plan": trial.plan.hex(),
        "waiting": sorted(trial.waiting),
        "failed": list(trial.failed),
        "starts": trial.starts,
    }
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def trial_from_bytes(data: bytes, plan: Plan | None = None, now_us: int = 0) -> Trial:
    """Returns the trial that was kept, under the plan that now runs; without one nobody is waited for.

    Raises:
        PlanError: the bytes are not what ``trial_to_bytes`` wrote.
    """
    try:
        document: dict[str, Any] = json.loads(data)
        if document["format"] != _FORMAT:
            raise PlanError("the record of the last reload is of another format")
        allowed = {} if plan is None else time_of_devices(plan)
        return Trial(
            phase=Phase(document["phase"]),
            plan=bytes.fromhex(document["plan"]),
            waiting={str(id): now_us + allowed[id] for id in document["waiting"] if id in allowed},
            failed=tuple(str(id) for id in document["failed"]),
            starts=int(document.get("starts", 0)),
        )
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PlanError(f"the record of the last reload cannot be read: {error}") from error
