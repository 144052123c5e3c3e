"""Sent and not receipted: the one sign that a broker takes our batches and nobody gets them.

A broker answers a publish that its rules deny, that is too large for it or that finds its queue full with
the same word as any other (MQTT 3.1.1 knows no refusal; mosquitto.conf(5)).  So one batch of each lane is
watched, the lowest that is on its way: as long as it has no receipt its age grows.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from contracts.batch import Lane
from edge_agent.delivery import BatchKey

#: a batch this long without a receipt is spoken of (us)
SAY_AFTER_US = 30_000_000


class Unanswered:
    """Watches one batch of each lane."""

    def __init__(self) -> None:
        self._watched: dict[Lane, tuple[BatchKey, int]] = {}
        self._is_said = False

    def sent(self, key: BatchKey, now_us: int) -> None:
        """A batch went out; the first counts, however often it is repeated."""
        self._watched.setdefault(key[1], (key, now_us))

    def receipted(self, is_settled: Callable[[BatchKey], bool], in_flight: Iterable[BatchKey], now_us: int) -> None:
        """A receipt was believed: what it covers is watched no more, the lowest that still flies is."""
        done = [lane for lane, (key, _) in self._watched.items() if is_settled(key)]
        if not done:
            return
        flying = sorted(in_flight)
        for lane in done:
            del self._watched[lane]
            lowest = next((key for key in flying if key[1] is lane), None)
            if lowest is not None:
                self._watched[lane] = (lowest, now_us)

    def forget(self) -> None:
        """A new connection: everything is sent anew."""
        self._watched.clear()

    def age_us(self, now_us: int) -> int | None:
        """Returns how long the batch that waits longest has been on its way; None where none is."""
        return max((now_us - since for _, since in self._watched.values()), default=None)

    def due_us(self) -> int | None:
        """Returns when there will be something to say; None: not as things are."""
        oldest = min((since for _, since in self._watched.values()), default=None)
        return None if oldest is None or self._is_said else oldest + SAY_AFTER_US

    def look(self, now_us: int) -> Literal["gone", "back"] | None:
        """Returns, once each, that nothing is receipted and that it is again."""
        age_us = self.age_us(now_us)
        if not self._is_said and age_us is not None and age_us >= SAY_AFTER_US:
            self._is_said = True
            return "gone"
        if self._is_said and (age_us is None or age_us < SAY_AFTER_US):
            self._is_said = False
            return "back"
        return None
