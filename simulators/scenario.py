"""Scenarios: what happens to the plant, and when, as one TOML file each.

A scenario is a time line of signals (what a point measures from then on), faults (what is wrong
with a device) and the state of the link between gateway and broker.  It is data only; what it means
at one moment is worked out in ``world``.  Shapes and times are made for demonstrations and tests.

The keys are those of the models below; ``base`` names a scenario whose signals, faults and link come first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulators import signals
from simulators.errors import FileError, ImageError, SignalError, SimulatorError
from simulators.faults import DEFAULT_DELAY_S, DEFAULT_EXCEPTION, HEALTHY, KINDS, with_fault
from simulators.plant import Plant, TcpLine
from simulators.signals import OVER_RANGE, STATES, UNDER_RANGE, Shown, Signal, State
from simulators.toml_file import parse, read_toml

LINK_STATES = ("up", "cut", "stall", "slow")
#: no chain of bases is longer
_MAX_BASES = 4

Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Names(_Table):
    en: Annotated[str, Field(min_length=1, max_length=120)]
    zh: Annotated[str, Field(min_length=1, max_length=120)]


class _Constant(_Table):
    kind: Literal["constant"]
    value: Number


class _Sine(_Table):
    kind: Literal["sine"]
    mean: Number = 0.0
    amplitude: Number
    period_s: Positive
    phase_s: Number = 0.0


class _Noise(_Table):
    kind: Literal["noise"]
    amplitude: Number
    seed: int = 0
    tick_s: Positive = 1.0


class _Ramp(_Table):
    kind: Literal["ramp"]
    start: Number
    end: Number
    over_s: Positive


class _Steps(_Table):
    kind: Literal["steps"]
    steps: Annotated[list[Annotated[list[Number], Field(min_length=2, max_length=2)]], Field(min_length=1)]


class _Approach(_Table):
    kind: Literal["leak", "decay"]
    start: Number
    end: Number
    tau_s: Positive


class _Ring(_Table):
    kind: Literal["ring"]
    amplitude: Number
    period_s: Positive
    tau_s: Positive
    every_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class _Walk(_Table):
    kind: Literal["walk"]
    start: Number
    reach: Number
    seed: int = 0
    tick_s: Positive = 1.0


class _Count(_Table):
    kind: Literal["count"]
    every_s: Positive
    modulo: Annotated[int, Field(ge=1)] = 65536


Shape = Annotated[
    _Constant | _Sine | _Noise | _Ramp | _Steps | _Approach | _Ring | _Walk | _Count, Field(discriminator="kind")
]


class _Signal(_Table):
    """From ``at_s`` on a point follows the sum of these shapes, or is in this state."""

    at_s: Seconds = 0.0
    point: str
    shape: Annotated[list[Shape], Field(min_length=1)] | None = None
    state: str | None = None

    @model_validator(mode="after")
    def _one(self) -> _Signal:
        if (self.shape is None) == (self.state is None):
            raise ValueError("needs exactly one of shape and state")
        return self


class _Fault(_Table):
    """From ``at_s`` to ``until_s`` (default: the end) a device has this fault."""

    at_s: Seconds = 0.0
    until_s: Seconds | None = None
    device: str
    kind: str
    delay_s: Number = DEFAULT_DELAY_S
    code: int = DEFAULT_EXCEPTION


class _Link(_Table):
    """From ``at_s`` on the link between gateway and broker is so."""

    at_s: Seconds = 0.0
    state: Literal["up", "cut", "stall", "slow"]
    bytes_per_s: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _rate(self) -> _Link:
        if (self.state == "slow") != (self.bytes_per_s is not None):
            raise ValueError("bytes_per_s belongs to slow, and slow needs it")
        return self


class _OwnAlarm(_Table):
    """An alarm of an instrument is on while another point of it is past a number or in a state: its set point."""

    point: str
    of: str
    above: Number | None = None
    below: Number | None = None
    state: str | None = None

    @model_validator(mode="after")
    def _one(self) -> _OwnAlarm:
        if [self.above, self.below, self.state].count(None) != 2:
            raise ValueError("needs exactly one of above, below and state")
        if self.point.partition("/")[0] != self.of.partition("/")[0]:
            raise ValueError(f"{self.of} is of another device than {self.point}; one of the same would be right")
        return self


class _Scenario(_Table):
    name: _Names
    about: _Names | None = None
    duration_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
    loop: bool = True
    base: str | None = None
    own_alarm: list[_OwnAlarm] = []
    signal: list[_Signal] = []
    fault: list[_Fault] = []
    link: list[_Link] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalChange:
    """From ``at_s`` on ``point`` follows ``signal``."""

    at_s: float
    #: point key
    point: str
    signal: Signal | State
    #: where it stands, for problems
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAlarm:
    """An alarm of an instrument that follows what the instrument measures; one of the last three is given."""

    #: point keys of the alarm and of what it watches
    point: str
    of: str
    #: on from this number on; so it is while the point is over range
    above: float | None
    #: on from this number down; so it is while the point is under range
    below: float | None
    #: on while the point is in this state
    state: str | None
    origin: str

    def is_on(self, shown: Shown) -> bool:
        """Returns whether the alarm is on while the point shows this."""
        if isinstance(shown, str):
            beyond = (self.above is not None, OVER_RANGE), (self.below is not None, UNDER_RANGE)
            return shown == self.state or any(counts and shown == word for counts, word in beyond)
        return (self.above is not None and shown >= self.above) or (self.below is not None and shown <= self.below)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpan:
    """From ``at_s`` up to ``until_s`` (None: the end) ``device`` has a fault."""

    at_s: float
    until_s: float | None
    device: str
    kind: str
    delay_s: float
    code: int
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """How the link between gateway and broker is."""

    #: one of ``LINK_STATES``
    state: str = "up"
    #: when slow, in each direction
    bytes_per_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """From ``at_s`` on the link is so."""

    at_s: float
    link: LinkState


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens, and when; a base's changes come before its own."""

    id: str
    en: str
    zh: str
    about_en: str
    about_zh: str
    duration_s: float
    loop: bool
    #: of a head that shows one alarm at a time the last that is on is shown
    own_alarms: tuple[OwnAlarm, ...]
    #: in order of time; of two at one moment the later in the file counts
    signals: tuple[SignalChange, ...]
    faults: tuple[FaultSpan, ...]
    links: tuple[LinkChange, ...]


def scenarios_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns the directory of the shipped scenarios.

    ``QIANSHAO_DATA`` wins, then the source tree, then what is installed beside this environment.

    Raises:
        SimulatorError: there is none.
    """
    return config_dir(environment) / "scenarios"


def config_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns the directory ``config`` of the shipped data files; raises SimulatorError."""
    named = environment.get("QIANSHAO_DATA")
    source = Path(__file__).resolve().parent.parent
    places = [Path(named)] if named else [source, Path(sys.prefix) / "share" / "qianshao"]
    for place in places:
        if (place / "config").is_dir():
            return place / "config"
    sought = ", ".join(str(place / "config") for place in places)
    raise SimulatorError(f"the shipped data files are not there; sought {sought}; set QIANSHAO_DATA")


def scenario_ids(folder: Path) -> tuple[str, ...]:
    """Returns the ids of the scenarios in a directory, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def load_scenario(id: str, folder: Path) -> Scenario:
    """Loads a scenario and its bases by id.

    Raises:
        FileError: there is none, or it is wrong; lists every problem with its key.
    """
    return _load(id, folder, ())


def _load(id: str, folder: Path, chain: tuple[str, ...]) -> Scenario:
    known = scenario_ids(folder)
    if id not in known:
        raise FileError(id, [("", f"there is no such scenario; there are {', '.join(known) or 'none'}")])
    path = folder / f"{id}.toml"
    if id in chain or len(chain) >= _MAX_BASES:
        raise FileError(str(path), [("base", f"{' -> '.join((*chain, id))} never ends")])
    return make_scenario(
        read_toml(path), id=id, source=str(path), base_of=lambda base: _load(base, folder, (*chain, id))
    )


def make_scenario(data: dict[str, Any], *, id: str, source: str, base_of: Any = None) -> Scenario:
    """Makes a scenario from a file's content; ``base_of`` loads another by id."""
    form = parse(_Scenario, data, source)
    problems: list[tuple[str, str]] = []
    own: list[SignalChange] = []
    for place, item in enumerate(form.signal):
        key = f"signal[{place}]"
        try:
            signal = State(word=item.state) if item.state is not None else _signal(item.shape or [])
        except SignalError as error:
            problems.append((key, str(error)))
            continue
        own.append(SignalChange(at_s=item.at_s, point=item.point, signal=signal, origin=f"{source}: {key}"))
    alarms: list[OwnAlarm] = []
    for place, alarm in enumerate(form.own_alarm):
        key = f"own_alarm[{place}]"
        if alarm.state is not None and alarm.state not in STATES:
            problems.append((f"{key}.state", f"{alarm.state!r} is not known; known are {', '.join(sorted(STATES))}"))
        alarms.append(OwnAlarm(**alarm.model_dump(), origin=f"{source}: {key}"))
    faults: list[FaultSpan] = []
    for place, fault in enumerate(form.fault):
        key = f"fault[{place}]"
        if fault.kind not in KINDS:
            problems.append((f"{key}.kind", f"{fault.kind!r} is not known; known are {', '.join(KINDS)}"))
            continue
        try:
            with_fault(HEALTHY, fault.kind, delay_s=fault.delay_s, code=fault.code)
        except SimulatorError as error:
            problems.append((key, str(error)))
        if fault.until_s is not None and fault.until_s <= fault.at_s:
            problems.append((f"{key}.until_s", f"{fault.until_s:g} is not after at_s, {fault.at_s:g}"))
        faults.append(
            FaultSpan(
                at_s=fault.at_s,
                until_s=fault.until_s,
                device=fault.device,
                kind=fault.kind,
                delay_s=fault.delay_s,
                code=fault.code,
                origin=f"{source}: {key}",
            )
        )
    for what, times in (("signal", [item.at_s for item in form.signal]), ("fault", [item.at_s for item in form.fault])):
        problems += [
            (f"{what}[{place}].at_s", f"{at:g} is not before the end, {form.duration_s:g}")
            for place, at in enumerate(times)
            if at >= form.duration_s
        ]
    if problems:
        raise FileError(source, problems)
    links = [
        LinkChange(at_s=item.at_s, link=LinkState(state=item.state, bytes_per_s=item.bytes_per_s or 0))
        for item in form.link
    ]
    base: Scenario | None = base_of(form.base) if form.base is not None and base_of is not None else None
    about = form.about or form.name
    return Scenario(
        id=id,
        en=form.name.en,
        zh=form.name.zh,
        about_en=about.en,
        about_zh=about.zh,
        duration_s=form.duration_s,
        loop=form.loop,
        own_alarms=(*(base.own_alarms if base else ()), *alarms),
        signals=_in_time((*(base.signals if base else ()), *own)),
        faults=(*(base.faults if base else ()), *faults),
        links=tuple(sorted((*(base.links if base else ()), *links), key=lambda item: item.at_s)),
    )


def scenario_problems(scenario: Scenario, plant: Plant) -> list[tuple[str, str]]:
    """Returns (where, what) for everything in a scenario that this plant cannot play."""
    found: list[tuple[str, str]] = []
    plain = {line.id for line in plant.lines if isinstance(line, TcpLine)}
    for change in scenario.signals:
        device_id, _, key = change.point.partition("/")
        device = plant.devices.get(device_id)
        if device is None:
            found.append((change.origin, f"no device {device_id!r}; there are {', '.join(plant.devices)}"))
            continue
        try:
            word = change.signal.word if isinstance(change.signal, State) else None
            device.image.check(key, word if word is not None else sum(device.image.span(key)) / 2)
        except ImageError as error:
            found.append((change.origin, str(error)))
    for alarm in scenario.own_alarms:
        device_id, _, key = alarm.point.partition("/")
        device = plant.devices.get(device_id)
        if device is None:
            found.append((alarm.origin, f"no device {device_id!r}; there are {', '.join(plant.devices)}"))
            continue
        try:
            if device.image.span(key) != (0.0, 1.0):
                found.append((alarm.origin, f"{alarm.point} is a measurement; an alarm of {device_id} would be right"))
            device.image.check(alarm.of.partition("/")[2], alarm.state or alarm.above or alarm.below or 0.0)
        except ImageError as error:
            found.append((alarm.origin, str(error)))
    for fault in scenario.faults:
        device = plant.devices.get(fault.device)
        if device is None:
            found.append((fault.origin, f"no device {fault.device!r}; there are {', '.join(plant.devices)}"))
        elif fault.kind == "wrong_crc" and device.line in plain:
            found.append((fault.origin, f"{fault.device} is on TCP, which carries no checksum of ours"))
    return found


def _signal(shapes: list[Any]) -> Signal:
    return signals.add([_shape(shape) for shape in shapes])


def _shape(shape: Any) -> Signal:
    """One shape of the file as a signal; the models above hold the field names of the records."""
    fields: dict[str, Any] = shape.model_dump(exclude={"kind"})
    match shape:
        case _Constant():
            return signals.Constant(**fields)
        case _Sine():
            return signals.Sine(**fields)
        case _Noise():
            return signals.Noise(**fields)
        case _Ramp():
            return signals.Ramp(**fields)
        case _Steps():
            return signals.Steps(steps=tuple((pair[0], pair[1]) for pair in shape.steps))
        case _Approach():
            return signals.Approach(**fields)
        case _Ring():
            return signals.Ring(**fields)
        case _Walk():
            return signals.Walk(**fields)
        case _:
            return signals.Count(**fields)


def _in_time(changes: tuple[SignalChange, ...]) -> tuple[SignalChange, ...]:
    return tuple(sorted(changes, key=lambda change: change.at_s))
