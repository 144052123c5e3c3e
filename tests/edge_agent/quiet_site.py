"""A gateway with quiet sensors for the tests of thinning: a real catalogue, real batches, virtual time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from contracts.batch import Batch, Lane, decode_batch
from contracts.catalogue import Catalogue, CatalogueBlock, CatalogueDevice, CataloguePoint
from contracts.columns import decode_block, encode_block
from contracts.envelope import Type, decode_payload, seal, split
from contracts.quality import GOOD, NO_REPLY
from edge_agent.content import Content
from tests.edge_agent.chains import SIGNER

S = 1_000_000
KINDS = (("int", "int", "f32"), ("int",))
#: (block, point in it, monotonic us) -> (value, code)
Samples = dict[tuple[int, int, int], tuple[Any, int]]


def _point(number: int, kind: str) -> CataloguePoint:
    return CataloguePoint(
        key=f"well-{number}/ch4",
        quantity="ch4",
        unit="%{LEL}",
        kind=kind,
        resolution=Fraction(1, 10) if kind == "int" else Fraction(1),
        low=0.0,
        high=100.0,
        longest_silence_ms=5000,
        device=0,
        en=f"Well {number}",
        zh=f"{number}号井",
        limits=(),
    )


CATALOGUE = Catalogue(
    gateway=SIGNER.public.gateway_id,
    en="Quiet",
    zh="安静",
    devices=(
        CatalogueDevice(
            id="well", en="Well", zh="井", port="tcp", unit_id=1, profile="p", profile_hash=b"profile-hash"
        ),
    ),
    points=tuple(_point(number, kind) for number, kind in enumerate((*KINDS[0], *KINDS[1]))),
    blocks=(
        CatalogueBlock(points=(0, 1, 2), interval_ms=1000, phase_ms=0),
        CatalogueBlock(points=(3,), interval_ms=1000, phase_ms=500),
    ),
)
CATALOGUE_ENVELOPE = seal(Type.CATALOGUE, CATALOGUE.body, SIGNER)[0]


def values_at(second: int) -> tuple[Sequence[Any], Sequence[int]]:
    """Returns what the sensors of block 0 show: slow waves, and for ten seconds of every 400 no reply."""
    if second % 400 < 10:
        return (None, None, None), (NO_REPLY,) * 3
    wave = round(30 * math.sin(second / 200))
    return (500 + wave, 200 + (second % 7 == 0), float(wave)), (GOOD,) * 3


def content(sealed_us: int, seconds: int) -> Content:
    """Returns what was sampled in the last ``seconds`` before the sealing: four samples a second."""
    last = sealed_us // S
    whole = range(last - seconds + 1, last + 1)
    times = [second * S - 300_000 for second in whole]
    rows, codes = zip(*(values_at(second) for second in whole), strict=True)
    found = [row if any(row) else None for row in codes]
    blocks = [
        encode_block(0, KINDS[0], sealed_us, times, rows, found),
        encode_block(1, KINDS[1], sealed_us, [time + 100_000 for time in times], [(7,)] * seconds, [None] * seconds),
    ]
    return Content(
        sealed_us=sealed_us,
        catalogue=CATALOGUE.hash,
        blocks=blocks,
        readings=4 * seconds,
        first_us=times[0],
        last_us=times[-1] + 100_000,
    )


def opened(envelope: bytes, lane: Lane = Lane.DATA) -> Batch:
    """Returns a batch of ours as it reads."""
    return decode_batch(decode_payload(split(envelope)[1]), lane.type)


def samples_of(batch: Batch) -> Samples:
    """Returns every sample of a batch."""
    found: Samples = {}
    for raw in batch.blocks:
        columns = decode_block(raw, KINDS[raw[0]], batch.header.sealed_us)
        for point, column in enumerate(columns.values):
            for tick, time in enumerate(columns.times):
                code = GOOD if columns.codes is None else columns.codes[point][tick]
                found[columns.number, point, time] = (column[tick], code)
    return found


def windows_of(samples: Samples, window_us: int) -> dict[tuple[int, int, int], tuple[Any, ...]]:
    """Returns per block, point and window: least, greatest and last number, last code, and the codes."""
    gathered: dict[tuple[int, int, int], list[tuple[int, Any, int]]] = {}
    for (block, point, time), (value, code) in sorted(samples.items()):
        gathered.setdefault((block, point, time // window_us), []).append((time, value, code))
    found = {}
    for key, items in gathered.items():
        numbers = [value for _, value, _ in items if value is not None]
        extremes = (min(numbers), max(numbers), numbers[-1]) if numbers else (None, None, None)
        found[key] = (*extremes, items[-1][0], items[-1][2], frozenset(code for _, _, code in items))
    return found
