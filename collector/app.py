"""The running collector: builds, starts and stops everything; nothing else knows everything.

broker (own thread) ~~ link (paho's thread) -> judge -> writer (own thread) -> receipts
                                                              |-> changes -> pages (main thread)
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from collector.alarm_log import AlarmActions
from collector.broker import EmbeddedBroker
from collector.changes import ChangeHub
from collector.data_dir import Lock, database, prepare, wall_us
from collector.database import open_reader
from collector.documents import Documents
from collector.errors import BusyError
from collector.ingest import Accepted, Asked, Verdict, judge_message
from collector.keys import Registry
from collector.mender import Mender
from collector.mqtt_link import MqttLink
from collector.notify.board import NotifyBoard
from collector.notify.reload import RulesFile
from collector.queries import SqliteQueries
from collector.retention import Pruner
from collector.settings import SETTINGS_FILE, Settings, read_password
from collector.store import Arrival, Store
from collector.views import Change
from collector.watching import Watching
from collector.writer import Writer, calm_garbage_collection

_LOG = logging.getLogger(__name__)


class Collector:
    """Ingest without the pages: broker, link, writer, store."""

    def __init__(self, data: Path, settings: Settings, settings_file: Path | None = None) -> None:
        """Takes a prepared data directory, and where the settings are from; nothing starts here."""
        self._settings_file = settings_file if settings_file is not None else data / SETTINGS_FILE
        self.data = data
        self.settings = settings
        self.changes = ChangeHub()
        self._broker: EmbeddedBroker | None = None

    def start(self) -> None:
        """Starts everything; raises CollectorError with a sentence."""
        signer = prepare(self.data)
        self.key_line = signer.public.line("collector")
        self._registry = Registry(self.data)
        self._registry.load()
        self._store = Store(database(self.data), wall_us, self._names)
        self._store.open()
        settings = self.settings.broker
        password = read_password(settings, self.data)
        if settings.kind == "embedded":
            self._broker = EmbeddedBroker(settings.host, settings.port)
            self._broker.start()
        self._link = MqttLink(
            settings.host,
            settings.port,
            self._take,
            client_id=f"collector-{signer.key_id.hex()}",
            username=settings.username,
            password=password,
        )
        self.watching = Watching(signer, self._link.publish, wall_us=wall_us)
        self.writer = Writer(self._store, signer, publish=self._link.publish, on_change=self._changed, now_us=wall_us)
        self.queries = SqliteQueries(database(self.data), wall_us, self._counters)
        self.actions = AlarmActions(self.writer.run, self.queries, wall_us, self._changed)
        self.notify = NotifyBoard(
            self.settings.notify,
            data=self.data,
            path=database(self.data),
            run=self.writer.run,
            queries=self.queries,
            now_us=wall_us,
            on_change=self.changes.tell,
            names=self._names,
        )
        self._rules_file = RulesFile(self._settings_file, self.data, self.notify, self.settings.notify)
        self.letters = Documents(self.data, self.writer.run, lambda: open_reader(database(self.data)), wall_us)
        self._pruner = Pruner(self.writer.run, signer, self.settings.retention.days, wall_us)
        self._mender = Mender(self.writer.run, self._store.mend)
        self.writer.start()
        self._link.start()
        self._pruner.start()
        self._mender.start()
        self.notify.start()
        self._rules_file.start()

    def stop(self) -> None:
        """Stops in the order of the flow, so that what was taken is still committed; safe twice."""
        for part in ("_mender", "_pruner", "_link", "_rules_file", "notify", "writer", "_broker"):
            found: Any = getattr(self, part, None)
            if found is not None:
                found.stop()
        for part in ("queries", "_store"):
            found = getattr(self, part, None)
            if found is not None:
                found.close()

    def _changed(self, change: Change) -> None:
        """Tells the pages and the notifiers what a commit has changed; from any thread."""
        self.changes.tell(change)
        self.notify.wake(change)

    def _names(self, gateway: str) -> tuple[str, str]:
        found = self._registry.registration(gateway)
        return (found.en, found.zh) if found is not None else ("", "")

    def _take(self, topic: str, payload: bytes) -> None:
        """Judges one message; on the link's thread."""
        arrived_us = wall_us()
        verdict = judge_message(topic, payload, self._registry.keys)
        self._learn_clock(verdict)
        self.writer.put(Arrival(verdict=verdict, arrived_us=arrived_us, topic=topic))

    def _learn_clock(self, verdict: Verdict) -> None:
        match verdict:
            case Accepted(gateway=gateway, batch=batch):
                header = batch.header
                self.watching.heard(
                    gateway, boot_id=header.boot_id, boot_counter=header.boot_counter, mono_us=header.sealed_us
                )
            case Asked(gateway=gateway, ask=ask):
                self.watching.heard(
                    gateway,
                    boot_id=ask.boot_id,
                    boot_counter=ask.boot_counter,
                    mono_us=ask.anchor.mono_us,
                    has_asked=True,
                )

    def _counters(self) -> dict[str, float]:
        own = {"broker_connected": float(self._link.is_up)}
        return self.writer.counters() | own | self._store.clock_skew.counters()


def serve(data: Path, settings: Settings, settings_file: Path | None = None) -> None:
    """Runs until SIGINT or SIGTERM; rules of notification are read again where ``settings_file`` changes.

    Raises:
        CollectorError: something does not start; with a sentence.
    """
    if not data.exists():
        prepare(data)
    _take_signals()
    with Lock(data):
        listener = _listen(settings.http.host, settings.http.port)
        collector = Collector(data, settings, settings_file)
        try:
            collector.start()
            calm_garbage_collection()
            asyncio.run(_serve_pages(collector, listener))
        finally:
            collector.stop()
            listener.close()


_is_serving = False


def _take_signals() -> None:
    """Makes SIGTERM and SIGINT end the program in order, also while it starts.

    While pages are served uvicorn takes the signals, ends, and raises them again: by then
    everything is stopping already.
    """

    def stop(number: int, frame: object) -> None:
        if not _is_serving:
            raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise BusyError(f"the page cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


async def _serve_pages(collector: Collector, listener: socket.socket) -> None:
    import uvicorn

    from collector.web.app import create_app
    from collector.web.ports import Info

    collector.changes.attach(asyncio.get_running_loop())
    info = Info(
        version=own_version(),
        started_us=wall_us(),
        collector_key=collector.key_line,
        embedded_broker=collector.settings.broker.kind == "embedded",
    )
    app = create_app(
        queries=collector.queries,
        actions=collector.actions,
        changes=collector.changes,
        info=info,
        host_names=collector.settings.http.names,
        watcher=collector.watching,
        notifying=collector.notify,
        letters=collector.letters,
    )
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    host, port = listener.getsockname()[:2]
    print(f"collector: http://{host}:{port}/", flush=True)
    global _is_serving
    _is_serving = True
    watching = asyncio.create_task(_end_listeners(server, collector))
    await server.serve(sockets=[listener])
    watching.cancel()


async def _end_listeners(server: Any, collector: Collector) -> None:
    """Lets live pages go as soon as the server is told to stop, so that it can."""
    while not server.should_exit:  # noqa: ASYNC110  uvicorn has a flag and no event
        await asyncio.sleep(0.2)
    collector.changes.close()


def own_version() -> str:
    """Returns the installed version."""
    try:
        return version("qianshao")
    except PackageNotFoundError:
        return "0.0.0"
