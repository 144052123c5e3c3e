"""A spool full of real batches, and ways to damage its file."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw

from contracts.batch import Lane, Note
from contracts.catalogue import Catalogue
from contracts.columns import encode_block
from contracts.envelope import Type, seal
from contracts.keys import Verifier
from edge_agent.compile import compile_site
from edge_agent.plan_catalogue import catalogue
from edge_agent.seal import Sealed
from edge_agent.spool import Commit, EpochRow, Spool
from edge_agent.spool_open import PAGE_BYTES
from edge_agent.spool_thread import connect_file
from tests.edge_agent.chains import BOOT, SIGNER, Clock, alarm_event, new_chain
from tests.edge_agent.site_files import GATEWAY, MAIN, PORTS, write_site

GATEWAY_ID = SIGNER.public.gateway_id
KEYS = {SIGNER.public.key_id: Verifier(SIGNER.public)}
EPOCHS = (b"epoch--1", b"epoch--2")
#: what a receipt covers of the first epoch's data
RECEIPTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A spool that a test made."""

    path: Path
    catalogue: Catalogue
    batches: tuple[Sealed, ...]

    def key(self, sealed: Sealed) -> tuple[bytes, Lane, int]:
        return sealed.epoch, sealed.lane, sealed.seq


def make_spool(folder: Path, *, batches: int = 60, seed: int = 1) -> Made:
    """Makes a spool with two epochs: small and large data batches, and some alarms."""
    chance = random.Random(seed)
    (folder / "site").mkdir(exist_ok=True)
    plan = compile_site(write_site(folder / "site", GATEWAY + PORTS + MAIN)).plan
    document = catalogue(plan, GATEWAY_ID)
    path = folder / "spool.db"
    spool = Spool(connect_file(path))
    spool.open()
    clock = Clock()
    width = len(plan.blocks[0].points)
    made: list[Sealed] = []
    for number, epoch in enumerate(EPOCHS, start=1):
        row = EpochRow(
            no=number,
            epoch=epoch,
            reason="restart",
            boot_id=BOOT.boot_id,
            boot_counter=BOOT.counter,
            started_us=clock(),
            started_uptime_s=number,
        )
        spool.begin_epoch(row)
        spool.commit(Commit(epoch_no=number, catalogue=(document.hash, seal(Type.CATALOGUE, document.body, SIGNER)[0])))
        chain = new_chain(clock, epoch)
        for count in range(batches // 2):
            clock.pass_s(2)
            if count % 8 == 5:
                made.append(chain.seal(Lane.ALARM, sealed_us=clock(), events=[alarm_event(clock())]))
            else:
                times = [clock() - 1_500_000, clock() - 500_000]
                rows = [(chance.random() * 10,) * width, (chance.random() * 10,) * width]
                block = encode_block(0, document.kinds[0], clock(), times, rows, [None, None])
                # Some are longer than a page of the file, a few much longer.
                text = chance.randbytes(chance.choice([5, 200, 400])).hex()
                notes = [
                    Note(mono_us=clock() + part, kind="x", text=text[part:]) for part in range(chance.choice([1, 1, 4]))
                ]
                made.append(
                    chain.seal(
                        Lane.DATA,
                        sealed_us=clock(),
                        catalogue=document.hash,
                        blocks=[block],
                        readings=2 * width,
                        first_us=times[0],
                        last_us=times[1],
                        notes=[
                            Note(mono_us=note.mono_us + place, kind="x", text=note.text[place:])
                            for place, note in enumerate(notes)
                        ],
                    )
                )
            spool.commit(Commit(epoch_no=number, batches=made[-1:], state={"uptime_s": b"77"}))
    spool.commit(Commit(epoch_no=1, delivered={(1, Lane.DATA): ((1, RECEIPTED),)}))
    spool.close()
    return Made(path=path, catalogue=document, batches=tuple(made))


def without_log(path: Path) -> None:
    """Moves everything into the file, leaves free pages out and empties the log: each page is there once and in use."""
    db = apsw.Connection(str(path))
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def pages_of(data: bytes, sealed: Sealed) -> set[int]:
    """Returns the pages of a file on which a batch lies, as its own bytes show."""
    found: set[int] = set()
    whole = sealed.digest + sealed.envelope
    for at in range(0, len(whole) - 12, 6):
        piece = whole[at : at + 12]
        place = data.find(piece)
        if place >= 0 and data.find(piece, place + 1) < 0:
            found |= {place // PAGE_BYTES + 1, (place + len(piece) - 1) // PAGE_BYTES + 1}
    return found


Damage = Callable[[Path, random.Random], set[int] | None]


def flip_bits(path: Path, chance: random.Random) -> set[int]:
    """Flips a few bits; returns the pages they are on."""
    data = bytearray(path.read_bytes())
    places = [chance.randrange(len(data)) for _ in range(8)]
    for place in places:
        data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return {place // PAGE_BYTES + 1 for place in places}


def zero_pages(path: Path, chance: random.Random) -> set[int]:
    """Zeroes three runs of pages."""
    data = bytearray(path.read_bytes())
    count = len(data) // PAGE_BYTES
    hit: set[int] = set()
    for _ in range(3):
        first = chance.randrange(count)
        for number in range(first, min(count, first + chance.choice([1, 2, 4]))):
            data[number * PAGE_BYTES : (number + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
            hit.add(number + 1)
    path.write_bytes(data)
    return hit


def tear_page(path: Path, chance: random.Random) -> set[int]:
    """Gives the second half of a page the bytes of another one, as a torn write leaves it."""
    data = bytearray(path.read_bytes())
    count = len(data) // PAGE_BYTES
    one, other = (chance.randrange(count) * PAGE_BYTES for _ in range(2))
    half = PAGE_BYTES // 2
    data[one + half : one + PAGE_BYTES] = data[other + half : other + PAGE_BYTES]
    path.write_bytes(data)
    return {one // PAGE_BYTES + 1}


def cut_off(path: Path, chance: random.Random) -> set[int]:
    """Cuts the file off, at a page or in the middle of one."""
    data = path.read_bytes()
    length = chance.randrange(1, len(data))
    if chance.random() < 0.5:
        length -= length % PAGE_BYTES
    path.write_bytes(data[:length])
    return set(range(length // PAGE_BYTES + 1, len(data) // PAGE_BYTES + 1))


def overwrite(path: Path, chance: random.Random) -> set[int]:
    """Writes something else over a stretch of the file, its beginning among it."""
    data = bytearray(path.read_bytes())
    length = min(len(data), chance.choice([100, 3000, 20_000]))
    data[:length] = chance.randbytes(length)
    path.write_bytes(data)
    return set(range(1, -(-length // PAGE_BYTES) + 1))


DAMAGES: dict[str, Damage] = {
    "flipped bits": flip_bits,
    "zeroed pages": zero_pages,
    "torn page": tear_page,
    "cut off": cut_off,
    "overwritten": overwrite,
}
