"""What is known of each gateway's link: newest arrival, clock, status, newest ask and catalogue.

Gathered over a transaction and written once per gateway; a fact that nobody stated stays.

A gateway is *heard* only by something new that it has signed.  A repetition, the last will and a
retained message say nothing of the kind: a broker can play them at any time.  Nor does what is
older than the newest word of the gateway change what is known of it.
"""

from __future__ import annotations

import sqlite3

from collector.identities import Boot
from collector.walltime import is_ahead, is_behind
from contracts.batch import Anchor, Header
from contracts.messages import Ask

_FACTS = (
    "arrived_us", "online", "session", "version", "clock", "boot_no", "epoch_no", "alarm_seq", "data_seq",
    "catalogue_hash", "catalogue_if_none",
)  # fmt: skip

#: an ask may be this much older (us) than the newest sealing and still be the newest word
_ASK_LAG_US = 2_000_000

#: boot rank, boot, monotonic us
_Order = tuple[int, int, int]


class Links:
    """Facts about links, until :meth:`write`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Takes the writer's connection."""
        self._db = db
        self._facts: dict[int, dict[str, object]] = {}
        self._heard: dict[int, int] = {}
        #: newest sealing seen of each gateway
        self._newest: dict[int, _Order] = {}

    def clear(self) -> None:
        """Drops what was gathered."""
        self._facts.clear()
        self._heard.clear()

    def forget(self) -> None:
        """Drops everything held in memory, after a rollback."""
        self.clear()
        self._newest.clear()

    def note(self, gateway_no: int, **facts: object) -> None:
        """Notes facts by the names of the table's columns; ``catalogue_if_none`` yields to a known one."""
        self._facts.setdefault(gateway_no, {}).update(facts)

    def hear(self, gateway_no: int, arrived_us: int) -> None:
        """Notes that something new came."""
        self._heard[gateway_no] = max(arrived_us, self._heard.get(gateway_no, 0))

    def note_batch(self, gateway_no: int, header: Header, boot: Boot, arrived_us: int) -> None:
        """Notes what a batch says of its gateway, unless a newer one has said it already."""
        order = (boot.rank, boot.no, header.sealed_us)
        if order < self._newest_of(gateway_no):
            return
        self._newest[gateway_no] = order
        if header.catalogue:
            self.note(gateway_no, catalogue_hash=header.catalogue)
        if header.anchors:
            self.note(gateway_no, clock=_clock(header.anchors, header.sealed_us, boot, arrived_us))

    def note_ask(self, gateway_no: int, ask: Ask, boot: Boot, epoch_no: int, arrived_us: int) -> bool:
        """Notes what an ask says of its gateway; returns False where something newer was heard already."""
        if (boot.rank, boot.no, ask.anchor.mono_us + _ASK_LAG_US) < self._newest_of(gateway_no):
            return False
        self.hear(gateway_no, arrived_us)
        self.note(
            gateway_no,
            version=ask.version,
            clock=_clock((ask.anchor,), ask.anchor.mono_us, boot, arrived_us),
            boot_no=boot.no,
            epoch_no=epoch_no,
            alarm_seq=ask.alarm.seq,
            data_seq=ask.data.seq,
        )
        return True

    def _newest_of(self, gateway_no: int) -> _Order:
        found = self._newest.get(gateway_no)
        if found is None:
            row = self._db.execute(_NEWEST, (gateway_no,)).fetchone()
            found = self._newest[gateway_no] = (-2, 0, 0) if row is None else (row[0], row[1], row[2])
        return found

    def write(self) -> None:
        """Writes what was gathered, inside the caller's transaction."""
        for gateway_no, arrived_us in self._heard.items():
            self.note(gateway_no, arrived_us=arrived_us)
        rows = [(number, *(facts.get(name) for name in _FACTS)) for number, facts in self._facts.items()]
        self._db.executemany(_LINK, rows)


def _clock(anchors: tuple[Anchor, ...], sealed_us: int, boot: Boot, arrived_us: int) -> str:
    """Returns the state of a gateway's clock: its own word, or ``wrong`` where ours contradicts it."""
    bound_us = boot.clock.bound_us if boot.live_us is not None else None
    if is_ahead(anchors, sealed_us, arrived_us) or is_behind(anchors, bound_us):
        return "wrong"
    return anchors[-1].state.value


_NEWEST = """
SELECT b.rank, b.no, e.sealed_us FROM evidence e JOIN boot b ON b.no=e.boot_no
WHERE e.gateway_no=? ORDER BY e.wall_us DESC LIMIT 1
"""

_LINK = """
INSERT INTO link(gateway_no, arrived_us, online, session, version, clock, boot_no, epoch_no, alarm_seq, data_seq,
                 catalogue_hash)
VALUES(?1,coalesce(?2,0),?3,?4,?5,?6,?7,?8,?9,?10,coalesce(?11,?12))
ON CONFLICT(gateway_no) DO UPDATE SET arrived_us=max(excluded.arrived_us, arrived_us),
  online=coalesce(excluded.online, online), session=coalesce(excluded.session, session),
  version=coalesce(excluded.version, version), clock=coalesce(excluded.clock, clock),
  boot_no=coalesce(excluded.boot_no, boot_no), epoch_no=coalesce(excluded.epoch_no, epoch_no),
  alarm_seq=coalesce(excluded.alarm_seq, alarm_seq), data_seq=coalesce(excluded.data_seq, data_seq),
  catalogue_hash=coalesce(?11, catalogue_hash, ?12)
"""
