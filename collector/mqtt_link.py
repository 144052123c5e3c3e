"""MQTT by paho, in paho's own network thread: messages in, receipts out.

MQTT is transport only: clean sessions, QoS 1, no reliance on what a broker queues or
retains; delivery is guarded by receipts.  TCP_NODELAY is set on every socket: without it a
client that publishes and subscribes stalls for 40 ms now and then (Nagle's algorithm
against delayed acknowledgement).  Reconnecting starts within half a second and backs off
with jitter.
"""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from contracts.topics import Channel, subscription

_LOG = logging.getLogger(__name__)
CHANNELS = (Channel.ALARM, Channel.DATA, Channel.CATALOGUE, Channel.ASK, Channel.STATUS)
#: waits between tries to connect, first and longest (s): a broker has few collectors and many gateways, and what
#: those send before the collector is back has to be sent again
FIRST_WAIT_S, LONGEST_WAIT_S = 0.4, 2.0


def retry_wait(failures: int, jitter: float) -> float:
    """Returns the wait before the next try (s): doubles with each failure, a half of it by chance.

    Args:
        failures: tries that failed since the last connection, from 0.
        jitter: 0 to 1.
    """
    full = min(LONGEST_WAIT_S, FIRST_WAIT_S * float(2 ** min(failures, 16)))
    return full * (0.5 + jitter / 2)


class MqttLink:
    """The collector's client of an embedded or outside broker."""

    def __init__(
        self,
        host: str,
        port: int,
        on_message: Callable[[str, bytes], object],
        *,
        client_id: str,
        username: str = "",
        password: str = "",
    ) -> None:
        """Takes the broker's address; ``on_message`` is called with topic and payload from paho's thread."""
        self._address = (host, port)
        self._on_message = on_message
        self._failures = 0
        self._is_up: bool | None = None
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True, protocol=paho.MQTTv311
        )
        if username:
            self._client.username_pw_set(username, password)
        self._client.max_inflight_messages_set(200)
        self._client.max_queued_messages_set(10_000)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_connect_fail = self._failed
        self._client.on_socket_open = self._socket_open
        self._client.on_message = self._message

    @property
    def is_up(self) -> bool:
        """Whether the broker has accepted the session."""
        return bool(self._is_up)

    def start(self) -> None:
        """Starts the network thread; the connection comes when the broker is there."""
        self._plan_wait()
        self._client.connect_async(*self._address, keepalive=30)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnects and ends the thread; safe twice."""
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes) -> None:
        """Publishes with QoS 1; while the link is down the gateway's next ask does instead."""
        if self._is_up:
            self._client.publish(topic, payload, qos=1)

    # ---- paho's thread ----------------------------------------------------------------------

    def _connected(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._say_down(f"the broker refuses: {reason}")
            self._plan_wait()
            return
        client.subscribe([(subscription(channel), 1) for channel in CHANNELS])
        self._failures = 0
        self._plan_wait()
        self._is_up = True
        _LOG.info("connected to the broker at %s:%d", *self._address)

    def _disconnected(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._say_down(str(reason))
        self._plan_wait()

    def _failed(self, client: paho.Client, userdata: Any) -> None:
        self._say_down("it does not answer")
        self._plan_wait()

    def _say_down(self, why: str) -> None:
        if self._is_up is not False:
            self._is_up = False
            _LOG.warning("no broker at %s:%d: %s", *self._address, why)

    def _plan_wait(self) -> None:
        """Sets paho's next wait to ours: it would double and never jitter."""
        wait = retry_wait(self._failures, random.random())
        self._failures += 1
        self._client.reconnect_delay_set(min_delay=wait, max_delay=wait)  # type: ignore[arg-type]  # floats do

    def _socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # not text: judged and quarantined like any other wrong topic
        self._on_message(topic, bytes(message.payload))
