"""MQTT by paho, driven by the agent's own event loop: no thread, no idle wake-ups.

paho's callbacks tell when its socket wants writing; the loop's readers and writers do the
rest, and a timer lets it send keep-alives.  Only connecting blocks, so that runs in a
thread of the pool.  TCP_NODELAY is set on every socket: without it a client that publishes and
subscribes stalls for 40 ms now and then (Nagle against delayed acknowledgement).

Reconnecting is ours (``backoff.py``).  A connection whose other side no longer takes what we send is given up
after ``give_up_s`` (TCP_USER_TIMEOUT, tcp(7)); with keep-alives far apart that is how a dead path is noticed.
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

from edge_agent.backoff import Backoff, Failure
from edge_agent.clock import SET_CLOCK, TimeBounds
from edge_agent.errors import TlsError
from edge_agent.tls import make_context, why_refused

_LOG = logging.getLogger(__name__)
#: keep-alives on an idle link; a metered one sends data every minute, and mobile networks forget idle
#: connections after some minutes (s)
KEEPALIVE_S, METERED_KEEPALIVE_S = 30, 240
_CONNECT_LIMIT_S = 5.0
#: a broker that takes the connection has this long to take the session, looked at this often (s)
_ANSWER_LIMIT_S, _LOOK_S = 5.0, 1.0
#: how often a waiting link asks whether alarms wait (s)
_URGENT_LOOK_S = 0.5


def kind_of(error: Exception) -> Failure:
    """Returns whether somebody was reached by a try that failed."""
    if isinstance(
        error, (ConnectionRefusedError, ConnectionResetError, ConnectionAbortedError, ssl.SSLError, TlsError)
    ):
        return Failure.REFUSED
    # No name, no route, no answer; a time-out of a TLS handshake comes as TimeoutError too.
    return Failure.UNREACHED


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
        password: Callable[[], str] = lambda: "",
        tls_ca: str = "",
        time_bounds: Callable[[], TimeBounds] = lambda: SET_CLOCK,
        keepalive_s: int = KEEPALIVE_S,
        give_up_s: float = 42.0,
        backoff: Backoff | None = None,
        first_spread_s: float = 0.0,
        is_urgent: Callable[[], bool] = lambda: False,
        roll: Callable[[], float] = random.random,
    ) -> None:
        """Takes what it needs; connects nothing.

        Args:
            subscribe: topic filter of what is for us.
            will: topic of the last will, and what makes it anew for every session.
            password: reads it, anew for every connect; it may wait for a disk, and fail with OSError or ValueError.
            tls_ca: PEM file that the broker is checked against (``tls.py``); empty without TLS.
            time_bounds: what is known of the time now, for the dates of the broker's certificate.
            give_up_s: after this long without the other side's taking what was sent the connection is over.
            backoff: how patient it is at first; without one as ``backoff.py`` says.
            first_spread_s: the first try comes anywhere within this.
            is_urgent: whether alarms wait.
            roll: chance, 0 to 1.
        """
        self.on_up: Callable[[], None] = lambda: None
        self.on_down: Callable[[str], None] = lambda reason: None
        self.on_message: Callable[[str, bytes], None] = lambda topic, payload: None
        self._id = client_id
        self._host, self._port = host, port
        self._subscribe = subscribe
        self._will = will
        self._tls_ca = tls_ca
        self._time_bounds = time_bounds
        self._keepalive = keepalive_s
        self._give_up_s = give_up_s
        self._backoff = backoff or Backoff()
        self._first_spread_s = first_spread_s
        self._is_urgent = is_urgent
        self._roll = roll
        self._failure = Failure.UNREACHED
        self._is_up = False
        self._is_stopping = False
        self._lost: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: Any = None
        self._username, self._password = username, password
        #: of the connect under way
        self._secret = ""
        self._context: ssl.SSLContext | None = None
        self._client: paho.Client | None = None
        self._hooked: Any = None
        self._reason = ""
        #: address that the newest session spoke to, without the port
        self.peer: str | None = None

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
        patience = self._backoff
        said = ""
        await asyncio.sleep(self._first_spread_s * self._roll())
        while not self._is_stopping:
            self._lost.clear()
            self._failure = Failure.REFUSED
            began = loop.time()
            try:
                if self._username or self._tls_ca:
                    # A disk that does not answer must not hold up the loop, which polls.
                    await loop.run_in_executor(None, self._read_files, self._time_bounds())
                client = self._client = self._new_client()
                await loop.run_in_executor(None, client.connect, self._host, self._port, self._keepalive)
                self._hook()
                reason = await self._session()
            except (OSError, ValueError) as error:
                why = why_refused(error, host=self._host, ca_file=self._tls_ca)
                reason = f"{self._host}:{self._port}: {why}"
                self._failure = kind_of(error)
            except Exception as error:
                # The outermost loop of the link: a defect must not end reconnecting unseen.
                _LOG.exception("the link failed")
                reason = f"{type(error).__name__}: {error}"
            self._drop()
            was_up, self._is_up = self._is_up, False
            if was_up:
                self.on_down(reason)
                said = ""
                patience = patience.ended(loop.time() - began)
            elif reason != said:
                _LOG.warning("no connection to the broker: %s", reason)
                said = reason
            await self._pause(patience, began)
            patience = patience.failed()

    async def _pause(self, patience: Backoff, began: float) -> None:
        """Waits for the next try; an alarm that comes meanwhile cuts it short."""
        loop = asyncio.get_running_loop()
        now, roll = loop.time(), self._roll()
        while True:
            wait = patience.wait_s(self._failure, roll=roll, tried_for_s=now - began, is_urgent=self._is_urgent())
            left = now + wait - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, _URGENT_LOOK_S))

    def _drop(self) -> None:
        """Leaves the session that is over; its socket is closed now, not when somebody collects it."""
        self._unhook()
        client, self._client = self._client, None
        sock = None if client is None else client.socket()
        if sock is not None:
            sock.close()

    def _read_files(self, bounds: TimeBounds) -> None:
        self._secret = self._password() if self._username else ""
        self._context = make_context(self._tls_ca, bounds) if self._tls_ca else None

    def _new_client(self) -> paho.Client:
        """Makes a client for one session: nothing that paho queued before is sent behind our back."""
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self._id, clean_session=True, protocol=paho.MQTTv311
        )
        client.connect_timeout = _CONNECT_LIMIT_S
        client.max_inflight_messages_set(200)
        client.max_queued_messages_set(2000)
        if self._username:
            client.username_pw_set(self._username, self._secret or None)
        if self._will is not None:
            topic, make = self._will
            client.will_set(topic, make(), qos=1, retain=True)
        if self._context is not None:
            client.tls_set_context(self._context)
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
        every = max(_LOOK_S, self._keepalive / 6)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes in the moment of the loss.
                async with asyncio.timeout(every if self._is_up else _LOOK_S):
                    await self._lost.wait()
                return self._reason
            except TimeoutError:
                pass
            if self._client is None or self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._failure = Failure.UNREACHED
                return "the broker does not answer keep-alives"
            if not self._is_up and loop.time() - began >= _ANSWER_LIMIT_S:
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
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._give_up_s * 1000))
        self.peer = sock.getpeername()[0]
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
