"""The agent with a stamp at the steps of an alarm that no signed byte tells of, for ``benchmarks.alarms``.

    python -m benchmarks.tapped_agent FILE run SITE        # then as ``edge-agent run SITE``

Noted are: when the reply was whole that an event comes from (the port's own stamp), when the batch that carries it was
durable (the commit has returned), and when its last byte was handed to the broker's socket.  Judging and sealing are
in the signed bytes already.  A stamp is one look at the clock and one entry in a dict, made only where there are
events; they are written to FILE when the agent ends.
"""

from __future__ import annotations

import sys
import time
import zlib
from pathlib import Path
from typing import Any

import msgpack

from contracts.batch import AlarmEvent, Lane
from edge_agent.cli import main as edge_agent
from edge_agent.judge import Judge
from edge_agent.mqtt_link import MqttLink
from edge_agent.spool import Spool
from edge_agent.spool_records import Commit
from edge_agent.uplink import Uplink

_pack: Any = msgpack.packb


class Stamps:
    """Monotonic us of each step: by event id, or by the CRC-32 of the signed envelope."""

    def __init__(self) -> None:
        self.replied: dict[bytes, int] = {}
        self.durable: dict[int, int] = {}
        self.socket: dict[int, int] = {}
        #: handed to the link, and not yet to the socket
        self._waiting: list[int] = []

    def write(self, path: Path) -> None:
        """Writes them where ``benchmarks.alarm_steps`` reads them."""
        path.write_bytes(_pack([self.replied, self.durable, self.socket]))

    def tap(self) -> None:
        """Puts the stamps around the agent's own functions."""
        judge_row, commit, launch, write = Judge.judge_row, Spool.commit, Uplink._launch, MqttLink._write

        def judge(judge: Judge, block: int, sampled_us: int, row: Any, codes: Any, replied_us: int) -> Any:
            events = judge_row(judge, block, sampled_us, row, codes, replied_us)
            if events:
                self._judged(events, replied_us)
            return events

        def committed(spool: Spool, item: Commit) -> None:
            commit(spool, item)
            for sealed in item.batches:
                if sealed.lane is Lane.ALARM:
                    self.durable[zlib.crc32(sealed.envelope)] = _now_us()

        def launched(uplink: Uplink, key: Any, envelope: bytes, *, is_backlog: bool) -> bool:
            is_sent = launch(uplink, key, envelope, is_backlog=is_backlog)
            if is_sent and key[1] is Lane.ALARM:
                self._waiting.append(zlib.crc32(envelope))
            return is_sent

        def written(link: MqttLink) -> None:
            write(link)
            if self._waiting and link._client is not None and not link._client.want_write():
                now = _now_us()
                for mark in self._waiting:
                    self.socket.setdefault(mark, now)
                self._waiting.clear()

        for owner, name, tapped in (
            (Judge, "judge_row", judge), (Spool, "commit", committed), (Uplink, "_launch", launched),
            (MqttLink, "_write", written),
        ):  # fmt: skip
            setattr(owner, name, tapped)

    def _judged(self, events: list[AlarmEvent], replied_us: int) -> None:
        for event in events:
            self.replied.setdefault(event.id, replied_us)


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def main(arguments: list[str]) -> int:
    """Runs the agent until it is ended, then writes the stamps."""
    stamps = Stamps()
    stamps.tap()
    try:
        return edge_agent(arguments[1:])
    finally:
        stamps.write(Path(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
