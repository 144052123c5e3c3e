"""Listens on a broker for alarm batches and tells when each event came; verifying is the collector's work."""

from __future__ import annotations

import threading
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contracts.batch import decode_batch
from contracts.envelope import Type, decode_payload, split
from contracts.topics import Channel, topic
from tests.system.rig import until


class AlarmEar:
    """One subscription to one gateway's alarms."""

    def __init__(self, port: int, gateway: str) -> None:
        #: (arrival in monotonic seconds, state, event id)
        self.heard: list[tuple[float, str, bytes]] = []
        self._is_listening = threading.Event()
        self._topic = topic(gateway, Channel.ALARM)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"ear-{gateway}", protocol=paho.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe(self._topic, 1)
        self._client.on_subscribe = lambda *_: self._is_listening.set()
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._is_listening.wait(10.0)

    def _take(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        at_s = time.monotonic()
        batch = decode_batch(decode_payload(split(message.payload)[1]), Type.ALARM_BATCH)
        self.heard += [(at_s, event.state, event.id) for event in batch.events]

    def first(self, state: str, since_s: float, within_s: float = 10.0) -> float:
        """Waits for an event of a state that came after a moment; returns when it came."""

        def found() -> float | None:
            return next((at for at, heard, _ in list(self.heard) if heard == state and at >= since_s), None)

        at_s: float = until(found, f"an alarm that is {state}", within_s, 0.005)
        return at_s

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
