"""The Modbus TCP port: an adapter around pymodbus's asyncio client.

pymodbus encodes and decodes PDUs and owns the socket; its retries, its reconnects and its
habit of hanging up after unanswered requests are off (a test pins it), so that one read is
one request.  Reconnecting with back-off is ours.  Several units may sit behind one socket;
requests on one connection go one after the other.  Transaction ids keep a late reply from
being taken for another's; a server that answers with id 0 is refused for that reason.

pymodbus formats every reply as text for a debug line that is never written; registering
reply classes of our own avoids that and decodes all registers in one ``struct`` call.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from contracts import quality
from drivers.errors import RequestError
from drivers.plan import TABLES
from drivers.port import ReadRequest, ReadResult, exception_quality, monotonic_us

#: seconds between attempts to connect; the last one stays
BACK_OFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: unanswered requests in a row after which the connection is taken for half-open
MOST_UNANSWERED = 3
#: unanswered requests after which pymodbus would hang up by itself
_NEVER = 1 << 60

_REQUESTS: dict[str, type[ModbusPDU]] = {
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
}

# pymodbus reports each skipped frame and each failed connect on its own logger; the poller
# says once when a device goes away and once when it is back.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)


class _WordsReply(ModbusPDU):
    """A reply of functions 3 and 4; ``words`` is None where its length contradicts itself."""

    words: tuple[int, ...] | None = None

    def decode(self, data: bytes) -> None:
        length = data[0] if data else 0
        if len(data) == length + 1 and not length & 1:
            self.words = struct.unpack_from(f">{length >> 1}H", data, 1)

    def __str__(self) -> str:
        return type(self).__name__


class _HoldingReply(_WordsReply):
    function_code = 3


class _InputReply(_WordsReply):
    function_code = 4


class _BitsReply(ModbusPDU):
    """A reply of functions 1 and 2; bits as 0 and 1, padded to whole bytes."""

    words: tuple[int, ...] | None = None

    def decode(self, data: bytes) -> None:
        length = data[0] if data else 0
        if len(data) == length + 1:
            self.words = tuple(byte >> bit & 1 for byte in data[1:] for bit in range(8))

    def __str__(self) -> str:
        return type(self).__name__


class _CoilsReply(_BitsReply):
    function_code = 1


class _DiscreteReply(_BitsReply):
    function_code = 2


def _only_known_functions(sending: bool, packet: bytes) -> bytes:
    """Keeps replies that pymodbus cannot decode away from it: it would raise into the event loop.

    What is held back stays in its buffer, and the next read starts a new connection.
    """
    if sending or len(packet) < 8:
        return packet
    function = packet[7]
    if 1 <= function <= 4 or (function > 0x80 and packet[5] >= 3):
        return packet
    return b""


@dataclass(slots=True, kw_only=True)
class TcpCounters:
    """What a connection has seen since it was made."""

    requests: int = 0
    good: int = 0
    exceptions: int = 0
    timeouts: int = 0
    bad_frames: int = 0
    #: connections made
    connects: int = 0
    #: connections that could not be made
    connect_failures: int = 0


class TcpPort:
    """A ``BusPort`` over one Modbus TCP connection."""

    def __init__(
        self,
        host: str,
        port: int = 502,
        *,
        connect_timeout_s: float = 3.0,
        clock_us: Callable[[], int] = monotonic_us,
    ) -> None:
        self._host = host
        self._port = port
        self._connect_timeout_s = connect_timeout_s
        self._clock_us = clock_us
        self._client: AsyncModbusTcpClient | None = None
        self._lock = asyncio.Lock()
        self._stopped = True
        self._unanswered = 0
        self._failures = 0
        self._next_connect_us = 0
        self.counters = TcpCounters()

    async def open(self) -> None:
        """Connects once; where that fails, reads try again with back-off."""
        self._stopped = False
        async with self._lock:
            await self._connect()

    async def read(self, request: ReadRequest) -> ReadResult:
        """Asks once.

        ``timeout_s`` is the whole round trip; a read that has to connect first can take
        ``connect_timeout_s`` more.

        Raises:
            RequestError: Modbus cannot carry the request.
        """
        _check(request)
        async with self._lock:
            requested_us = self._clock_us()
            client = self._client
            if client is not None and client.ctx.recv_buffer:
                self._drop()  # half a frame of an earlier reply: what follows it cannot be delimited
                client = None
            if client is None:
                if not await self._connect():
                    return self._failed(quality.CONNECT_FAILED, requested_us, f"no connection to {self.name}")
                client = self._client
                requested_us = self._clock_us()
            assert client is not None
            return await self._ask(client, request, requested_us)

    async def close(self) -> None:
        """Closes the connection."""
        self._stopped = True
        self._drop()

    @property
    def name(self) -> str:
        """Host and port."""
        return f"{self._host}:{self._port}"

    async def _ask(self, client: AsyncModbusTcpClient, request: ReadRequest, requested_us: int) -> ReadResult:
        counters = self.counters
        counters.requests += 1
        pdu = _REQUESTS[request.table](address=request.address, count=request.count, dev_id=request.unit_id)
        client.ctx.comm_params.timeout_connect = request.timeout_s
        try:
            reply = await client.ctx.execute(False, pdu)
        except (ConnectionError, OSError) as error:
            self._drop()
            return self._failed(quality.NO_REPLY, requested_us, f"connection to {self.name} was lost: {error}")
        except ModbusException as error:
            counters.timeouts += 1
            self._unanswered += 1
            if self._unanswered >= MOST_UNANSWERED:
                self._drop()
            return self._failed(quality.NO_REPLY, requested_us, str(error))
        except asyncio.CancelledError:
            self._drop()  # the reply would arrive with nobody waiting for it
            raise
        replied_us = self._clock_us()
        self._unanswered = 0
        words = getattr(reply, "words", None)
        if (
            words is not None
            and reply.function_code == pdu.function_code
            and reply.transaction_id == pdu.transaction_id
            and reply.dev_id == request.unit_id
        ):
            if len(words) == request.count:
                counters.good += 1
                return ReadResult(words=words, code=0, requested_us=requested_us, replied_us=replied_us)
            if isinstance(reply, _BitsReply) and len(words) == (request.count + 7) // 8 * 8:
                counters.good += 1
                return ReadResult(
                    words=words[: request.count], code=0, requested_us=requested_us, replied_us=replied_us
                )
        return self._refused(pdu, reply, requested_us)

    def _refused(self, pdu: ModbusPDU, reply: ModbusPDU, requested_us: int) -> ReadResult:
        is_own = reply.transaction_id == pdu.transaction_id and reply.dev_id == pdu.dev_id
        if is_own and isinstance(reply, ExceptionResponse) and reply.function_code & 0x7F == pdu.function_code:
            self.counters.exceptions += 1
            code = exception_quality(reply.exception_code)
            return self._failed(code, requested_us, f"exception {reply.exception_code:02X}")
        self.counters.bad_frames += 1
        if is_own and reply.function_code == pdu.function_code:
            return self._failed(quality.BAD_FRAME, requested_us, f"reply is not {pdu.count} long")
        return self._failed(quality.FOREIGN_REPLY, requested_us, f"reply of unit {reply.dev_id}: {reply}")

    def _failed(self, code: int, requested_us: int, detail: str) -> ReadResult:
        return ReadResult(words=None, code=code, requested_us=requested_us, replied_us=self._clock_us(), detail=detail)

    # --- the connection -------------------------------------------------------------------

    async def _connect(self) -> bool:
        if self._client is not None:
            return True
        if self._stopped or self._clock_us() < self._next_connect_us:
            return False
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=self._connect_timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_packet=_only_known_functions,
            trace_connect=self._connection_changed,
        )
        client.set_max_no_responses(_NEVER)
        for reply_class in (_CoilsReply, _DiscreteReply, _HoldingReply, _InputReply):
            client.register(reply_class)
        if not await client.connect() or self._stopped:
            client.close()
            self._back_off()
            self.counters.connect_failures += 1
            return False
        self._client = client
        self._failures = self._unanswered = 0
        self.counters.connects += 1
        return True

    def _connection_changed(self, is_connected: bool) -> None:
        """pymodbus tells; it leaves a request that waits on a lost connection to its time-out."""
        client = self._client
        if is_connected or client is None or client.ctx.transport:
            return
        self._client = None
        self._back_off()
        waiting = client.ctx.response_future
        if self._lock.locked() and not waiting.done():
            waiting.set_exception(ConnectionResetError("closed by the other side"))

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _back_off(self) -> None:
        wait_s = BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)]
        self._failures += 1
        self._next_connect_us = self._clock_us() + int(wait_s * 1e6)


def _check(request: ReadRequest) -> None:
    most = TABLES.get(request.table)
    if most is None:
        raise RequestError(f"table {request.table!r} is not known; {', '.join(TABLES)} are")
    if not 1 <= request.count <= most or request.address < 0 or request.address + request.count > 65536:
        raise RequestError(f"no request can read {request.count} of {request.table} at {request.address}")
    if not 0 <= request.unit_id <= 255:
        raise RequestError(f"unit id {request.unit_id} is outside 0..255")
