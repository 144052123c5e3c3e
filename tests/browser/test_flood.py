"""5 000 alarms in a minute: none is lost, and the page goes on working.  Real store, writer, queries and Chromium."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from collector.alarm_log import AlarmActions
from collector.changes import ChangeHub
from collector.database import FILE_NAME, upgrade
from collector.queries import SqliteQueries
from collector.store import Store
from collector.views import AlarmFilter
from collector.web.alarm_api import alarm_stream
from collector.web.app import create_app, wall_us
from collector.writer import Writer
from contracts.batch import Lane
from tests.browser.test_page import ARGUMENTS
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US, Gateway
from tests.collector.web.fake_city import INFO
from tests.debian_tools import find_tool

pytestmark = [pytest.mark.browser, pytest.mark.ci]

S = 1_000_000
GATEWAYS, BATCHES, EVENTS = 10, 10, 50
ALARMS = GATEWAYS * BATCHES * EVENTS
#: the minute of the task, shortened: what is right at six times the pace is right at the pace
WITHIN_S = 10.0


class Centre:
    """A collector without broker, its page served from a thread."""

    def __init__(self, folder: Path) -> None:
        template = folder / "template.sqlite3"
        upgrade(template, START_US)
        bench = Bench(folder / "data", template)
        bench.store.close()
        self.gateways = [Gateway(seed=n + 2, epoch=f"epoch-{n:02d}".encode()) for n in range(GATEWAYS)]
        self.changes = ChangeHub()
        self.store = Store(bench.data / FILE_NAME, wall_us)
        self.store.open()
        self.receipts = 0
        self.writer = Writer(
            self.store, bench.signer, publish=self._publish, on_change=self.changes.tell, now_us=wall_us
        )
        self.queries = SqliteQueries(bench.data / FILE_NAME, wall_us, self.writer.counters)
        actions = AlarmActions(self.writer.run, self.queries, wall_us, self.changes.tell)
        app = create_app(queries=self.queries, actions=actions, changes=self.changes, info=INFO)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.writer.start()
        self._thread.start()

    def _publish(self, topic: str, payload: bytes) -> None:
        self.receipts += 1

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.changes.attach(self.loop)
        self.loop.run_until_complete(self._server.serve(sockets=[self._socket]))

    def send(self, gateway: Gateway, message: tuple[str, bytes], at_us: int) -> None:
        arrival = gateway.arrival(message, at_us)
        assert self.writer.put(arrival)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.changes.close)
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self.writer.stop()
        self.queries.close()
        self.store.close()
        self._socket.close()


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    yield made
    made.close()


async def _listen(centre: Centre, told: set[str]) -> None:
    async for event in alarm_stream(centre.queries, centre.changes):
        if event.startswith("event: alarm"):
            told.add(event.split("\n")[1].removeprefix("id: "))


def test_five_thousand_alarms_none_lost_and_the_page_usable(centre: Centre) -> None:
    base_us = wall_us() - START_US
    told: set[str] = set()
    listening = asyncio.run_coroutine_threadsafe(_listen(centre, told), centre.loop)
    for gateway in centre.gateways:
        centre.send(gateway, gateway.catalogue_message(), base_us)
        centre.send(gateway, gateway.ask_message(base_us), base_us)
    sent: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_tool("chromium"), args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{centre.url}?lang=en")
        expect(page.locator("#stream")).to_have_attribute("data-state", "on")
        began = time.monotonic()
        for batch in range(BATCHES):
            for gateway in centre.gateways:
                at_us = base_us + batch * S
                events = tuple(
                    gateway.event("active", at_us + n, severity="red" if n == 0 else "yellow") for n in range(EVENTS)
                )
                sent |= {event.id.hex() for event in events}
                centre.send(gateway, gateway.seal(at_us + S, lane=Lane.ALARM, events=events), at_us + S)
            time.sleep(max(0.0, began + (batch + 1) * WITHIN_S / BATCHES - time.monotonic()))
        assert len(sent) == ALARMS
        # The page counts all of them and shows the gravest.
        expect(page.locator("#summary")).to_contain_text(f"Yellow {ALARMS - ALARMS // EVENTS}", timeout=60_000)
        expect(page.locator("#summary")).to_contain_text(f"Red {ALARMS // EVENTS}")
        expect(page.locator("#alarms > li")).to_have_count(200)
        expect(page.locator("#alarms > li.sev-red")).to_have_count(ALARMS // EVENTS)
        expect(page.locator("#stream")).to_have_attribute("data-state", "on")
        # A person can work with it.
        first = page.locator("#alarms > li").first
        id = str(first.get_attribute("id"))
        entry = page.locator(f'[id="{id}"]')
        entry.get_by_label("Your name").fill("Wang")
        entry.get_by_role("button", name="Acknowledge").click()
        # It makes room for one that nobody has seen.
        expect(entry).to_have_count(0, timeout=10_000)
        expect(page.locator("#alarms > li")).to_have_count(200)
        found = centre.queries.alarm(id.removeprefix("a:"))
        assert found is not None
        assert found.acknowledged_by == "Wang"
        page.locator("#alarms-section a.beside[href^='/alarms']").click()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.locator("#older").click()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.screenshot(path=str(centre.store._path.with_name("flood.png")))
        browser.close()
    found: list[str] = []
    after = None
    while True:
        journal = centre.queries.journal(AlarmFilter(state="standing"), limit=500, after=after)
        found += [alarm.id for alarm in journal.alarms]
        if journal.next is None:
            break
        after = journal.next
    assert len(found) == ALARMS
    assert set(found) == sent
    assert centre.store.scalar("SELECT count(*) FROM decision WHERE decision='page'") == ALARMS
    assert centre.writer.counters()["ingest_let_go"] == 0
    deadline = time.monotonic() + 30
    while told != sent and time.monotonic() < deadline:
        time.sleep(0.1)
    assert told == sent
    listening.cancel()
