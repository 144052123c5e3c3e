"""A virtual broker: it holds what it is given until a test lets it go on, and may lose, repeat or reorder it.

It promises what MQTT with clean sessions promises across a broker that may die: nothing.  Everything it ever
carried it may carry again, later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Message = tuple[str, bytes]
#: how many old messages it can bring again
_REMEMBERED = 300
#: how many messages wait in it for the collector; it takes more and drops them, as brokers with a full queue do
_MOST_WAITING = 200


class BrokerLink:
    """The gateway's end: the port of ``edge_agent.link``, brought up and down by the test."""

    def __init__(self, broker: Broker) -> None:
        self.on_up: Callable[[], None] = lambda: None
        self.on_down: Callable[[str], None] = lambda reason: None
        self.on_message: Callable[[str, bytes], None] = lambda topic, payload: None
        self.is_up = False
        #: no address: nobody counts the bytes of this link
        self.peer: str | None = None
        #: messages that it takes until the next delivery; less than none left: it takes no more
        self.room = 1 << 30
        self._broker = broker

    def start(self) -> None:
        """Connects when the test says so."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        if not self.is_up or self.room <= 0:
            return False
        self.room -= 1
        self._broker.on_publish(payload)
        if len(self._broker.up) < _MOST_WAITING:
            self._broker.up.append((topic, payload))
        return True

    async def stop(self, farewell: Message | None = None) -> None:
        if farewell is not None:
            self.publish(*farewell)
        self.is_up = False


@dataclass(slots=True)
class _Counts:
    dropped: int = 0
    doubled: int = 0
    moved: int = 0


class Broker:
    """Two queues that nobody moves by themselves."""

    def __init__(self) -> None:
        #: from the gateway, and from the collector
        self.up: deque[Message] = deque()
        self.down: deque[Message] = deque()
        self.old_up: deque[Message] = deque(maxlen=_REMEMBERED)
        self.old_down: deque[Message] = deque(maxlen=_REMEMBERED)
        self.counts = _Counts()
        #: told of everything that the gateway publishes
        self.on_publish: Callable[[bytes], None] = lambda payload: None

    def drop(self, queue: deque[Message], place: int) -> None:
        """Loses one message."""
        if queue:
            del queue[place % len(queue)]
            self.counts.dropped += 1

    def double(self, queue: deque[Message], place: int) -> None:
        """Brings one message twice."""
        if queue:
            place %= len(queue)
            queue.insert(place, queue[place])
            self.counts.doubled += 1

    def move(self, queue: deque[Message], place: int, to: int) -> None:
        """Lets one message change its place in the queue."""
        if len(queue) > 1:
            message = queue[place % len(queue)]
            del queue[place % len(queue)]
            queue.insert(to % (len(queue) + 1), message)
            self.counts.moved += 1

    def forget(self) -> None:
        """Dies with everything it held."""
        self.counts.dropped += len(self.up) + len(self.down)
        self.up.clear()
        self.down.clear()

    def take(self, queue: deque[Message]) -> Message:
        """Takes the first message, to be delivered."""
        message = queue.popleft()
        (self.old_up if queue is self.up else self.old_down).append(message)
        return message
