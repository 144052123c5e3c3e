"""What is known of each gateway's link: newest arrival, clock, status, newest ask and catalogue.

Gathered over a transaction and written once per gateway; a fact that nobody stated stays.
"""

from __future__ import annotations

import sqlite3

_FACTS = (
    "arrived_us", "online", "session", "version", "clock", "boot_no", "epoch_no", "alarm_seq", "data_seq",
    "catalogue_hash", "catalogue_if_none",
)  # fmt: skip


class Links:
    """Facts about links, until :meth:`write`."""

    def __init__(self) -> None:
        self._facts: dict[int, dict[str, object]] = {}

    def clear(self) -> None:
        """Drops what was gathered."""
        self._facts.clear()

    def note(self, gateway_no: int, **facts: object) -> None:
        """Notes facts by the names of the table's columns; ``catalogue_if_none`` yields to a known one."""
        self._facts.setdefault(gateway_no, {}).update(facts)

    def write(self, db: sqlite3.Connection) -> None:
        """Writes what was gathered, inside the caller's transaction."""
        rows = [(number, *(facts.get(name) for name in _FACTS)) for number, facts in self._facts.items()]
        db.executemany(_LINK, rows)


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
