"""A broker in the hands of an enemy: it may lose, repeat, delay, reorder, alter and forge what it carries.

It stands between the real uplink and the real ingest, in one event loop.  What it does is a rule: a
function from one message to the list of (delay, topic, payload) that is delivered for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from tests.reliability.link_ends import Centre

#: (seconds from now, topic, payload)
Delivered = tuple[float, str, bytes]
Rule = Callable[[str, bytes], list[Delivered]]


def honest(topic: str, payload: bytes) -> list[Delivered]:
    """Delivers every message once and at once."""
    return [(0.0, topic, payload)]


class WireLink:
    """A gateway's end of the wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.on_up: Callable[[], None] = lambda: None
        self.on_down: Callable[[str], None] = lambda reason: None
        self.on_message: Callable[[str, bytes], None] = lambda topic, payload: None
        self.is_up = False

    def start(self) -> None:
        """The test says when it is up."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        if not self.is_up:
            return False
        self._wire.rise(topic, payload)
        return True

    async def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        self.is_up = False

    def up(self) -> None:
        self.is_up = True
        self.on_up()

    def down(self, reason: str = "cut by the test") -> None:
        self.is_up = False
        self.on_down(reason)


class Wire:
    """Carries both ways between links and one collector."""

    def __init__(self, centre: Centre, loop: asyncio.AbstractEventLoop) -> None:
        self._centre = centre
        self._loop = loop
        self._links: dict[str, WireLink] = {}
        self.rise_rule: Rule = honest
        self.fall_rule: Rule = honest
        #: everything that was published, in order
        self.risen: list[tuple[str, bytes]] = []
        self.fallen: list[tuple[str, bytes]] = []
        centre.publish = lambda topic, payload: loop.call_soon_threadsafe(self._fall, topic, payload)

    def link(self, gateway: str) -> WireLink:
        link = self._links[gateway] = WireLink(self)
        return link

    def rise(self, topic: str, payload: bytes) -> None:
        """From a gateway, or from whoever can reach the broker."""
        self.risen.append((topic, payload))
        for delay, where, what in self.rise_rule(topic, payload):
            self._loop.call_later(delay, self._centre.take, where, what)

    def _fall(self, topic: str, payload: bytes) -> None:
        self.fallen.append((topic, payload))
        for delay, where, what in self.fall_rule(topic, payload):
            self.speak(where, what, delay)

    def speak(self, topic: str, payload: bytes, delay: float = 0.0) -> None:
        """Delivers a message to the gateway that its topic names."""
        gateway = topic.split("/")[3]
        self._loop.call_later(delay, lambda: self._links[gateway].on_message(topic, payload))

    def calm(self) -> None:
        """From now on everything passes."""
        self.rise_rule = self.fall_rule = honest


def losing(chance: random.Random, share: float, *, only: str = "") -> Rule:
    """Loses a share of the messages whose topic ends with ``only``."""
    return lambda topic, payload: [] if topic.endswith(only) and chance.random() < share else [(0.0, topic, payload)]


def repeating(chance: random.Random, most: int) -> Rule:
    """Delivers every message one to ``most`` times, some of them late."""
    return lambda topic, payload: [
        (chance.random() * 0.2 if n else 0.0, topic, payload) for n in range(chance.randint(1, most))
    ]


def shuffling(chance: random.Random, spread_s: float) -> Rule:
    """Delivers every message once, in any order."""
    return lambda topic, payload: [(chance.random() * spread_s, topic, payload)]


def delaying(delay_s: float, *, only: str = "") -> Rule:
    """Delays the messages whose topic ends with ``only``."""
    return lambda topic, payload: [(delay_s if topic.endswith(only) else 0.0, topic, payload)]


def spoiling(chance: random.Random, share: float) -> Rule:
    """Flips one bit in a share of the messages."""

    def rule(topic: str, payload: bytes) -> list[Delivered]:
        if payload and chance.random() < share:
            at = chance.randrange(len(payload))
            payload = payload[:at] + bytes([payload[at] ^ 1 << chance.randrange(8)]) + payload[at + 1 :]
        return [(0.0, topic, payload)]

    return rule
