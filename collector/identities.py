"""Small numbers for gateways, epochs, boots and catalogues, kept in memory and in tables.

They are facts, not projections: a number once given stays.  Works inside the caller's
transaction; after a rollback it must be forgotten.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from collector.walltime import UNKNOWN_CLOCK, BootClock, Trust
from contracts.catalogue import Catalogue
from contracts.envelope import Type, body_limit, decode_payload, split

#: where a boot's rank is repeated: table, column, column that names the boot
_RANKED = (
    ("latest", "rank", "boot_no"),
    ("latest", "number_rank", "number_boot_no"),
    ("health", "rank", "boot_no"),
    ("alarm", "rank", "boot_no"),
    ("upkeep", "rank", "boot_no"),
    ("inhibit", "rank", "boot_no"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One boot of one gateway."""

    no: int
    boot_id: bytes
    counter: int
    #: orders the boots of a gateway
    rank: int
    #: arrival of the first ask of this boot, UTC us
    live_us: int | None
    clock: BootClock


class Identities:
    """Finds numbers, and gives new ones."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.forget()

    def forget(self) -> None:
        """Drops what is held in memory."""
        self._gateways: dict[str, int] = {}
        self._epochs: dict[tuple[int, bytes], int] = {}
        self._boots: dict[tuple[int, bytes], Boot] = {}
        self._catalogues: dict[tuple[int, bytes], tuple[int, Catalogue]] = {}

    def gateway_no(self, gateway: str, *, now_us: int = 0, en: str = "", zh: str = "") -> int:
        """Returns the number of a gateway; makes its row at the first contact."""
        number = self._gateways.get(gateway)
        if number is None:
            self._db.execute(
                "INSERT INTO gateway(id, en, zh, added_us) VALUES(?,?,?,?) ON CONFLICT DO NOTHING",
                (gateway, en, zh, now_us),
            )
            number = int(self._db.execute("SELECT no FROM gateway WHERE id=?", (gateway,)).fetchone()[0])
            self._gateways[gateway] = number
        return number

    def epoch_no(self, gateway_no: int, epoch: bytes) -> int:
        """Returns the number of an epoch; gives one at the first mention."""
        number = self._epochs.get((gateway_no, epoch))
        if number is None:
            self._db.execute(
                "INSERT INTO epoch_name(gateway_no, epoch) VALUES(?,?) ON CONFLICT DO NOTHING", (gateway_no, epoch)
            )
            number = int(
                self._db.execute(
                    "SELECT no FROM epoch_name WHERE gateway_no=? AND epoch=?", (gateway_no, epoch)
                ).fetchone()[0]
            )
            self._epochs[gateway_no, epoch] = number
        return number

    def boot(self, gateway_no: int, boot_id: bytes, counter: int) -> Boot:
        """Returns a boot; makes its row at the first mention, and fills in a counter learnt late."""
        boot = self._read_boot(gateway_no, boot_id)
        if boot is None:
            self._db.execute(
                "INSERT INTO boot(gateway_no, boot_id, counter, rank, trust) VALUES(?,?,?,?,0)",
                (gateway_no, boot_id, counter, counter),
            )
            boot = self._read_boot(gateway_no, boot_id)
            assert boot is not None
        elif boot.counter < 0 <= counter:
            boot = Boot(
                no=boot.no, boot_id=boot_id, counter=counter, rank=counter, live_us=boot.live_us, clock=boot.clock
            )
            self.keep_boot(gateway_no, boot)
        return boot

    def boot_named(self, gateway_no: int, boot_id: bytes) -> Boot:
        """Returns a boot that only an event names; its counter is -1 until a batch of it arrives."""
        return self._read_boot(gateway_no, boot_id) or self.boot(gateway_no, boot_id, -1)

    def _read_boot(self, gateway_no: int, boot_id: bytes) -> Boot | None:
        boot = self._boots.get((gateway_no, boot_id))
        if boot is None:
            row = self._db.execute(
                "SELECT no, counter, rank, live_us, bound_us, offset_us, trust, anchor_us, uncertainty_ms FROM boot"
                " WHERE gateway_no=? AND boot_id=?",
                (gateway_no, boot_id),
            ).fetchone()
            if row is None:
                return None
            clock = UNKNOWN_CLOCK
            if row[6]:
                clock = BootClock(
                    bound_us=row[4], offset_us=row[5], trust=Trust(row[6]), anchor_us=row[7], uncertainty_ms=row[8]
                )
            boot = Boot(no=row[0], boot_id=boot_id, counter=row[1], rank=row[2], live_us=row[3], clock=clock)
            self._boots[gateway_no, boot_id] = boot
        return boot

    def keep_boot(self, gateway_no: int, boot: Boot) -> None:
        """Writes a changed boot; rows that were ordered by its old rank follow."""
        held = self._boots.get((gateway_no, boot.boot_id))
        if held is None or held.rank != boot.rank:
            for table, column, of in _RANKED:
                self._db.execute(
                    f"UPDATE {table} SET {column}=? WHERE gateway_no=? AND {of}=?", (boot.rank, gateway_no, boot.no)
                )
        self._boots[gateway_no, boot.boot_id] = boot
        clock = boot.clock
        known = (clock.bound_us, clock.offset_us, int(clock.trust), clock.anchor_us, clock.uncertainty_ms)
        self._db.execute(
            "UPDATE boot SET counter=?, rank=?, live_us=?, bound_us=?, offset_us=?, trust=?, anchor_us=?,"
            " uncertainty_ms=? WHERE no=?",
            (boot.counter, boot.rank, boot.live_us, *known, boot.no),
        )

    def went_live(self, gateway_no: int, boot: Boot, now_us: int) -> Boot:
        """Notes the first ask of a boot: it comes after every boot that was live before it."""
        if boot.live_us is not None:
            return boot
        highest = self._db.execute(
            "SELECT max(rank) FROM boot WHERE gateway_no=? AND live_us IS NOT NULL AND no<>?", (gateway_no, boot.no)
        ).fetchone()[0]
        rank = boot.rank if highest is None else max(boot.rank, highest + 1)
        boot = Boot(no=boot.no, boot_id=boot.boot_id, counter=boot.counter, rank=rank, live_us=now_us, clock=boot.clock)
        self.keep_boot(gateway_no, boot)
        return boot

    def catalogue(self, gateway_no: int, hash: bytes) -> tuple[int, Catalogue] | None:
        """Returns (number, content) of a catalogue that has arrived."""
        found = self._catalogues.get((gateway_no, hash))
        if found is None:
            row = self._db.execute(
                "SELECT no, envelope FROM catalogue WHERE gateway_no=? AND hash=?", (gateway_no, hash)
            ).fetchone()
            if row is None:
                return None
            found = (int(row[0]), read_catalogue(row[1]))
            if len(self._catalogues) >= 1024:
                self._catalogues.clear()
            self._catalogues[gateway_no, hash] = found
        return found


def read_catalogue(envelope: bytes) -> Catalogue:
    """Returns the content of a catalogue that was verified when it arrived."""
    return Catalogue.from_body(decode_payload(split(envelope)[1], limit=body_limit(Type.CATALOGUE)))
