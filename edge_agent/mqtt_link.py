"""MQTT by paho, driven by the agent's own event loop: no thread, no idle wake-ups.

paho's callbacks tell when its socket wants writing; the loop's readers and writers do the
rest, and a timer lets it send keep-alives.  Only connecting blocks, so that runs in a
thread of the pool.  TCP_NODELAY is set on every socket: without it a client that publishes and
subscribes stalls for 40 ms now and then (Nagle against delayed acknowledgement).

Reconnecting is ours: the first try comes within half a second, later ones back off with
jitter up to ``most_s``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

_LOG = logging.getLogger(__name__)
#: X509_V_FLAG / OpenSSL's NO_CHECK_TIME: the pinned chain is checked, its dates are not
_NO_CHECK_TIME = 0x200000
_CONNECT_LIMIT_S = 5.0
#: a broker that takes us and drops us again before this is backed off from like one that is not there
_SETTLED_S = 10.0


def reconnect_delay(attempt: int, *, least_s: float, most_s: float, roll: float) -> float:
    """Returns how long to wait before try ``attempt`` (0 is the first after a loss).

    Full jitter: anywhere between a tenth of the bound and the bound, which doubles with each try.
    """
    bound = min(most_s, least_s * float(1 << min(attempt, 16)))
    return bound * (0.1 + 0.9 * roll)


class MqttLink:
    """One MQTT 3.1.1 session with clean start, QoS 1."""

    def __init__(
        self,
        *,
        client_id: str,
        host: str,
        port: int,
        subscribe: str,
        will: tuple[str, Callable[[], bytes]] | None = None,
        username: str = "",
        password: str = "",
        tls_ca: str = "",
        is_clock_set: Callable[[], bool] = lambda: True,
        keepalive_s: int = 30,
        least_s: float = 0.5,
        most_s: float = 10.0,
        roll: Callable[[], float] = random.random,
    ) -> None:
        self.on_up: Callable[[], None] = lambda: None
        self.on_down: Callable[[str], None] = lambda reason: None
        self.on_message: Callable[[str, bytes], None] = lambda topic, payload: None
        self._id = client_id
        self._host, self._port = host, port
        self._subscribe = subscribe
        self._will = will
        self._tls_ca = tls_ca
        self._is_clock_set = is_clock_set
        self._keepalive = keepalive_s
        self._least, self._most, self._roll = least_s, most_s, roll
        self._is_up = False
        self._is_stopping = False
        self._lost: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: Any = None
        self._username, self._password = username, password
        self._client: paho.Client | None = None
        self._hooked: Any = None
        self._reason = ""

    @property
    def is_up(self) -> bool:
        """Whether the broker has accepted the connection."""
        return self._is_up

    def start(self) -> None:
        """Begins to connect; call on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._lost = asyncio.Event()
        self._task = self._loop.create_task(self._run())

    async def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Publishes a farewell if it can, disconnects; safe to call twice."""
        self._is_stopping = True
        if self._is_up and farewell is not None and self._client is not None:
            info = self._client.publish(farewell[0], farewell[1], qos=1, retain=True)
            for _ in range(100):
                if info.is_published():
                    break
                await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._client is not None and self._client.is_connected():
            self._client.disconnect()
            self._client.loop_write()
        self._unhook()
        self._is_up = False

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hands a message to the link; False when it is down or its queue is full."""
        if not self._is_up or self._client is None:
            return False
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        return info.rc in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN)

    # -- the connecting task ---------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._lost is not None
        attempt = 0
        said = ""
        while not self._is_stopping:
            self._lost.clear()
            began = loop.time()
            try:
                client = self._client = self._new_client()
                await loop.run_in_executor(None, client.connect, self._host, self._port, self._keepalive)
                self._hook()
                reason = await self._session()
            except (OSError, ValueError) as error:
                reason = f"{self._host}:{self._port}: {error}"
            except Exception as error:
                # The outermost loop of the link: a defect must not end reconnecting unseen.
                _LOG.exception("the link failed")
                reason = f"{type(error).__name__}: {error}"
            self._drop()
            was_up, self._is_up = self._is_up, False
            if was_up:
                self.on_down(reason)
                said = ""
                if loop.time() - began >= _SETTLED_S:
                    attempt = 0
            elif reason != said:
                _LOG.warning("no connection to the broker: %s", reason)
                said = reason
            await asyncio.sleep(reconnect_delay(attempt, least_s=self._least, most_s=self._most, roll=self._roll()))
            attempt += 1

    def _drop(self) -> None:
        """Leaves the session that is over; its socket is closed now, not when somebody collects it."""
        self._unhook()
        client, self._client = self._client, None
        sock = None if client is None else client.socket()
        if sock is not None:
            sock.close()

    def _new_client(self) -> paho.Client:
        """Makes a client for one session: nothing that paho queued before is sent behind our back."""
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self._id, clean_session=True, protocol=paho.MQTTv311
        )
        client.connect_timeout = _CONNECT_LIMIT_S
        client.max_inflight_messages_set(200)
        client.max_queued_messages_set(2000)
        if self._username:
            client.username_pw_set(self._username, self._password or None)
        if self._will is not None:
            topic, make = self._will
            client.will_set(topic, make(), qos=1, retain=True)
        if self._tls_ca:
            context = ssl.create_default_context(cafile=self._tls_ca)
            if not self._is_clock_set():
                context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
            client.tls_set_context(context)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        client.on_socket_open = self._opened
        client.on_socket_close = self._closed
        client.on_socket_register_write = self._wants_write
        client.on_socket_unregister_write = self._written
        return client

    async def _session(self) -> str:
        """Runs one connection until it is lost; returns why."""
        assert self._lost is not None
        every = max(1.0, self._keepalive / 6)
        waited_for_answer = 0.0
        while True:
            try:
                await asyncio.wait_for(self._lost.wait(), every)
                return self._reason
            except TimeoutError:
                pass
            if self._client is None or self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return "the broker does not answer keep-alives"
            if not self._is_up:
                waited_for_answer += every
                if waited_for_answer >= 10:
                    return "the broker does not answer the connect"

    # -- paho's callbacks ------------------------------------------------------------

    def _connected(
        self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if client is not self._client:
            return
        if reason.is_failure:
            self._reason = f"the broker refuses: {reason}"
            if self._lost is not None:
                self._lost.set()
            return
        client.subscribe(self._subscribe, qos=1)
        self._is_up = True
        self.on_up()

    def _disconnected(
        self, client: paho.Client, data: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if client is not self._client:
            return
        if self._lost is None or not self._lost.is_set():  # a refusal is a better reason
            self._reason = f"the connection was lost: {reason}"
        if self._loop is not None and self._lost is not None:
            self._loop.call_soon_threadsafe(self._lost.set)

    def _received(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        self.on_message(message.topic, bytes(message.payload))

    def _opened(self, client: paho.Client, data: Any, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock

    def _closed(self, client: paho.Client, data: Any, sock: Any) -> None:
        if self._loop is not None and sock is self._hooked:
            # The descriptor is still valid here and may be reused after this call returns.
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            self._hooked = None
        if self._socket is sock:
            self._socket = None

    def _wants_write(self, client: paho.Client, data: Any, sock: Any) -> None:
        if self._loop is not None and sock is self._hooked:
            self._loop.add_writer(sock, self._write)

    def _written(self, client: paho.Client, data: Any, sock: Any) -> None:
        if self._loop is not None and sock is self._hooked:
            self._loop.remove_writer(sock)

    # -- the loop's side -------------------------------------------------------------

    def _hook(self) -> None:
        if self._loop is None or self._socket is None:
            raise OSError("the connection was closed at once")
        self._hooked = self._socket
        self._loop.add_reader(self._hooked, self._read)
        self._loop.add_writer(self._hooked, self._write)

    def _unhook(self) -> None:
        if self._loop is not None and self._hooked is not None and self._hooked.fileno() >= 0:
            self._loop.remove_reader(self._hooked)
            self._loop.remove_writer(self._hooked)
        self._hooked = None

    def _read(self) -> None:
        if self._client is None:
            return
        try:
            self._client.loop_read()
            # What TLS has already decrypted wakes no reader.
            while self._client and isinstance(self._hooked, ssl.SSLSocket) and self._hooked.pending():
                self._client.loop_read()
        except Exception as error:
            # Whatever a message led to: the session may be half-way through it, so it begins anew.
            _LOG.exception("a message from the broker could not be taken")
            self._reason = f"{type(error).__name__}: {error}"
            if self._lost is not None:
                self._lost.set()

    def _write(self) -> None:
        if self._client is None:
            return
        self._client.loop_write()
        if self._loop is not None and self._hooked is not None and not self._client.want_write():
            self._loop.remove_writer(self._hooked)
