"""Signals: what a sensor would measure, as pure functions of time.

A signal is a frozen record with one method, ``at(t_s)``: seconds since it was switched on ->
engineering value.  The same record gives the same value at the same time, on every machine and
in any order of asking: what looks random is a hash of (seed, tick).  No clock, no state.

A ``State`` is not a number: it is what the instrument says instead of one, such as ``fault``.
These are shapes for demonstrations and tests, not physical models.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.quality import BY_REASON, CODES, WITH_VALUE
from simulators.errors import SignalError

#: the device does not answer at all
SILENT = "silent"

#: beyond the end of what the instrument can measure
OVER_RANGE, UNDER_RANGE = "over_range", "under_range"

#: state words: what an instrument itself can report instead of, or beside, a number; and ``silent``
STATES: frozenset[str] = frozenset(
    reason for reason, code in BY_REASON.items() if code not in WITH_VALUE and CODES[code].quality != "missing"
) | {SILENT, "instrument_warning", "calibration_overdue"}

#: what a point shows at one moment: an engineering value, or a state word
Shown = float | str


class Signal(Protocol):
    """Anything that has a value at every time."""

    def at(self, t_s: float) -> float:
        """Returns the engineering value ``t_s`` seconds after the signal was switched on."""


def _above_zero(kind: str, **fields: float) -> None:
    for name, number in fields.items():
        if not (math.isfinite(number) and number > 0):
            raise SignalError(f"{kind}.{name} is {number!r}; it must be above 0")


def unit_hash(seed: int, tick: int) -> float:
    """Returns a number from -1 up to 1 that depends on seed and tick only."""
    digest = hashlib.blake2b(f"{seed}:{tick}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**63 - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same value for ever."""

    value: float

    def at(self, t_s: float) -> float:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Sine:
    """A swing around a mean; starts at the mean, going up, unless ``phase_s`` moves it."""

    mean: float = 0.0
    amplitude: float
    period_s: float
    phase_s: float = 0.0

    def __post_init__(self) -> None:
        _above_zero("sine", period_s=self.period_s)

    def at(self, t_s: float) -> float:
        return self.mean + self.amplitude * math.sin(2 * math.pi * (t_s + self.phase_s) / self.period_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """A new number within +- ``amplitude`` at every tick."""

    amplitude: float
    seed: int = 0
    tick_s: float = 1.0

    def __post_init__(self) -> None:
        _above_zero("noise", tick_s=self.tick_s)

    def at(self, t_s: float) -> float:
        return self.amplitude * unit_hash(self.seed, math.floor(t_s / self.tick_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A straight line from ``start`` to ``end`` within ``over_s`` seconds, then ``end``."""

    start: float
    end: float
    over_s: float

    def __post_init__(self) -> None:
        _above_zero("ramp", over_s=self.over_s)

    def at(self, t_s: float) -> float:
        share = min(max(t_s / self.over_s, 0.0), 1.0)
        return self.end if share == 1.0 else self.start + (self.end - self.start) * share


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Values that jump: ``((t_s, value), ...)`` in order of time; before the first it has the first."""

    steps: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        times = [t for t, _ in self.steps]
        if not times or times != sorted(times):
            raise SignalError("steps.steps must hold at least one pair (t_s, value), in order of time")

    def at(self, t_s: float) -> float:
        found = self.steps[0][1]
        for start, value in self.steps:
            if start > t_s:
                break
            found = value
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """From ``start`` towards ``end``, 63 % of the way in every ``tau_s``.

    A leak into a chamber rises so, and airing it decays so.
    """

    start: float
    end: float
    tau_s: float

    def __post_init__(self) -> None:
        _above_zero("approach", tau_s=self.tau_s)

    def at(self, t_s: float) -> float:
        return self.end + (self.start - self.end) * math.exp(-max(t_s, 0.0) / self.tau_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """A swing that dies away, as a structure's after a blow; repeats every ``every_s`` when given."""

    amplitude: float
    period_s: float
    tau_s: float
    #: 0: once
    every_s: float = 0.0

    def __post_init__(self) -> None:
        _above_zero("ring", period_s=self.period_s, tau_s=self.tau_s)
        if self.every_s < 0:
            raise SignalError(f"ring.every_s is {self.every_s!r}; it must be 0 or more")

    def at(self, t_s: float) -> float:
        since = max(t_s, 0.0)
        if self.every_s > 0:
            since %= self.every_s
        return self.amplitude * math.exp(-since / self.tau_s) * math.sin(2 * math.pi * since / self.period_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A wandering value that stays within ``start`` +- ``reach``; bends at every ``tick_s``.

    Made of six layers of hashed noise, each twice as slow and twice as large as the one before, so
    that any moment can be computed without walking there.
    """

    start: float
    reach: float
    seed: int = 0
    tick_s: float = 1.0

    def __post_init__(self) -> None:
        _above_zero("walk", tick_s=self.tick_s)

    def at(self, t_s: float) -> float:
        layers = 6
        total = 0.0
        scale: float = 2**layers - 1
        for layer in range(layers):
            place = t_s / (self.tick_s * 2**layer)
            tick = math.floor(place)
            share = place - tick
            seed = self.seed * layers + layer
            total += float(2**layer) * ((1 - share) * unit_hash(seed, tick) + share * unit_hash(seed, tick + 1))
        return self.start + self.reach * total / scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A counter: one more every ``every_s``, back to 0 at ``modulo``; a heartbeat register does so."""

    every_s: float
    modulo: int = 65536

    def __post_init__(self) -> None:
        _above_zero("count", every_s=self.every_s, modulo=self.modulo)

    def at(self, t_s: float) -> float:
        return float(math.floor(t_s / self.every_s) % self.modulo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Several signals added up."""

    parts: tuple[Signal, ...]

    def at(self, t_s: float) -> float:
        return math.fsum(part.at(t_s) for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the instrument says instead of a number."""

    word: str

    def __post_init__(self) -> None:
        if self.word not in STATES:
            raise SignalError(f"state {self.word!r} is not known; known are {', '.join(sorted(STATES))}")


def shown_at(signal: Signal | State, t_s: float) -> Shown:
    """Returns what the point shows ``t_s`` seconds after the signal was switched on."""
    return signal.word if isinstance(signal, State) else signal.at(t_s)


def add(parts: Sequence[Signal]) -> Signal:
    """Returns the sum of signals; a single one is returned as it is."""
    return parts[0] if len(parts) == 1 else Sum(parts=tuple(parts))
