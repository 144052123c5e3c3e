"""Listening addresses for dial-in DTUs: who registers is known by its packet and handed to its port.

::

    accepted --> first packet, quiet --> known      --> the port's own connection (replaces the one before)
        |              |-- unknown, ambiguous ----> refused: closed, counted, told once per address
        '-- nothing within the registration time -> refused

Several ports share one address; it is listened on from the first port's opening to the last one's
closing, and ports can join and leave meanwhile.  A DTU that connects again replaces its old
connection at once, because the old one is often half-open and says nothing.  Strangers cost
little: few may wait, each for a short time and with few bytes.  A DTU proves nothing about
itself, so listen on an address that only the cellular network's private access reaches.

It runs in the event loop; a known connection goes to the thread of its line as a bare socket.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from drivers.dial_in import MOST_UNKNOWN, Answer, DtuForm, recognize
from drivers.errors import PortGone

_LOG = logging.getLogger(__name__)

#: connections that may wait for their registration at once, beside two for each DTU that is expected (all dial in
#: together when the agent starts); for one more the oldest is closed, because a DTU registers at once and a
#: stranger may hold connections open
MOST_WAITING = 16
#: so long each of them may wait undisturbed; meanwhile nobody is accepted, so that many strangers who come again and
#: again cannot push a DTU out before its packet is there (seconds)
FAIR_S = 2.0
#: a packet is over when nothing more came for this long (seconds)
QUIET_S = 0.2
#: where it is never quiet (heartbeats follow), the packet is judged after so many times that
_QUIETS = 5
#: seconds between attempts to listen; the last one stays
_LISTEN_AGAIN_S = (1.0, 2.0, 5.0, 15.0, 30.0)
#: connections that the kernel keeps until they are accepted
_BACKLOG = 128
#: addresses of strangers that are remembered, so that each is told once
_MOST_STRANGERS = 256

Address = tuple[str, int]


class DialInSource:
    """A ``SocketSource``: the connections of one DTU; offered by the event loop, taken by the line's thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._taken: socket.socket | None = None
        self._next: socket.socket | None = None
        #: why nobody can dial in; empty while it is listened
        self.away_because = "nobody listens"

    def offer(self, connection: socket.socket) -> bool:
        """Hands over a connection of this DTU; returns whether it replaces one."""
        with self._lock:
            old, self._next = self._next, connection
            taken = self._taken
            if old is not None:
                old.close()
            if taken is not None:
                try:
                    taken.shutdown(socket.SHUT_RDWR)  # wakes the thread, which owns it
                except OSError:
                    pass  # it is gone already
        return old is not None or taken is not None

    def take(self) -> socket.socket:
        """Returns the newest connection; raises PortGone where the DTU has not dialled in."""
        found = self.newer()
        if found is None:
            raise PortGone(self.away_because or f"{self._name} has not dialled in")
        return found

    def newer(self) -> socket.socket | None:
        """Returns a connection that was offered since the last one was taken."""
        if self._next is None:
            return None
        with self._lock:
            found, self._next = self._next, None
            if found is not None:
                self._taken = found
        return found

    def let_go(self) -> None:
        """Notes that the connection taken is closed."""
        with self._lock:
            self._taken = None

    def clear(self) -> None:
        """Closes what was offered and never taken."""
        with self._lock:
            left, self._next = self._next, None
        if left is not None:
            left.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A port whose DTU may dial in."""

    #: id of the port
    name: str
    form: DtuForm
    registration_timeout_s: float
    source: DialInSource
    #: called in the event loop when a connection was offered
    arrived: Callable[[], None]


@dataclass(slots=True, kw_only=True)
class DialInCounters:
    """What one address has seen since it is listened on."""

    accepted: int = 0
    registered: int = 0
    #: registrations that replaced a connection of the same DTU
    replaced: int = 0
    #: first packets that are no DTU's registration, or that of more than one
    unknown: int = 0
    #: connections that said nothing in time
    silent: int = 0
    #: connections closed because too many waited
    crowded: int = 0
    #: the last unknown packet and where it came from, for people
    last_unknown: str = ""

    def facts(self) -> tuple[tuple[str, int | str | None], ...]:
        """Returns them by name."""
        return (
            ("accepted", self.accepted),
            ("registered", self.registered),
            ("replaced", self.replaced),
            ("unknown", self.unknown),
            ("silent", self.silent),
            ("crowded", self.crowded),
            ("last_unknown", self.last_unknown or None),
        )


class DialInListener:
    """One listening address."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.counters = DialInCounters()
        self._members: dict[str, Member] = {}
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        #: registrations that are waited for -> since when, the oldest first
        self._waiting: dict[asyncio.Task[None], float] = {}
        self._strangers: dict[str, None] = {}
        self._away_because = ""

    @property
    def name(self) -> str:
        """Host and port."""
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def members(self) -> int:
        """Ports that listen here."""
        return len(self._members)

    async def join(self, member: Member) -> None:
        """Lets a port's DTU register; the first one starts the listening."""
        self._members[member.name] = member
        if not self._tasks:
            self._spawn(self._serve())
            await asyncio.sleep(0)  # its first attempt
        member.source.away_because = self._away_because

    def leave(self, member: Member) -> None:
        """Forgets a port; the last one ends the listening."""
        if self._members.get(member.name) is member:
            del self._members[member.name]
        if self._members:
            return
        for task in self._tasks:
            task.cancel()
        self._stop_listening()

    # --- inside ---------------------------------------------------------------------------

    async def _serve(self) -> None:
        failures = 0
        while True:
            try:
                self._listening = _listen(self.address)
            except OSError as error:
                self._set_away(f"cannot listen on {self.name}: {error.strerror or error}")
                if not failures:
                    _LOG.warning("cannot listen on %s: %s", self.name, error.strerror or error)
                await asyncio.sleep(_LISTEN_AGAIN_S[min(failures, len(_LISTEN_AGAIN_S) - 1)])
                failures += 1
                continue
            if failures:
                _LOG.warning("listening on %s", self.name)
            failures = 0
            self._set_away("")
            try:
                await self._accept(self._listening)
            except OSError as error:
                _LOG.warning("accepting on %s failed: %s", self.name, error.strerror or error)
                self._stop_listening()
                await asyncio.sleep(_LISTEN_AGAIN_S[0])

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._make_room()
            connection, peer = await loop.sock_accept(listening)
            self.counters.accepted += 1
            task = self._spawn(self._register(connection, str(peer[0])))
            self._waiting[task] = loop.time()
            task.add_done_callback(self._forget)

    async def _make_room(self) -> None:
        """Waits until one more may wait; the oldest is closed once it had its time."""
        loop = asyncio.get_running_loop()
        while len(self._waiting) >= MOST_WAITING + 2 * len(self._members):
            oldest, since = next(iter(self._waiting.items()))
            rest_s = since + FAIR_S - loop.time()
            if rest_s <= 0:
                self.counters.crowded += 1
                self._waiting.pop(oldest)
                oldest.cancel()
            else:
                await asyncio.wait(self._waiting, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)

    async def _register(self, connection: socket.socket, peer: str) -> None:
        try:
            member = await self._identify(connection, peer)
        except OSError:
            member = None  # it hung up
        except BaseException:
            connection.close()
            raise
        if member is None:
            connection.close()
            return
        self.counters.registered += 1
        if member.source.offer(connection):
            self.counters.replaced += 1
        member.arrived()

    async def _identify(self, connection: socket.socket, peer: str) -> Member | None:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        over_at = loop.time() + max(member.registration_timeout_s for member in self._members.values())
        data, judged_at = b"", over_at
        while True:
            now = loop.time()
            wait_s = min(QUIET_S, judged_at - now) if judged_at < over_at else over_at - now
            if now < judged_at and await _is_readable(connection, wait_s):
                more = connection.recv(MOST_UNKNOWN)
                if not more:
                    return None
                data += more
                if len(data) <= MOST_UNKNOWN:
                    judged_at = min(judged_at, loop.time() + _QUIETS * QUIET_S)
                    continue
            is_over, judged_at = loop.time() >= over_at, over_at
            if not data:
                self.counters.silent += 1
                self._tell_once(peer, "%s: a connection from %s said nothing, it is closed", self.name, peer)
                return None
            answer, names = recognize({name: member.form for name, member in self._members.items()}, data)
            if answer is Answer.KNOWN:
                return self._members[names[0]]
            if answer is not Answer.WAIT or is_over:
                self._refuse(peer, data, names)
                return None

    def _refuse(self, peer: str, data: bytes, names: tuple[str, ...]) -> None:
        self.counters.unknown += 1
        shown = f"{data[:32]!r} ({data[:32].hex(' ').upper()}) from {peer}"
        self.counters.last_unknown = shown[:256]
        if names:
            self._tell_once(peer, "%s: %s is the registration of %s, refused", self.name, shown, ", ".join(names))
        else:
            self._tell_once(peer, "%s: %s is no known DTU's registration, refused", self.name, shown)

    def _tell_once(self, peer: str, text: str, *values: str) -> None:
        if peer in self._strangers or len(self._strangers) >= _MOST_STRANGERS:
            return
        self._strangers[peer] = None
        _LOG.warning(text, *values)

    def _set_away(self, because: str) -> None:
        self._away_because = because
        for member in self._members.values():
            member.source.away_because = because

    def _stop_listening(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._waiting.pop(task, None)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@dataclass(slots=True)
class DialIns:
    """Every listening address of the process."""

    _listeners: dict[Address, DialInListener] = field(default_factory=dict)

    async def join(self, address: Address, member: Member) -> None:
        """Lets a port's DTU register at an address."""
        listener = self._listeners.get(address)
        if listener is None:
            listener = self._listeners[address] = DialInListener(address)
        await listener.join(member)

    def leave(self, address: Address, member: Member) -> None:
        """Forgets a port; an address without ports is listened on no more."""
        listener = self._listeners.get(address)
        if listener is None:
            return
        listener.leave(member)
        if not listener.members:
            del self._listeners[address]

    def listeners(self) -> tuple[DialInListener, ...]:
        """Returns those that are listened on now."""
        return tuple(self._listeners.values())


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listening = socket.create_server(address, family=family, backlog=_BACKLOG)
    listening.setblocking(False)
    return listening


async def _is_readable(connection: socket.socket, timeout_s: float) -> bool:
    """Waits for bytes and takes none, so that giving up waiting cannot lose any."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, there.set)
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            await there.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(connection)
    return True
