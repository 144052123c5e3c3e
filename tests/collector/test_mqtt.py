"""Over a real broker, embedded and mosquitto: a batch goes in, a signed receipt comes out."""

from __future__ import annotations

import queue
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from collector.app import Collector
from collector.broker import EmbeddedBroker, check_port
from collector.errors import BusyError
from collector.keys import add_gateway, load_signer
from collector.mqtt_link import LONGEST_WAIT_S, retry_wait
from collector.settings import BrokerSettings, Settings
from contracts.batch import Lane
from contracts.envelope import Type, open_envelope
from contracts.keys import Verifier
from contracts.messages import Time
from contracts.receipt import Receipt
from contracts.topics import Channel, topic
from tests.collector.gateways import Gateway

S = 1_000_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mosquitto(command: str, port: int, folder: Path) -> Iterator[None]:
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([command, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


class Client:
    """A gateway's side of the broker."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.received: queue.Queue[tuple[str, bytes]] = queue.Queue()
        ready: queue.Queue[bool] = queue.Queue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311, client_id="gateway")
        self._client.on_message = lambda client, data, message: self.received.put((message.topic, message.payload))
        self._client.on_subscribe = lambda *rest: ready.put(True)
        deadline = time.monotonic() + 10
        while True:
            try:
                self._client.connect("127.0.0.1", port)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._client.subscribe([(topic(gateway.id, channel), 1) for channel in (Channel.RECEIPT, Channel.TIME)])
        self._client.loop_start()
        ready.get(timeout=10)

    def send(self, *messages: tuple[str, bytes]) -> None:
        for where, payload in messages:
            self._client.publish(where, payload, qos=1)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def exchange(data: Path, port: int, kind: str) -> None:
    gateway = Gateway()
    own = load_signer(data, create=True).public
    add_gateway(data, gateway.signer.public.line(), "test")
    broker = BrokerSettings.model_validate({"kind": kind, "port": port})
    collector = Collector(data, Settings(broker=broker))
    keys = {own.key_id: Verifier(own)}
    try:
        collector.start()
        client = Client(gateway, port)
        deadline = time.monotonic() + 10
        while not collector.queries.counters()["broker_connected"] and time.monotonic() < deadline:
            time.sleep(0.02)
        client.send(gateway.catalogue_message(), gateway.data(10 * S), gateway.ask_message(11 * S))
        receipt, told = None, None
        while receipt is None or receipt.lane is not Lane.DATA or receipt.contiguous != 1 or told is None:
            where, payload = client.received.get(timeout=10)
            if where.endswith("receipt"):
                receipt = Receipt.from_body(open_envelope(payload, Type.RECEIPT, keys).body)
            else:
                told = Time.from_body(open_envelope(payload, Type.TIME, keys).body)
        assert receipt.digest == gateway.heads[Lane.DATA].digest
        assert told.nonce == b"nonce-0123456789"
        client.stop()
    finally:
        collector.stop()
        collector.stop()


def test_the_embedded_broker(tmp_path: Path) -> None:
    exchange(tmp_path, free_port(), "embedded")


def test_mosquitto(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    port = free_port()
    with mosquitto(require_tool("mosquitto"), port, tmp_path):
        exchange(tmp_path / "data", port, "mosquitto")


def test_a_used_broker_port_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BusyError, match=str(port)):
            EmbeddedBroker("127.0.0.1", port).start()
        with pytest.raises(BusyError, match="the page"):
            check_port("127.0.0.1", port, "the page")


def test_the_first_retry_comes_within_half_a_second_and_later_ones_back_off() -> None:
    assert max(retry_wait(0, jitter) for jitter in (0.0, 0.5, 1.0)) <= 0.5
    assert retry_wait(0, 0.1) != retry_wait(0, 0.9)
    assert retry_wait(3, 1.0) > retry_wait(2, 1.0)
    assert retry_wait(50, 1.0) == LONGEST_WAIT_S
