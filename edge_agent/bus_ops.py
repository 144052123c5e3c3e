"""The control socket's operations on a bus: a technician's reads, writes and raw frames through the running agent.

Each takes a slot of the port's schedule (``RunningPorts.borrow``), so alarm points stay on time.
It opens no port and decodes nothing.  Reading is for everybody who may use the socket; writing only where
``write_guard`` allows it, in a person's name, and noted in the journal.  A raw
frame may only ask: whatever could change a device has to go through ``bus-write``.

::

    bus-ports {}                                             ports, their lines, and who is polled on them
    bus-read  {port, unit_id, table, address, count, ...}    words, or a quality code with its cause
    bus-write {port, unit_id, function, address, values, by, ...}
    bus-raw   {port, frame, listen_s, until_frame}           every byte that came, as hex
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from contracts import quality
from drivers.errors import RequestError
from drivers.frames import crc_fits, read_request, silence_s
from drivers.pdu import write_pdu
from drivers.port import BusPort, RawRequest, RawResult, ReadRequest, ReadResult, WriteRequest, WriteResult
from edge_agent.control import Handler, Request, text_of
from edge_agent.errors import ControlError
from edge_agent.plan import Plan
from edge_agent.plan_ports import PortPlan
from edge_agent.write_guard import why_not

T = TypeVar("T")

#: functions that a raw frame may carry: the reads, report server id, and read device identification -> bytes of the
#: frame; a longer one could hide a second frame, which some device takes
ASKING = {1: 8, 2: 8, 3: 8, 4: 8, 0x11: 4, 0x2B: 7}
#: of function 2B: what asks for an identification (0D passes anything to a CANopen device)
_IDENTIFICATION = 0x0E
#: a raw request may hold the line so long (seconds); who listens longer asks again
LONGEST_LISTEN_S = 1.0
#: a read or write may wait so long for its answer (seconds)
LONGEST_WAIT_S = 20.0
#: beside waiting and bytes: two threads and an adapter
_BESIDES_S = 0.06
#: bytes of the longest reply, which is also what a silent line may have to get rid of first
_LONGEST_FRAME = 256


class Lender(Protocol):
    """The ports that are polled now."""

    async def borrow(self, port_id: str, job: Callable[[BusPort], Awaitable[T]], *, seconds: float = 1.0) -> T:
        """Runs a job on a port as one slot of its schedule; raises ControlError."""


class Agent(Protocol):
    """What is asked of the running agent."""

    @property
    def plan(self) -> Plan: ...

    @property
    def ports(self) -> Lender: ...

    def note(self, kind: str, text: str) -> None:
        """Puts a line into the signed journal."""


def bus_operations(agent: Agent) -> dict[str, Handler]:
    """Returns operation -> handler for the control server."""

    async def ports(request: Request) -> Any:
        return {"ports": [_port(agent.plan, number, port) for number, port in enumerate(agent.plan.ports)]}

    async def read(request: Request) -> Any:
        port_id, wanted = text_of(request, "port"), read_of(request)

        async def job(port: BusPort) -> ReadResult:
            return await port.read(wanted)

        try:
            seconds = slot_s(agent.plan, port_id, 8, 5 + 2 * wanted.count, wanted.timeout_s)
            return read_answer(await agent.ports.borrow(port_id, job, seconds=seconds))
        except RequestError as error:
            raise ControlError(str(error), exit_status=2) from error

    async def write(request: Request) -> Any:
        port_id, wanted, by = text_of(request, "port"), write_of(request), text_of(request, "by", 80)
        refusal = why_not(agent.plan, port_id, (wanted.unit_id, *wanted.answered_by))
        if refusal:
            raise ControlError(refusal)

        async def job(port: BusPort) -> WriteResult:
            return await port.write(wanted)

        what = f"{port_id} unit {wanted.unit_id} function {wanted.function} at {wanted.address}: {list(wanted.values)}"
        # Noted before it is done: what could not be noted must not happen unseen.
        agent.note("written", f"{what} by {by}")
        seconds = slot_s(agent.plan, port_id, 9 + 2 * len(wanted.values), 8, wanted.timeout_s)
        result = await agent.ports.borrow(port_id, job, seconds=seconds)
        if result.code != quality.GOOD:
            agent.note("written", f"{what}: not confirmed: {quality.CODES[result.code].reason}")
        return write_answer(result)

    async def raw(request: Request) -> Any:
        port_id, wanted = text_of(request, "port"), raw_of(request)

        async def job(port: BusPort) -> RawResult:
            ask = getattr(port, "raw", None)
            if ask is None:
                raise ControlError(
                    f"port {port_id} is no line whose bytes can be seen; scan and doctor are for serial lines and "
                    "RTU over TCP, `edge-agent read` works on every port"
                )
            result: RawResult = await ask(wanted)
            return result

        seconds = slot_s(agent.plan, port_id, len(wanted.frame), 0, wanted.listen_s)
        return raw_answer(await agent.ports.borrow(port_id, job, seconds=seconds))

    return {"bus-ports": ports, "bus-read": read, "bus-write": write, "bus-raw": raw}


def slot_s(plan: Plan, port_id: str, sent: int, awaited: int, wait_s: float) -> float:
    """Returns how long one exchange holds a port at most, in seconds: as short as it can be promised.

    The schedule lends no slot by which an alarm point would be late, so a longer promise waits longer.

    Args:
        plan: that runs.
        port_id: where.
        sent: bytes of the request.
        awaited: bytes of the reply, beyond what ``wait_s`` covers.
        wait_s: how long the answer is waited for.
    """
    port = next((port for port in plan.ports if port.id == port_id), None)
    if port is None:
        return wait_s + _BESIDES_S
    wait_s = max(wait_s, port.gateway_timeout_s) + port.network_delay_s
    if not port.baud:
        return wait_s + _BESIDES_S
    char_s = 12 / port.baud
    return wait_s + (sent + min(awaited, _LONGEST_FRAME)) * char_s + 3 * silence_s(port.baud) + _BESIDES_S


def _port(plan: Plan, number: int, port: PortPlan) -> dict[str, Any]:
    return {
        "id": port.id,
        "kind": port.kind,
        "host": port.host,
        "port": port.port,
        "device": port.device,
        "baud": port.baud,
        "parity": port.parity,
        "stop_bits": port.stop_bits,
        "devices": [
            {"id": device.id, "unit_id": device.unit_id, "profile": device.profile, "en": device.en, "zh": device.zh}
            for device in plan.devices
            if device.port == number
        ],
    }


# --- requests and answers as JSON, for both ends ------------------------------------------


def read_of(request: Request) -> ReadRequest:
    """Returns the read that a request asks for; raises ControlError."""
    wanted = ReadRequest(
        unit_id=_integer(request, "unit_id", 0, 255),
        table=text_of(request, "table"),
        address=_integer(request, "address", 0, 65535),
        count=_integer(request, "count", 1, 2000),
        timeout_s=_seconds(request, "wait_s", LONGEST_WAIT_S),
        max_reply_s=_seconds(request, "max_reply_s", 60.0),
    )
    try:
        read_request(unit_id=wanted.unit_id, table=wanted.table, address=wanted.address, count=wanted.count)
    except RequestError as error:
        raise ControlError(str(error), exit_status=2) from error
    return wanted


def write_of(request: Request) -> WriteRequest:
    """Returns the write that a request asks for; raises ControlError."""
    wanted = WriteRequest(
        unit_id=_integer(request, "unit_id", 0, 255),
        function=_integer(request, "function", 5, 16),
        address=_integer(request, "address", 0, 65535),
        values=_integers(request, "values", 1968, 65535),
        timeout_s=_seconds(request, "wait_s", LONGEST_WAIT_S),
        max_reply_s=_seconds(request, "max_reply_s", 60.0),
        answered_by=_integers(request, "answered_by", 8, 255),
    )
    try:
        write_pdu(wanted)
    except RequestError as error:
        raise ControlError(str(error), exit_status=2) from error
    return wanted


def raw_of(request: Request) -> RawRequest:
    """Returns the raw request; raises ControlError where its frame could change a device."""
    text = request.get("frame")
    try:
        frame = bytes.fromhex(text) if isinstance(text, str) else None
    except ValueError:
        frame = None
    if frame is None:
        raise ControlError("'frame' is needed: a frame with its CRC as hex, or empty text to listen", exit_status=2)
    if frame and (len(frame) > 256 or not crc_fits(frame)):
        raise ControlError("'frame' has no right CRC; 4 to 256 bytes with their CRC would be right", exit_status=2)
    if frame and frame[1] not in ASKING:
        raise ControlError(
            f"function {frame[1]} in a raw frame could change a device; bus-write is for that", exit_status=2
        )
    if frame and (len(frame) != ASKING[frame[1]] or (frame[1] == 0x2B and frame[2] != _IDENTIFICATION)):
        raise ControlError(
            f"'frame' of function {frame[1]} is no plain question and could change a device; "
            f"{ASKING[frame[1]]} bytes would be right",
            exit_status=2,
        )
    return RawRequest(
        frame=frame,
        listen_s=_seconds(request, "listen_s", LONGEST_LISTEN_S),
        until_frame=request.get("until_frame") is not False,
    )


def read_answer(result: ReadResult) -> dict[str, Any]:
    """Returns a result as JSON values."""
    return {
        "words": None if result.words is None else list(result.words),
        "code": result.code,
        "requested_us": result.requested_us,
        "replied_us": result.replied_us,
        "detail": result.detail,
    }


def write_answer(result: WriteResult) -> dict[str, Any]:
    """Returns a result as JSON values."""
    return {
        "code": result.code,
        "requested_us": result.requested_us,
        "replied_us": result.replied_us,
        "detail": result.detail,
    }


def raw_answer(result: RawResult) -> dict[str, Any]:
    """Returns a result as JSON values."""
    return {
        "heard": [[at_us, data.hex()] for at_us, data in result.heard],
        "code": result.code,
        "requested_us": result.requested_us,
        "ended_us": result.ended_us,
        "detail": result.detail,
    }


def _integer(request: Request, name: str, low: int, high: int) -> int:
    value = request.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ControlError(f"{name!r} is needed: an integer from {low} to {high}", exit_status=2)
    return value


def _integers(request: Request, name: str, most: int, high: int) -> tuple[int, ...]:
    values = request.get(name)
    if not isinstance(values, list) or len(values) > most:
        raise ControlError(f"{name!r} is needed: a list of at most {most} integers", exit_status=2)
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= high:
            raise ControlError(f"{name!r}: {value!r} is no integer from 0 to {high}", exit_status=2)
    return tuple(values)


def _seconds(request: Request, name: str, most: float) -> float:
    value = request.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= most:
        raise ControlError(f"{name!r} is needed: seconds above 0 and up to {most:g}", exit_status=2)
    return float(value)
