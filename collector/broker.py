"""The embedded broker: amqtt on 127.0.0.1, in a thread with an event loop of its own.

Good enough for a demonstration and a small site (a pure Python broker needs some ten times
the CPU of mosquitto per message); a larger one names an outside broker in the settings.
asyncio sets TCP_NODELAY on the broker's sockets by itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError

from collector.errors import BusyError

#: it speaks of every packet at levels below this
_NOISY = ("amqtt", "transitions")


class EmbeddedBroker:
    """An MQTT 3.1.1 broker inside this process."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._error: Exception | None = None

    def start(self) -> None:
        """Starts the thread and waits until the broker listens.

        Raises:
            BusyError: the port is taken.
        """
        check_port(self._host, self._port, "the broker")
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        self._started.wait(timeout=15)
        if self._error is not None:
            raise BusyError(f"the embedded broker does not start: {self._error}") from self._error

    def stop(self) -> None:
        """Stops the broker; safe twice."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=10)
        self._thread = None

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except (AMQTTError, OSError) as error:
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_quiet)
        self._stopping = asyncio.Event()
        broker = Broker(
            BrokerConfig(
                listeners={"default": ListenerConfig(type=ListenerType.TCP, bind=f"{self._host}:{self._port}")},
                plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            ),
            loop=self._loop,
        )
        await broker.start()
        self._started.set()
        await self._stopping.wait()
        try:
            await asyncio.wait_for(broker.shutdown(), timeout=5)
        except (AMQTTError, TimeoutError):
            pass  # clients that hang on do not keep us: their deliveries are guarded by receipts


def _quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keeps amqtt's forgotten tasks (a client that vanished mid-packet) at debug level."""
    logging.getLogger(__name__).debug("broker: %s: %s", context.get("message"), context.get("exception"))


def check_port(host: str, port: int, what: str) -> None:
    """Raises BusyError, a sentence, when a port cannot be listened on."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise BusyError(f"{what} cannot listen on {host}:{port}: {error.strerror or error}") from error
