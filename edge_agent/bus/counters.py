"""What a poller counts of a port and of each device on it, for health.

Counts go up from the start of the poller; latencies, load and lateness are of the last one to two
windows, so that they tell how things are and not how they once were.  Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Iterable

from contracts.quality import CODES

#: length of a window (us)
WINDOW_US = 60_000_000
#: four steps for each doubling: an estimate is at most a quarter too high
_BUCKETS = 4 * 40

Fact = tuple[str, float | int | str | None]


def bucket(us: int) -> int:
    """Returns the histogram bucket of a time, four for each doubling; below 4 us one each."""
    if us < 4:
        return max(us, 0)
    bits = us.bit_length()
    return min(4 * (bits - 2) + (us >> (bits - 3)) - 4, _BUCKETS - 1)


def bucket_end(number: int) -> int:
    """Returns the longest time in a bucket (us)."""
    if number < 4:
        return number
    bits, part = number // 4 + 2, number % 4
    return ((part + 5) << (bits - 3)) - 1


class Latency:
    """Answer times of one window."""

    __slots__ = ("_buckets", "count", "high_us", "low_us", "total_us")

    def __init__(self) -> None:
        self.count = 0
        self.total_us = 0
        self.low_us = 0
        self.high_us = 0
        self._buckets: dict[int, int] = {}

    def add(self, us: int) -> bool:
        """Counts one answer; returns whether it is the slowest so far."""
        place = bucket(us)
        self._buckets[place] = self._buckets.get(place, 0) + 1
        self.total_us += us
        self.count += 1
        if self.count == 1 or us < self.low_us:
            self.low_us = us
        if self.count == 1 or us > self.high_us:
            self.high_us = us
            return True
        return False

    def merged(self, other: Latency) -> Latency:
        """Returns both windows as one."""
        if not other.count or not self.count:
            return self if self.count else other
        result = Latency()
        result.count = self.count + other.count
        result.total_us = self.total_us + other.total_us
        result.low_us = min(self.low_us, other.low_us)
        result.high_us = max(self.high_us, other.high_us)
        for source in (self._buckets, other._buckets):
            for place, count in source.items():
                result._buckets[place] = result._buckets.get(place, 0) + count
        return result

    def percentile(self, share: float) -> int | None:
        """Returns a time that ``share`` (0 to 1) of the answers did not exceed; None without answers.

        Never too low, and too high by a quarter at most.
        """
        wanted, seen = share * self.count, 0
        for place in sorted(self._buckets):
            seen += self._buckets[place]
            if seen >= wanted:
                return min(bucket_end(place), self.high_us)
        return None

    def facts(self) -> list[Fact]:
        """Returns the answer times as named numbers, in milliseconds."""
        if not self.count:
            return []
        p50, p95, p99 = self.percentile(0.5), self.percentile(0.95), self.percentile(0.99)
        return [
            ("latency_min_ms", self.low_us / 1000),
            ("latency_mean_ms", round(self.total_us / self.count / 1000, 3)),
            ("latency_p50_ms", None if p50 is None else p50 / 1000),
            ("latency_p95_ms", None if p95 is None else p95 / 1000),
            ("latency_p99_ms", None if p99 is None else p99 / 1000),
            ("latency_max_ms", self.high_us / 1000),
        ]


class Worst:
    """The largest time of the last one to two windows."""

    __slots__ = ("_before_us", "us")

    def __init__(self) -> None:
        #: of this window
        self.us = 0
        self._before_us = 0

    def roll(self) -> None:
        """Begins a new window."""
        self._before_us, self.us = self.us, 0

    @property
    def ms(self) -> float | None:
        """Milliseconds; None: nothing was seen."""
        worst = max(self.us, self._before_us)
        return worst / 1000 if worst else None


class DeviceCounters:
    """Everything counted of one device."""

    __slots__ = (
        "_before",
        "causes",
        "good",
        "last_code",
        "last_error",
        "last_error_us",
        "last_good_us",
        "latency",
        "missed",
        "not_asked",
        "requests",
        "retries",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.good = 0
        #: quality code of a failed request -> how many
        self.causes: dict[int, int] = {}
        #: second attempts, which are requests too
        self.retries = 0
        #: ticks that were not asked because the device is silent
        self.not_asked = 0
        #: ticks that nobody had time for
        self.missed = 0
        #: monotonic us; None: never yet
        self.last_good_us: int | None = None
        self.last_error_us: int | None = None
        self.last_error = ""
        #: quality code of that error
        self.last_code: int | None = None
        self.latency = Latency()
        self._before = Latency()

    def failed(self, code: int, at_us: int, detail: str) -> None:
        """Counts a request that gave no values."""
        self.causes[code] = self.causes.get(code, 0) + 1
        self.last_error_us, self.last_code = at_us, code
        reason = CODES[code].reason
        self.last_error = f"{reason}: {detail}" if detail else reason

    def roll(self) -> None:
        """Begins a new window."""
        self._before, self.latency = self.latency, Latency()

    @property
    def slowest_us(self) -> int | None:
        """Slowest answer of the last windows; None without one."""
        both = [item.high_us for item in (self.latency, self._before) if item.count]
        return max(both) if both else None

    def facts(self, window_us: int = 0) -> list[Fact]:
        """Returns the counts as named numbers.

        Args:
            window_us: how long the windows are that are kept; 0: not known, then there is no rate.
        """
        latest = self.latency.merged(self._before)
        causes: list[Fact] = [(f"failed_{CODES[code].reason}", count) for code, count in sorted(self.causes.items())]
        return [
            ("requests", self.requests),
            ("good", self.good),
            ("good_per_s", round(latest.count * 1e6 / window_us, 3) if window_us else None),
            ("retries", self.retries),
            ("not_asked", self.not_asked),
            ("missed_ticks", self.missed),
            ("last_good_us", self.last_good_us),
            ("last_error", self.last_error[:256] or None),
            ("last_error_us", self.last_error_us),
            *causes,
            *latest.facts(),
        ]


class PortCounters:
    """Everything counted of one port."""

    __slots__ = ("_began_us", "_busy_before_us", "_late_before_us", "_length_before_us", "busy_us", "faults", "late_us")

    def __init__(self, now_us: int) -> None:
        #: time of this window in which a request was under way
        self.busy_us = 0
        #: worst time from a tick to its request in this window
        self.late_us = 0
        #: errors of our own, each with a traceback in the log
        self.faults = 0
        self._began_us = now_us
        self._busy_before_us = 0
        self._late_before_us = 0
        self._length_before_us = 0

    def roll(self, now_us: int) -> None:
        """Begins a new window."""
        self._busy_before_us, self._late_before_us = self.busy_us, self.late_us
        self._length_before_us = now_us - self._began_us
        self.busy_us = self.late_us = 0
        self._began_us = now_us

    def window_us(self, now_us: int) -> int:
        """Returns how long the windows are that are kept."""
        return now_us - self._began_us + self._length_before_us

    def facts(self, now_us: int) -> list[Fact]:
        """Returns the counts as named numbers; ``bus_load`` is a fraction of the time."""
        length = self.window_us(now_us)
        busy = self.busy_us + self._busy_before_us
        return [
            ("bus_load", round(busy / length, 4) if length > 0 else None),
            ("late_worst_ms", max(self.late_us, self._late_before_us) / 1000),
            ("faults", self.faults),
        ]


def port_sums(devices: Iterable[DeviceCounters]) -> list[Fact]:
    """Returns what the devices of a port have counted together."""
    requests = good = 0
    causes: dict[int, int] = {}
    for device in devices:
        requests, good = requests + device.requests, good + device.good
        for code, count in device.causes.items():
            causes[code] = causes.get(code, 0) + count
    failed: list[Fact] = [(f"failed_{CODES[code].reason}", count) for code, count in sorted(causes.items())]
    return [("requests", requests), ("good", good), *failed]
