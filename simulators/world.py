"""The simulated world at one moment: what every point shows, what is wrong, how the link is.

It joins plant, scenarios and what a person has set by hand; a person wins until ``auto`` or the next
``play``.  Reading it needs no lock: every change swaps one frozen record or dict for another, and line
threads only read.  Time comes in as a function of monotonic seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from simulators.device import Answer, Memory, answer, exception_pdu
from simulators.errors import FileError, ImageError, SimulatorError
from simulators.faults import DEFAULT_DELAY_S, DEFAULT_EXCEPTION, HEALTHY, Faults, together, with_fault
from simulators.outputs import OutputBoard, board_of
from simulators.plant import Plant, PlantDevice, TcpLine
from simulators.scenario import LinkState, OwnAlarm, Scenario, SignalChange, scenario_problems
from simulators.signals import SILENT, Constant, Shown, Signal, State, shown_at

#: a heartbeat counts one up so often, as on Honeywell heads (seconds)
BEAT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Score:
    """The scenarios being played, one after the other."""

    scenarios: tuple[Scenario, ...]
    started_s: float
    #: per scenario: point key -> (times, changes)
    by_point: tuple[Mapping[str, tuple[tuple[float, ...], tuple[SignalChange, ...]]], ...]
    total_s: float
    loop: bool

    def at(self, now_s: float) -> tuple[int, float]:
        """Returns which scenario is on, and how long; the last one stays when there is no loop."""
        since = max(now_s - self.started_s, 0.0)
        if self.loop:
            since %= self.total_s
        for number, scenario in enumerate(self.scenarios):
            if since < scenario.duration_s or number == len(self.scenarios) - 1:
                return number, since
            since -= scenario.duration_s
        return 0, since


@dataclass(frozen=True, slots=True, kw_only=True)
class _ByHand:
    """A signal that a person has set."""

    signal: Signal | State
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReply:
    """What a device puts on its line, and when."""

    #: whose reply it claims to be
    unit_id: int
    pdu: bytes
    #: seconds that it is held back
    delay_s: float
    is_crc_wrong: bool


@dataclass(slots=True)
class DeviceCounts:
    """What has been asked of one device since the start."""

    requests: int = 0
    replies: int = 0
    exceptions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _HandFaults:
    faults: Faults = HEALTHY
    frozen_since_s: float = 0.0


@dataclass(slots=True)
class _Written:
    """Registers that a client has written; they win over what is measured."""

    words: dict[str, dict[int, int]] = field(default_factory=dict)


class World:
    """Everything that changes while the simulator runs."""

    def __init__(self, plant: Plant, clock: Callable[[], float]) -> None:
        """Args: the plant, and a clock of monotonic seconds."""
        self.plant = plant
        self.counts = {id: DeviceCounts() for id in plant.devices}
        self._clock = clock
        self._score: _Score | None = None
        self._by_hand: dict[str, _ByHand] = {}
        self._hand_faults: dict[str, _HandFaults] = {}
        self._written = {id: _Written() for id in plant.devices}
        #: device -> its outputs, where it has any
        self.boards: dict[str, OutputBoard] = {
            id: board
            for id, device in plant.devices.items()
            if device.profile is not None and (board := board_of(device.profile)) is not None
        }

    def play(self, scenarios: Sequence[Scenario]) -> None:
        """Starts scenarios, one after the other, and forgets what was set by hand.

        Several are repeated as a whole when the last of them loops.

        Raises:
            FileError: the plant lacks something that a scenario needs; lists all of it.
        """
        if not scenarios:
            raise SimulatorError("no scenario was named")
        problems = [problem for scenario in scenarios for problem in scenario_problems(scenario, self.plant)]
        if problems:
            raise FileError(self.plant.source, dict.fromkeys(problems))
        self._score = _Score(
            scenarios=tuple(scenarios),
            started_s=self._clock(),
            by_point=tuple(_by_point(scenario) for scenario in scenarios),
            total_s=sum(scenario.duration_s for scenario in scenarios),
            loop=scenarios[-1].loop,
        )
        self._by_hand = {}
        self._hand_faults = {}

    def set_point(self, point: str, what: Shown) -> None:
        """Sets what a point shows until ``release`` or ``play``; raises ImageError."""
        device, key = self._find(point)
        device.image.check(key, what)
        signal = State(word=what) if isinstance(what, str) else Constant(value=what)
        self._by_hand = {**self._by_hand, point: _ByHand(signal=signal, since_s=self._clock())}

    def release(self, point: str) -> None:
        """Lets a point follow the scenario again; raises ImageError when there is no such point."""
        self._find(point)
        self._by_hand = {key: item for key, item in self._by_hand.items() if key != point}

    def set_fault(
        self,
        device_id: str,
        kind: str,
        *,
        is_on: bool = True,
        delay_s: float = DEFAULT_DELAY_S,
        code: int = DEFAULT_EXCEPTION,
    ) -> None:
        """Switches a fault on or off; kind ``none`` ends all that were switched by hand.

        Raises:
            SimulatorError: no such device or kind.
        """
        device = self._device(device_id)
        before = self._hand_faults.get(device_id, _HandFaults())
        if kind == "none":
            self._hand_faults = {key: item for key, item in self._hand_faults.items() if key != device_id}
            return
        plain = {line.id for line in self.plant.lines if isinstance(line, TcpLine)}
        if kind == "wrong_crc" and device.line in plain:
            raise SimulatorError(f"{device_id} is on TCP, which carries no checksum of ours")
        faults = with_fault(before.faults, kind, is_on=is_on, delay_s=delay_s, code=code)
        since = self._clock() if faults.is_frozen and not before.faults.is_frozen else before.frozen_since_s
        self._hand_faults = {**self._hand_faults, device_id: _HandFaults(faults=faults, frozen_since_s=since)}

    def playing(self) -> tuple[Scenario, float] | None:
        """Returns the scenario that is on and the seconds since it began, or None."""
        if self._score is None:
            return None
        number, since = self._score.at(self._clock())
        return self._score.scenarios[number], since

    def link(self) -> LinkState:
        """Returns how the scenario wants the link to be."""
        now = self.playing()
        if now is None:
            return LinkState()
        scenario, since = now
        return next((item.link for item in reversed(scenario.links) if item.at_s <= since), LinkState())

    def shown(self, device_id: str) -> dict[str, Shown]:
        """Returns what every point of a device shows now (``frozen``: when that began)."""
        return self._shown(self._device(device_id), self._now(device_id))

    def faults(self, device_id: str) -> Faults:
        """Returns what is wrong with a device now; a ``silent`` point makes it dead."""
        found = together(self._scenario_faults(device_id)[0], self._by_hand_faults(device_id).faults)
        shown = self._states(self._device(device_id), self._clock())
        return together(found, Faults(is_dead=True)) if SILENT in shown else found

    def memory(self, device_id: str) -> Memory:
        """Returns the device's registers as they are now."""
        device = self._device(device_id)
        now_s = self._now(device_id)
        memory = device.image.memory(self._shown(device, now_s), beat=int(now_s // BEAT_S))
        written = self._written[device_id].words
        board = self.boards.get(device_id)
        if not written and board is None:
            return memory
        outputs = {} if board is None else board.words(self._clock())
        words = {
            table: {**memory.words.get(table, {}), **written.get(table, {}), **outputs.get(table, {})}
            for table in memory.ranges
        }
        return Memory(
            words=words,
            ranges=memory.ranges,
            max_registers=memory.max_registers,
            start_multiple=memory.start_multiple,
        )

    def reply(self, device_id: str, pdu: bytes) -> LineReply | None:
        """Returns what a device does about a request PDU, faults included; None is silence."""
        counts = self.counts[device_id]
        counts.requests += 1
        faults = self.faults(device_id)
        found = None if faults.is_dead else self._answer(device_id, pdu, faults)
        if found is None:
            return None
        counts.replies += 1
        counts.exceptions += bool(found.pdu[0] & 0x80)
        for table, address, word in found.writes:
            self._written[device_id].words.setdefault(table, {})[address] = word
        unit_id = self.plant.devices[device_id].unit_id
        return LineReply(
            unit_id=unit_id % 247 + 1 if faults.is_unit_wrong else unit_id,
            pdu=found.pdu,
            delay_s=faults.late_s,
            is_crc_wrong=faults.is_crc_wrong,
        )

    def _answer(self, device_id: str, pdu: bytes, faults: Faults) -> Answer | None:
        if faults.exception and pdu:
            return Answer(pdu=exception_pdu(pdu[0], faults.exception))
        board = self.boards.get(device_id)
        if board is not None:
            now = self._clock()
            board.heard(now)
            if (done := board.take(pdu, now)) is not None:
                return done
        return answer(pdu, self.memory(device_id))

    def outputs(self, device_id: str) -> dict[str, bool]:
        """Returns which outputs of a relay board are on; empty where the device has none."""
        board = self.boards.get(device_id)
        return {} if board is None else board.states(self._clock())

    def by_hand(self) -> tuple[str, ...]:
        """Returns the points that a person has set."""
        return tuple(self._by_hand)

    def _device(self, device_id: str) -> PlantDevice:
        device = self.plant.devices.get(device_id)
        if device is None:
            raise SimulatorError(f"there is no device {device_id!r}; there are {', '.join(self.plant.devices)}")
        return device

    def _find(self, point: str) -> tuple[PlantDevice, str]:
        device_id, _, key = point.partition("/")
        device = self._device(device_id)
        if key not in device.image.points:
            known = ", ".join(f"{device_id}/{name}" for name in device.image.points)
            raise ImageError(f"there is no point {point!r}; there are {known}")
        return device, key

    def _now(self, device_id: str) -> float:
        """The device's own time: it stands still while the device is frozen."""
        now = self._clock()
        by_hand = self._by_hand_faults(device_id)
        if by_hand.faults.is_frozen:
            return by_hand.frozen_since_s
        faults, frozen_since = self._scenario_faults(device_id)
        return frozen_since if faults.is_frozen else now

    def _by_hand_faults(self, device_id: str) -> _HandFaults:
        return self._hand_faults.get(device_id, _HandFaults())

    def _scenario_faults(self, device_id: str) -> tuple[Faults, float]:
        if self._score is None:
            return HEALTHY, 0.0
        now = self._clock()
        number, since = self._score.at(now)
        faults, frozen_since = HEALTHY, now
        for span in self._score.scenarios[number].faults:
            if span.device == device_id and span.at_s <= since and (span.until_s is None or since < span.until_s):
                faults = with_fault(faults, span.kind, delay_s=span.delay_s, code=span.code)
                if span.kind == "frozen":
                    frozen_since = min(frozen_since, now - (since - span.at_s))
        return faults, frozen_since

    def _shown(self, device: PlantDevice, now_s: float) -> dict[str, Shown]:
        shown: dict[str, Shown] = {}
        for key in device.image.points:
            signal = self._signal(f"{device.id}/{key}", now_s)
            if signal is not None:
                shown[key] = shown_at(*signal)
        for alarm in self._own_alarms(device.id, now_s):
            point, of = (key.partition("/")[2] for key in (alarm.point, alarm.of))
            # What is said of the alarm itself comes first.
            if self._signal(alarm.point, now_s) is None and of in shown:
                shown[point] = float(alarm.is_on(shown[of]))
        return shown

    def _own_alarms(self, device_id: str, now_s: float) -> tuple[OwnAlarm, ...]:
        if self._score is None:
            return ()
        playing = self._score.scenarios[self._score.at(now_s)[0]]
        return tuple(alarm for alarm in playing.own_alarms if alarm.point.partition("/")[0] == device_id)

    def _states(self, device: PlantDevice, now_s: float) -> tuple[str, ...]:
        found = (self._signal(f"{device.id}/{key}", now_s) for key in device.image.points)
        return tuple(item[0].word for item in found if item is not None and isinstance(item[0], State))

    def _signal(self, point: str, now_s: float) -> tuple[Signal | State, float] | None:
        by_hand = self._by_hand.get(point)
        if by_hand is not None:
            return by_hand.signal, now_s - by_hand.since_s
        if self._score is None:
            return None
        number, since = self._score.at(now_s)
        times, changes = self._score.by_point[number].get(point, ((), ()))
        place = bisect_right(times, since) - 1
        return None if place < 0 else (changes[place].signal, since - times[place])


def _by_point(scenario: Scenario) -> dict[str, tuple[tuple[float, ...], tuple[SignalChange, ...]]]:
    found: dict[str, list[SignalChange]] = {}
    for change in scenario.signals:
        found.setdefault(change.point, []).append(change)
    return {point: (tuple(item.at_s for item in changes), tuple(changes)) for point, changes in found.items()}
