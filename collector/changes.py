"""Changes, from the writer's thread to live pages on the event loop.

A listener that is slow does not queue changes: they merge into one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from collector.views import Change

_NOTHING = Change(gateways=frozenset(), alarms=frozenset(), points=frozenset())


def merge(a: Change, b: Change) -> Change:
    """Returns one change that says what both say."""
    return Change(gateways=a.gateways | b.gateways, alarms=a.alarms | b.alarms, points=a.points | b.points)


class _Listener:
    def __init__(self) -> None:
        self.pending = _NOTHING
        self.event = asyncio.Event()
        self.is_closed = False


class ChangeHub:
    """Tells every listener of every change."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Names the loop on which listeners live."""
        self._loop = loop

    def tell(self, change: Change) -> None:
        """Tells a change; from any thread."""
        loop = self._loop
        if loop is not None and self._listeners and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(self._spread, change)
            except RuntimeError:
                pass  # the loop closed in between: there is nobody left to tell

    def _spread(self, change: Change) -> None:
        for listener in self._listeners:
            listener.pending = merge(listener.pending, change)
            listener.event.set()

    def subscribe(self) -> AsyncIterator[Change]:
        """Returns the changes from now on; call on the loop."""
        listener = _Listener()
        self._listeners.add(listener)
        return self._listen(listener)

    async def _listen(self, listener: _Listener) -> AsyncIterator[Change]:
        try:
            while not listener.is_closed:
                await listener.event.wait()
                listener.event.clear()
                change, listener.pending = listener.pending, _NOTHING
                if change != _NOTHING:
                    yield change
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Ends every listener's iterator; call on the loop."""
        for listener in self._listeners:
            listener.is_closed = True
            listener.event.set()
