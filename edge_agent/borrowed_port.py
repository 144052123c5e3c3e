"""A port of the running agent, used from another process: the client side of ``bus_ops``.

It implements ``drivers.port.RawPort`` over the control socket, so a tool runs the same code on an own line
and on a borrowed one.  Each call takes one slot of the agent's schedule; between two calls the agent polls,
so a borrowed line is slower and its settings cannot be changed.  For commands, not for the daemon.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.port import RawRequest, RawResult, ReadRequest, ReadResult, WriteRequest, WriteResult
from edge_agent.bus.lending import WAIT_S
from edge_agent.control import ask
from edge_agent.errors import ControlError

#: how long the agent may take for one call: waiting for a slot, and the slot
_PATIENCE_S = WAIT_S + 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LentPort:
    """A port that the running agent polls."""

    id: str
    kind: str
    #: path of a serial device; empty otherwise
    device: str
    baud: int
    #: ``N``, ``E`` or ``O``; empty where it is no serial line
    parity: str
    stop_bits: int
    #: unit id -> id of the device
    devices: dict[int, str]
    #: of a TCP connection that the agent makes; empty and 0 otherwise
    host: str = ""
    tcp_port: int = 0


def lent_ports(socket: Path) -> tuple[LentPort, ...]:
    """Returns the ports of the running agent.

    Raises:
        NotRunningError: none runs.
        ControlError: it may not be asked, or answers otherwise.
    """
    answer = ask(socket, "bus-ports")
    try:
        return tuple(
            LentPort(
                id=str(port["id"]),
                kind=str(port["kind"]),
                device=str(port["device"]),
                baud=int(port["baud"]),
                parity=str(port["parity"]),
                stop_bits=int(port["stop_bits"]),
                devices={int(device["unit_id"]): str(device["id"]) for device in port["devices"]},
                host=str(port["host"]) if port["kind"] in ("tcp", "rtu-tcp") else "",
                tcp_port=int(port["port"]) if port["kind"] in ("tcp", "rtu-tcp") else 0,
            )
            for port in answer["ports"]
        )
    except (TypeError, KeyError, ValueError) as error:
        raise _other_version() from error


class BorrowedPort:
    """One port of the running agent."""

    def __init__(self, socket: Path, port_id: str, *, by: str = "") -> None:
        """Takes the agent's socket, the id of its port and, for writes, who is responsible for them."""
        self._socket = socket
        self._port_id = port_id
        self._by = by

    async def open(self) -> None:
        """Does nothing: the agent holds the port."""

    async def close(self) -> None:
        """Does nothing: the agent keeps the port."""

    async def read(self, request: ReadRequest) -> ReadResult:
        """Asks once, in one slot; raises ControlError where the agent refuses."""
        answer = await self._ask(
            "bus-read",
            unit_id=request.unit_id,
            table=request.table,
            address=request.address,
            count=request.count,
            wait_s=request.timeout_s,
            max_reply_s=request.max_reply_s,
        )
        try:
            words = answer["words"]
            return ReadResult(words=None if words is None else tuple(words), **_ends(answer))
        except (TypeError, KeyError) as error:
            raise _other_version() from error

    async def write(self, request: WriteRequest) -> WriteResult:
        """Writes once, in one slot; raises ControlError where the configuration does not allow it."""
        answer = await self._ask(
            "bus-write",
            unit_id=request.unit_id,
            function=request.function,
            address=request.address,
            values=list(request.values),
            wait_s=request.timeout_s,
            max_reply_s=request.max_reply_s,
            answered_by=list(request.answered_by),
            by=self._by,
        )
        try:
            return WriteResult(**_ends(answer))
        except (TypeError, KeyError) as error:
            raise _other_version() from error

    async def raw(self, request: RawRequest) -> RawResult:
        """Sends and listens, in one slot; raises ControlError where the agent refuses."""
        answer = await self._ask(
            "bus-raw", frame=request.frame.hex(), listen_s=request.listen_s, until_frame=request.until_frame
        )
        try:
            return RawResult(
                heard=tuple((int(at_us), bytes.fromhex(data)) for at_us, data in answer["heard"]),
                code=answer["code"],
                requested_us=answer["requested_us"],
                ended_us=answer["ended_us"],
                detail=answer["detail"],
            )
        except (TypeError, KeyError, ValueError) as error:
            raise _other_version() from error

    async def _ask(self, op: str, **arguments: Any) -> Any:
        return await asyncio.to_thread(ask, self._socket, op, timeout_s=_PATIENCE_S, port=self._port_id, **arguments)


def _ends(answer: Any) -> dict[str, Any]:
    return {name: answer[name] for name in ("code", "requested_us", "replied_us", "detail")}


def _other_version() -> ControlError:
    return ControlError("the agent's answer has another form; are command and agent of one version?")
