"""Debian's mosquitto with the settings of a test, and the two ends of a link connected through it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from collector.mqtt_link import MqttLink as CollectorLink
from contracts.topics import Channel, topic
from edge_agent.backoff import Backoff
from edge_agent.mqtt_link import MqttLink
from tests.collector.gateways import Gateway
from tests.debian_tools import find_tool
from tests.mosquitto import free_port
from tests.reliability.link_ends import RESEND_US, Centre, Edge, until

#: a link of a test is less patient than that of a gateway (s)
QUICK = Backoff(base_s=0.05, most_s=0.3)


class Broker:
    """One mosquitto; may stand in a network namespace of its own."""

    def __init__(
        self, folder: Path, *, settings: str = "", host: str = "127.0.0.1", prefix: Sequence[str] = (), port: int = 0
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host, self.port = host, port or free_port()
        self._command = [*prefix, find_tool("mosquitto"), "-c", str(folder / "mosquitto.conf")]
        self._file = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self.set(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def set(self, settings: str) -> None:
        """Writes its settings; they hold from the next start."""
        text = f"listener {self.port} 0.0.0.0\n" if self.host != "127.0.0.1" else f"listener {self.port} 127.0.0.1\n"
        self._file.write_text(f"{text}allow_anonymous true\npersistence false\nset_tcp_nodelay true\n{settings}")

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((self.host, self.port), 0.5).close()
                return
            except OSError:
                assert time.monotonic() < end, self._log.read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        """Ends it at once; safe twice."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


class Line:
    """A gateway and a collector on a broker."""

    def __init__(
        self,
        folder: Path,
        broker: tuple[str, int],
        *,
        collector_at: tuple[str, int] | None = None,
        edge_class: type[Edge] = Edge,
        link: MqttLink | None = None,
        keepalive_s: int = 30,
        give_up_s: float = 45.0,
        backoff: Backoff = QUICK,
        resend_us: int = RESEND_US,
        backlog_share: float = 0.5,
        points: int = 4,
        username: str = "",
    ) -> None:
        """Takes the broker's address as the gateway sees it, and as the collector does where that differs."""
        self.centre = Centre(folder / "collector")
        id = Gateway(seed=1).id
        self.reasons: list[str] = []
        self.link = link or MqttLink(
            client_id=id,
            host=broker[0],
            port=broker[1],
            subscribe=topic(id, Channel.RECEIPT).rsplit("/", 1)[0] + "/+",
            username=username,
            keepalive_s=keepalive_s,
            give_up_s=give_up_s,
            backoff=backoff,
        )
        self.edge = edge_class(
            folder / "gateway", self.link, self.centre.signer.public, points=points, resend_us=resend_us,
            backlog_share=backlog_share,
        )  # fmt: skip
        self.centre.register(self.edge.signer.public)
        place = collector_at or broker
        self.far = CollectorLink(place[0], place[1], self.centre.take, client_id="collector", username=username and "c")
        self.centre.publish = self.far.publish

    async def start(self) -> None:
        self.centre.start()
        self.far.start()
        await until(lambda: self.far.is_up, "the collector on the broker")
        await self.edge.start()
        # From here on the uplink's own callback is told after ours.
        told = self.link.on_down
        self.link.on_down = lambda reason: (self.reasons.append(reason), told(reason))[1]

    async def stop(self) -> None:
        await self.edge.stop()
        self.far.stop()
        self.centre.stop()
