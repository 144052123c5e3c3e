"""RTU bytes in and out of a TCP connection: the ``Wire`` of RTU over TCP and of dial-in DTUs.

A serial server passes the bytes of its line as they are, with CRC and without a header of its
own; TCP may join and split them at will, so frames end by length and CRC only, as
``drivers.exchange`` does it anyway.  There is no silence to keep towards the server unless one
is set (``gap_s``): the server keeps it on its line.

What TCP adds is a network that can stall.  A stalled connection would deliver old replies
whenever it comes back, so it is given up when the bytes of a request were not acknowledged for
long, and what it held can never be taken for an answer on the next one.  Where the network is
well and nobody behind it answers, the connection is kept for long: to make it anew for one dead
device would hurt its neighbours.

Who connects is a ``SocketSource``: ``Dialler`` here, a DTU that dials in in ``dial_in_listener``.
"""

from __future__ import annotations

import errno
import fcntl
import select
import socket
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from drivers.dial_in import HeartbeatFilter
from drivers.errors import LineError, PortGone, PortRefused
from drivers.serial_wire import LineSettings
from drivers.tcp_options import prepare

#: requests in a row without a single byte in return after which the connection is made anew
MOST_SILENT = 20
#: bytes since a request that no line sends; a server that babbles costs its connection, not our processor
_MOST_UNASKED = 1 << 16
#: seconds that the kernel may take to accept a frame, and after which a pause ends what came before
_WRITE_PATIENCE_S = 1.0
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketSettings(LineSettings):
    """A serial line behind a TCP connection; ``path`` is its address, for people.

    ``baud`` is of that line, for time-outs.  Its parity is not known here, so the longest
    character counts.
    """

    stop_bits: int = 2
    #: seconds of silence before each request
    gap_s: float = 0.0

    @property
    def silence_s(self) -> float:
        """Seconds of silence before a request; the line's own is kept by whoever owns it."""
        return self.gap_s


class SocketSource(Protocol):
    """Where connections come from; called by the line's thread."""

    def take(self) -> socket.socket:
        """Returns a connected socket; raises LineError where there is none now."""

    def newer(self) -> socket.socket | None:
        """Returns a connection that replaces the one taken, once."""

    def let_go(self) -> None:
        """Notes that the connection taken is closed."""


class Dialler:
    """A source that connects."""

    def __init__(self, host: str, port: int, *, timeout_s: float = 3.0) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s

    def take(self) -> socket.socket:
        """Connects; raises PortGone, or PortRefused for a name that is none."""
        where = f"{self._host}:{self._port}"
        try:
            return socket.create_connection((self._host, self._port), self._timeout_s)
        except TimeoutError as error:
            raise PortGone(f"no connection to {where} within {self._timeout_s:g} s") from error
        except socket.gaierror as error:
            raise PortRefused(f"no connection to {where}: no such host: {error.strerror or error}") from error
        except OSError as error:
            raise PortGone(f"no connection to {where}: {error.strerror or error}") from error

    def newer(self) -> socket.socket | None:
        """Nobody replaces a connection that we made."""
        return None

    def let_go(self) -> None:
        """Nothing is kept."""


class SocketWire:
    """One connection at a time, from a source."""

    def __init__(
        self,
        source: SocketSource,
        name: str,
        *,
        stall_s: float = 1.0,
        heartbeats: HeartbeatFilter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes where connections come from; opens nothing.

        Args:
            source: of connections.
            name: for people, such as ``10.0.0.5:4001``.
            stall_s: how long the other side's kernel may leave a request unacknowledged.
            heartbeats: takes what is no reply out of what comes; none for a serial server.
            clock: monotonic seconds.
        """
        self._source = source
        self._name = name
        self._stall_s = stall_s
        self._heartbeats = heartbeats or HeartbeatFilter()
        self._clock = clock
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._silent = 0
        #: bytes since a request
        self._unasked = 0
        self._wrote_at = 0.0
        self._came_at = 0.0
        #: since when a request is not acknowledged; ``None`` while all are
        self._stalls_since: float | None = None

    def open(self) -> None:
        """Takes a connection; raises LineError where there is none."""
        self._use(self._source.take())

    def write(self, data: bytes) -> None:
        """Hands all bytes to the kernel; raises PortGone when the connection does not carry them."""
        newer = self._source.newer()
        if newer is not None:
            self._use(newer)
        own = self._own()
        self._check_stall(own)
        if self._silent >= MOST_SILENT:
            raise PortGone(f"{self._name} gave nothing back for {self._silent} requests")
        self._silent += 1
        self._unasked = 0
        self._heartbeats.restart()
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[own.send(view) :]
                except BlockingIOError:
                    if not select.select([], [own], [], _WRITE_PATIENCE_S)[1]:
                        raise PortGone(f"{self._name} takes no bytes") from None
        except OSError as error:
            raise self._gone(error) from error
        self._wrote_at = self._clock()

    def read(self) -> bytes:
        """Returns what is there now, without heartbeats; raises PortGone when the other side has hung up."""
        own = self._own()
        try:
            data = own.recv(4096)
        except BlockingIOError:
            return b""
        except OSError as error:
            return self._after_loss(self._gone(error))
        if not data:
            return self._after_loss(PortGone(f"{self._name} has hung up"))
        self._silent = 0
        self._unasked += len(data)
        if self._unasked > _MOST_UNASKED:
            raise PortGone(f"{self._name} sends on and on; {self._unasked} bytes came since a request")
        now = self._clock()
        if now - self._came_at > _PAUSE_S:
            self._heartbeats.restart()
        self._came_at = now
        return self._heartbeats.feed(data)

    def wait(self, timeout_s: float) -> None:
        """Sleeps until bytes are there or the time is over."""
        self._own()
        self._poll.poll(max(0, int(timeout_s * 1000 + 0.999)))

    def close(self) -> None:
        """Closes the connection."""
        own, self._socket = self._socket, None
        if own is not None:
            own.close()
            self._source.let_go()

    def _use(self, connection: socket.socket) -> None:
        old, self._socket = self._socket, connection
        if old is not None:
            old.close()
        connection.setblocking(False)
        prepare(connection)
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._silent = 0
        self._unasked = 0
        self._stalls_since = None
        self._heartbeats.reset()

    def _own(self) -> socket.socket:
        if self._socket is None:
            raise PortGone(f"{self._name} is closed")
        return self._socket

    def _after_loss(self, error: LineError) -> bytes:
        """A connection that was replaced goes on as the new one, without the reply that was waited for."""
        newer = self._source.newer()
        if newer is None:
            raise error
        self._use(newer)
        return b""

    def _check_stall(self, own: socket.socket) -> None:
        if not _unacknowledged(own):
            self._stalls_since = None
            return
        if self._stalls_since is None:
            self._stalls_since = self._wrote_at
        if self._clock() - self._stalls_since > self._stall_s:
            raise PortGone(f"{self._name} acknowledges nothing, the network stalls")

    def _gone(self, error: OSError) -> PortGone:
        what = "has hung up" if error.errno in (errno.EPIPE, errno.ECONNRESET) else f"is lost: {error.strerror}"
        return PortGone(f"{self._name} {what}")


def _unacknowledged(connection: socket.socket) -> int:
    """Returns the bytes that the other side's kernel has not acknowledged (tcp(7), SIOCOUTQ)."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0])
    except OSError:
        return 0  # no such count on this socket; a lost peer shows itself by the kernel's own time-outs
