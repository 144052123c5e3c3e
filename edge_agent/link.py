"""The link to the broker as the agent sees it; `mqtt_link.py` is the real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Link(Protocol):
    """Carries messages; promises nothing about their arrival."""

    #: called on the event loop
    on_up: Callable[[], None]
    on_down: Callable[[str], None]
    on_message: Callable[[str, bytes], None]

    def start(self) -> None:
        """Begins to connect, and to reconnect for ever."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hands a message to the link; False when it is down or takes no more now."""

    @property
    def is_up(self) -> bool:
        """Whether the broker has accepted the connection."""

    async def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Says farewell where it can, and disconnects; safe to call twice."""
