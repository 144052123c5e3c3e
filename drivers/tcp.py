"""The Modbus TCP port: one connection, one or several transactions in flight.

A reply belongs to the request whose transaction id it carries, and to no other, so a late reply
is dropped and counted and several units may sit behind one socket.  How many requests may wait
at once is the port's ``in_flight``; 1 suits every server, because many hold one question only.
One read is one request: nothing is asked again here.  The connection is made anew, with
back-off, when it is lost, when what comes is no Modbus TCP, and when nobody answers any more::

    connected -- closed by the other side, or not made --> back-off --> connected
        |------- frames lost, or half-open: at once the first time --^

Frames and PDUs are ``mbap`` and ``pdu``; here are sockets, time-outs and who waits for what.
Sources: Modbus Messaging on TCP/IP V1.0b; ADR 0011 says why it is our own.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from contracts import quality
from drivers.half_open import MOST_UNANSWERED, Unanswered
from drivers.mbap import FIRST_TRANSACTION, Splitter, encode, next_transaction, read_pdu, read_words
from drivers.pdu import check_write_reply, write_pdu
from drivers.port import ReadRequest, ReadResult, WriteRequest, WriteResult, monotonic_us
from drivers.tcp_options import prepare

__all__ = ["BACK_OFF_S", "MOST_UNANSWERED", "TcpCounters", "TcpPort"]

#: seconds between attempts to connect; the last one stays; up to a quarter less, drawn by lot
BACK_OFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_JITTER = 0.25
#: longest of them after a connection that we gave up: several requests were waited for before it
_MOST_AFTER_DROP_S = 4.0
#: timed-out transactions that are remembered, so that their replies count as late
_REMEMBERED = 64


@dataclass(slots=True, kw_only=True)
class TcpCounters:
    """What a connection has seen since it was made."""

    requests: int = 0
    good: int = 0
    exceptions: int = 0
    timeouts: int = 0
    #: replies that make no sense as the answer to their request
    bad_frames: int = 0
    #: replies to requests that had timed out; dropped
    late_replies: int = 0
    #: replies to nothing that was asked; dropped
    unknown: int = 0
    #: connections made
    connects: int = 0
    #: connections that could not be made
    connect_failures: int = 0
    #: connections given up because what came was no Modbus TCP, or broke off inside a frame
    lost_frames: int = 0
    #: connections given up because nobody answered
    half_open: int = 0


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """One transaction, and how it ended."""

    done: asyncio.Future[None]
    unit_id: int
    requested_us: int
    replied_us: int = 0
    #: the reply; ``None``: there is none, and ``code`` and ``detail`` say why
    pdu: bytes | None = None
    replied_by: int = 0
    code: int = quality.NO_REPLY
    detail: str = ""
    timer: asyncio.TimerHandle | None = None


class TcpPort:
    """A ``BusPort`` over one Modbus TCP connection."""

    def __init__(
        self,
        host: str,
        port: int = 502,
        *,
        in_flight: int = 1,
        gateway_timeout_s: float = 0.0,
        connect_timeout_s: float = 3.0,
        clock_us: Callable[[], int] = monotonic_us,
        lot: Callable[[], float] = random.random,
    ) -> None:
        """Takes where to connect; opens nothing.

        Args:
            host: name or address.
            port: 1..65535.
            in_flight: requests that may wait for their replies at once.
            gateway_timeout_s: how long the gateway itself waits for a device behind it; no request
                is given up earlier.  0 where there is no gateway, or its time is not known.
            connect_timeout_s: for one attempt to connect.
            clock_us: monotonic microseconds.
            lot: draws from 0 to 1, for the back-off.
        """
        self._host = host
        self._port = port
        self._gateway_timeout_s = gateway_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._clock_us = clock_us
        self._lot = lot
        self._slots = asyncio.Semaphore(in_flight)
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._given_up: OrderedDict[int, None] = OrderedDict()
        self._transaction = FIRST_TRANSACTION
        self._unanswered = Unanswered()
        self._stopped = True
        self._failures = 0
        self._next_connect_us = 0
        self._away_because = ""
        self.counters = TcpCounters()

    async def open(self) -> None:
        """Connects once; where that fails, reads try again with back-off."""
        self._stopped = False
        await self._connected()

    async def read(self, request: ReadRequest) -> ReadResult:
        """Asks once.

        ``timeout_s``, or the gateway's own time-out where that is longer, is the whole round trip;
        a read that has to connect first can take ``connect_timeout_s`` more.

        Raises:
            RequestError: Modbus cannot carry the request.
        """
        pdu = read_pdu(request)
        async with self._slots:
            told = await self._transact(request.unit_id, pdu, request.timeout_s)
        words, code, detail = None, told.code, told.detail
        if told.pdu is not None:
            if told.replied_by != request.unit_id:
                code, detail = quality.FOREIGN_REPLY, f"reply of unit {told.replied_by}"
            else:
                words, code, detail = read_words(request, told.pdu)
            self._count(code)
        return ReadResult(
            words=words, code=code, requested_us=told.requested_us, replied_us=told.replied_us, detail=detail
        )

    async def write(self, request: WriteRequest) -> WriteResult:
        """Writes once; where nobody is to answer, the turn-around time is waited and the reply is not looked at.

        Raises:
            RequestError: Modbus cannot carry the request.
        """
        pdu = write_pdu(request)
        async with self._slots:
            told = await self._transact(request.unit_id, pdu, request.timeout_s, awaited=bool(request.answered_by))
        code, detail = told.code, told.detail
        if told.pdu is not None:
            if told.replied_by not in request.answered_by:
                code, detail = quality.FOREIGN_REPLY, f"reply of unit {told.replied_by}"
            else:
                code, detail = check_write_reply(request, told.pdu)
            self._count(code)
        return WriteResult(code=code, requested_us=told.requested_us, replied_us=told.replied_us, detail=detail)

    async def close(self) -> None:
        """Closes the connection; what waits gets ``port_closed``."""
        self._stopped = True
        self._drop(quality.PORT_CLOSED, "port was closed")

    @property
    def name(self) -> str:
        """Host and port."""
        return f"{self._host}:{self._port}"

    # --- one transaction ------------------------------------------------------------------

    async def _transact(self, unit_id: int, pdu: bytes, timeout_s: float, *, awaited: bool = True) -> _Waiting:
        connection = self._connection
        if connection is not None and connection.splitter.is_inside and not self._waiting:
            self._give_up("a reply broke off")  # what follows half a frame cannot be delimited
            connection = None
        loop = asyncio.get_running_loop()
        told = _Waiting(done=loop.create_future(), unit_id=unit_id, requested_us=self._clock_us())
        if connection is None:
            connection = await self._connected()
            if connection is None:
                self._end(told, quality.CONNECT_FAILED, f"no connection to {self.name}{self._away_because}")
                return told
            told.requested_us = self._clock_us()
        transaction_id = self._new_transaction()
        self.counters.requests += 1
        connection.send(encode(transaction_id, unit_id, pdu))
        if not awaited:
            self._remember(transaction_id)
            await asyncio.sleep(timeout_s)
            is_lost = connection is not self._connection
            self._end(told, *((quality.NO_REPLY, "connection was lost") if is_lost else (quality.GOOD, "")))
            return told
        self._waiting[transaction_id] = told
        wait_s = max(timeout_s, self._gateway_timeout_s)
        told.timer = loop.call_later(wait_s, self._time_out, transaction_id, wait_s)
        try:
            await told.done
        except asyncio.CancelledError:
            self._remember(transaction_id)
            raise
        finally:
            told.timer.cancel()
            self._waiting.pop(transaction_id, None)
        return told

    def _new_transaction(self) -> int:
        number = self._transaction
        while number in self._waiting or number in self._given_up:
            number = next_transaction(number)
        self._transaction = next_transaction(number)
        return number

    def _remember(self, transaction_id: int) -> None:
        self._given_up[transaction_id] = None
        if len(self._given_up) > _REMEMBERED:
            self._given_up.popitem(last=False)

    def _time_out(self, transaction_id: int, waited_s: float) -> None:
        told = self._waiting.pop(transaction_id, None)
        if told is None:
            return  # answered in the same turn of the loop
        self._end(told, quality.NO_REPLY, f"no reply within {waited_s:.3g} s")
        self._remember(transaction_id)
        self.counters.timeouts += 1
        connection = self._connection
        if connection is None:
            return
        if connection.splitter.may_be_inside(transaction_id):
            self._give_up("a reply broke off")
        elif self._unanswered.add(told.unit_id):
            self.counters.half_open += 1
            self._drop(quality.NO_REPLY, "nobody answers on this connection", again_at_once=True)

    def _end(self, told: _Waiting, code: int, detail: str) -> None:
        told.code, told.detail, told.replied_us = code, detail, self._clock_us()
        if not told.done.done():
            told.done.set_result(None)

    def _count(self, code: int) -> None:
        if code == quality.GOOD:
            self.counters.good += 1
        elif code in (quality.BAD_FRAME, quality.FOREIGN_REPLY):
            self.counters.bad_frames += 1
        else:
            self.counters.exceptions += 1

    # --- what comes, called by the connection ---------------------------------------------

    def _take(self, connection: _Connection, data: bytes) -> None:
        if connection is not self._connection:
            return
        splitter = connection.splitter
        for transaction_id, unit_id, pdu in splitter.feed(data):
            told = self._waiting.pop(transaction_id, None)
            if told is None:
                self._take_stray(transaction_id)
                continue
            told.replied_us, told.replied_by, told.pdu = self._clock_us(), unit_id, pdu
            if not told.done.done():
                told.done.set_result(None)
            self._unanswered.answered(told.unit_id)
            self._failures = 0
        if splitter.lost:
            self._give_up(splitter.lost, quality.BAD_FRAME)

    def _take_stray(self, transaction_id: int) -> None:
        """A frame that no waiting request named: its time-out is over, or it names none at all."""
        self._unanswered.heard()
        if transaction_id in self._given_up:
            del self._given_up[transaction_id]
            self.counters.late_replies += 1
            return
        if transaction_id == 0 and self._waiting:
            told = self._waiting.pop(next(iter(self._waiting)))
            detail = "the server answers with transaction id 0, so what it answers cannot be told"
            self._end(told, quality.FOREIGN_REPLY, detail)
            self.counters.bad_frames += 1
            return
        self.counters.unknown += 1

    def _lost(self, connection: _Connection, error: Exception | None) -> None:
        if connection is self._connection:
            detail = f"connection to {self.name} was lost: {error or 'closed by the other side'}"
            self._drop(quality.NO_REPLY, detail)
            self._back_off(str(error or "closed by the other side"))

    # --- the connection -------------------------------------------------------------------

    async def _connected(self) -> _Connection | None:
        async with self._connecting:
            if self._connection is None and not self._stopped and self._clock_us() >= self._next_connect_us:
                await self._connect()
            return self._connection

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except (OSError, TimeoutError) as error:
            why = f"none within {self._connect_timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            self._back_off(why)
            self.counters.connect_failures += 1
            return
        if self._stopped:
            connection.abort()
            return
        if connection.is_lost:
            self._back_off("closed by the other side")
            return
        self._connection = connection
        self._unanswered = Unanswered()
        self._given_up.clear()
        self._away_because = ""
        self.counters.connects += 1

    def _give_up(self, detail: str, code: int = quality.NO_REPLY) -> None:
        self.counters.lost_frames += 1
        self._drop(code, detail, again_at_once=True)

    def _drop(self, code: int, detail: str, *, again_at_once: bool = False) -> None:
        """Ends the connection and all that waits on it.

        Args:
            code: what those who wait are told.
            detail: likewise.
            again_at_once: whether the next request may connect at once; a second time in a row, without a
                reply between, it waits for the back-off too.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
            if again_at_once and self._failures:
                self._back_off(detail, most_s=_MOST_AFTER_DROP_S)
            elif again_at_once:
                self._failures = 1
        waiting, self._waiting = self._waiting, {}
        for told in waiting.values():
            self._end(told, code, detail)

    def _back_off(self, why: str, most_s: float = BACK_OFF_S[-1]) -> None:
        wait_s = min(BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)], most_s) * (1 - _JITTER * self._lot())
        self._failures += 1
        self._next_connect_us = self._clock_us() + int(wait_s * 1e6)
        self._away_because = f": {why}" if why else ""


class _Connection(asyncio.Protocol):
    """One socket; it hands on what comes and knows nothing of requests."""

    def __init__(self, port: TcpPort) -> None:
        self.splitter = Splitter()
        self.is_lost = False
        self._owner = port
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        prepare(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        self._owner._take(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._owner._lost(self, exc)

    def send(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
