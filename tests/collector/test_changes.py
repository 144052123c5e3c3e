"""Changes reach listeners on the loop, merged when they are slow."""

from __future__ import annotations

import asyncio
import threading

from collector.changes import ChangeHub, merge
from collector.views import Change


def change(*points: str) -> Change:
    return Change(gateways=frozenset({"g"}), alarms=frozenset(), points=frozenset(("g", key) for key in points))


async def test_a_change_from_another_thread_arrives() -> None:
    hub = ChangeHub()
    hub.attach(asyncio.get_running_loop())
    listener = hub.subscribe()
    threading.Thread(target=hub.tell, args=(change("a"),)).start()
    assert await asyncio.wait_for(anext(listener), 5) == change("a")


async def test_slow_listeners_get_one_merged_change() -> None:
    hub = ChangeHub()
    hub.attach(asyncio.get_running_loop())
    listener = hub.subscribe()
    hub.tell(change("a"))
    hub.tell(change("b"))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(anext(listener), 5) == merge(change("a"), change("b"))


async def test_close_ends_every_listener() -> None:
    hub = ChangeHub()
    hub.attach(asyncio.get_running_loop())
    hub.tell(change("nobody listens"))
    listener = hub.subscribe()
    hub.close()
    assert [item async for item in listener] == []
