"""Makes and checks ``vectors/*.json``: fixed keys, sealed examples, and what must be refused.

    python -m tests.contracts.make_vectors --write
    python -m tests.contracts.make_vectors --check

Bodies and Ed25519 signatures are made again and must come out equal.  ECDSA signatures
differ every time and compressed bytes differ between zlib versions: those envelopes are
kept as they are, as long as they verify and still carry the same body.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import struct
import sys
import zlib
from collections.abc import Callable
from enum import Enum
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from contracts.batch import decode_batch, encode_batch
from contracts.catalogue import Catalogue
from contracts.columns import MAX_COUNT, decode_block
from contracts.envelope import Type, encode_payload, open_envelope, seal, split, to_be_signed
from contracts.errors import ContractError
from contracts.fields import MAX_ARRAY, MAX_BODY, pack, unpack
from contracts.keys import Algorithm, PublicKey, Signer, Verifier
from contracts.messages import Ask, Command, Status, Time
from contracts.receipt import Receipt
from contracts.topics import shard_of
from contracts.waveform import MAX_SPAN_US, Waveform
from tests.contracts import examples as ex

FOLDER = Path(__file__).parent / "vectors"
VERIFIERS = {signer.key_id: Verifier(signer.public) for signer in ex.SIGNERS.values()}
Json = dict[str, Any]

#: how the body of each type is read
DECODERS: dict[Type, Callable[[bytes], Any]] = {
    Type.ALARM_BATCH: lambda body: decode_batch(body, Type.ALARM_BATCH),
    Type.DATA_BATCH: lambda body: decode_batch(body, Type.DATA_BATCH),
    Type.CATALOGUE: Catalogue.from_body,
    Type.ASK: Ask.from_body,
    Type.STATUS: Status.from_body,
    Type.RECEIPT: Receipt.from_body,
    Type.TIME: Time.from_body,
    Type.COMMAND: Command.from_body,
}


#: sections that the first vectors of a batch do not know
_LATER_SECTIONS = ("waveforms", "inhibits", "visits", "upkeep", "confirmed")


def named(value: Any) -> Any:
    """A record as JSON with the names of its fields; bytes as hex, fractions as ``n/d``."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        found = {item.name: named(getattr(value, item.name)) for item in dataclasses.fields(value)}
        # The vectors of a batch without these sections are older than they, and stay as they are.
        return {name: item for name, item in found.items() if name not in _LATER_SECTIONS or item}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    return [named(item) for item in value] if isinstance(value, (list, tuple)) else value


def plain(value: Any) -> Any:
    """A msgpack value as JSON: bytes become ``{"hex": ...}``, all else is what it is."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _signable() -> list[tuple[str, Type, Any, bytes]]:
    """Name, type, record and body of every good example."""
    cases: list[tuple[str, Type, Any, bytes]] = [
        (name, batch.header.lane.type, batch, encode_batch(batch)) for name, batch in ex.BATCHES.items()
    ]
    for name, type, record in (
        ("ask", Type.ASK, ex.ASK),
        ("status", Type.STATUS, ex.STATUS),
        ("receipt", Type.RECEIPT, ex.RECEIPT),
        ("receipt-empty", Type.RECEIPT, ex.EMPTY_RECEIPT),
        ("time", Type.TIME, ex.TIME),
        ("command", Type.COMMAND, ex.COMMAND),
    ):
        cases.append((name, type, record, record.to_body()))
    cases.append(("catalogue", Type.CATALOGUE, ex.CATALOGUE, ex.CATALOGUE.body))
    grown = unpack(encode_batch(ex.BATCHES["data-first"]))
    grown[1].append([200, ["a section of a later version", 1]])
    body = pack(grown)
    cases.append(("data-unknown-section", Type.DATA_BATCH, decode_batch(body, Type.DATA_BATCH), body))
    return cases


def _kept(old: list[Json], name: str, type: Type, body: bytes) -> str | None:
    """The envelope that the file already has, when it still is this body's."""
    for case in old:
        if case["name"] == name:
            try:
                if open_envelope(bytes.fromhex(case["envelope"]), type, VERIFIERS).body == body:
                    return str(case["envelope"])
            except ContractError:
                return None
    return None


def make_sealed(old: list[Json]) -> list[Json]:
    cases = []
    for short, type, record, body in _signable():
        for key, signer in ex.SIGNERS.items():
            for coding, level in (("raw", 0), ("zlib", 6)):
                if coding == "zlib" and (short != "data-full" and short != "catalogue"):
                    continue
                name = f"{short}/{key}/{coding}"
                is_repeatable = key == "ed25519" and coding == "raw"
                kept = None if is_repeatable else _kept(old, name, type, body)
                envelope = bytes.fromhex(kept) if kept else seal(type, body, signer, level=level)[0]
                cases.append(
                    {
                        "name": name,
                        "type": type.value,
                        "key": key,
                        "body": body.hex(),
                        "envelope": envelope.hex(),
                        "digest": open_envelope(envelope, type, VERIFIERS).digest.hex(),
                        "plain": plain(unpack(body)),
                        "decoded": named(record),
                    }
                )
    return cases


def _envelope(signed: bytes, type: Type, signer: Signer = ex.ED25519, /, **changes: Any) -> bytes:
    parts = {
        "version": 1,
        "key_id": signer.key_id,
        "payload": signed,
        "signature": signer.sign(to_be_signed(type, signed)),
    } | changes
    return pack(list(parts.values()))


def _bad_envelopes() -> list[tuple[str, Type, bytes]]:
    """Refused before anything is decoded."""
    good, _ = seal(Type.TIME, ex.TIME.to_body(), ex.ED25519)
    payload = encode_payload(ex.TIME.to_body())
    key_id, _, signature = split(good)
    order = 2**252 + 27742317777372353535851937790883648493
    high = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    at = good.index(payload)
    p256 = ex.P256
    return [
        ("signed-as-time-read-as-receipt", Type.RECEIPT, good),
        ("signed-as-alarm-read-as-data", Type.DATA_BATCH, seal(Type.ALARM_BATCH, b"\xc0", ex.ED25519)[0]),
        ("flipped-bit-in-payload", Type.TIME, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]),
        ("flipped-bit-in-signature", Type.TIME, good[:-1] + bytes([good[-1] ^ 1])),
        ("flipped-bit-in-key-id", Type.TIME, good.replace(key_id, bytes([key_id[0] ^ 1]) + key_id[1:])),
        ("cut-short", Type.TIME, good[:-1]),
        ("byte-left-over", Type.TIME, good + b"\x00"),
        ("version-2", Type.TIME, _envelope(payload, Type.TIME, version=2)),
        ("version-true", Type.TIME, _envelope(payload, Type.TIME, version=True)),
        ("five-parts", Type.TIME, _envelope(payload, Type.TIME, more=0)),
        ("payload-as-text", Type.TIME, _envelope(payload, Type.TIME, payload="text")),
        ("signature-of-63-bytes", Type.TIME, _envelope(payload, Type.TIME, signature=signature[:-1])),
        ("ed25519-scalar-beyond-the-order", Type.TIME, _envelope(payload, Type.TIME, signature=high)),
        ("ed25519-signature-under-a-p256-key", Type.TIME, _envelope(payload, Type.TIME, key_id=p256.key_id)),
        ("p256-signature-of-zeros", Type.TIME, _envelope(payload, Type.TIME, ex.P256, signature=bytes(64))),
        ("unknown-key", Type.TIME, seal(Type.TIME, ex.TIME.to_body(), Signer.from_seed(bytes(32)))[0]),
        ("nesting", Type.TIME, b"\x91" * 2000),
        ("claim-of-4-gigabytes", Type.TIME, b"\x94\x01\xc6\xff\xff\xff\xff"),
    ]


def _bad_contents() -> list[tuple[str, Type, bytes]]:
    """Rightly signed, and still refused."""
    body = ex.TIME.to_body()
    gateway, nonce, wall = unpack(body)
    batch = unpack(encode_batch(ex.FULL_BATCH))

    def changed(path: tuple[int, ...], value: Any) -> bytes:
        document = unpack(pack(batch))
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return pack(document)

    catalogue, head = ex.CATALOGUE.body, pack(ex.FULL_BATCH.header.other.to_wire())
    codings = [
        ("payload-empty", b""),
        ("payload-coding-2", b"\x02" + body),
        ("zlib-cut-short", b"\x01" + zlib.compress(body)[:-1]),
        ("zlib-left-over", b"\x01" + zlib.compress(body) + b"\x00"),
        ("zlib-bomb", b"\x01" + zlib.compress(bytes(MAX_BODY + 1), 9)),
    ]
    bodies = [
        ("byte-left-over-in-body", Type.TIME, body + b"\x00"),
        ("body-cut-short", Type.TIME, body[:-1]),
        ("body-empty", Type.TIME, b""),
        ("integer-is-true", Type.TIME, pack([gateway, nonce, True])),
        ("integer-is-float", Type.TIME, pack([gateway, nonce, float(wall)])),
        ("integer-negative", Type.TIME, pack([gateway, nonce, -1])),
        ("integer-of-64-bits", Type.TIME, pack([gateway, nonce, 2**63])),
        ("bytes-as-text", Type.TIME, pack([gateway, nonce.decode(), wall])),
        ("field-missing", Type.TIME, pack([gateway, nonce])),
        ("field-too-many", Type.TIME, pack([gateway, nonce, wall, None])),
        ("nested-11-deep", Type.TIME, b"\x91" * 11 + b"\xc0"),
        ("claim-of-4-billion-items", Type.TIME, b"\xdd\xff\xff\xff\xff"),
        ("array-one-too-long", Type.TIME, b"\xdd" + struct.pack(">I", MAX_ARRAY + 1)),
        ("text-beyond-the-limit", Type.TIME, pack(["x" * 4097, nonce, wall])),
        ("extension-type-of-no-bytes", Type.DATA_BATCH, pack(batch).replace(head, b"\xc7\x00\x00")),
        ("repeated-key", Type.CATALOGUE, catalogue.replace(b"\xa2zh", b"\xa2en", 1)),
        ("catalogue-in-another-form", Type.CATALOGUE, catalogue.replace(b"\xa6format\x01", b"\xa6format\xcc\x01")),
        ("catalogue-fraction-not-lowest", Type.CATALOGUE, catalogue.replace(b"\xa41/10", b"\xa42/20")),
        ("lane-of-the-other-type", Type.ALARM_BATCH, pack(batch)),
        ("genesis-missing", Type.DATA_BATCH, changed((0, 3), 1)),
        ("blocks-without-catalogue", Type.DATA_BATCH, changed((0, 10), b"")),
        ("section-twice", Type.DATA_BATCH, changed((1, 1, 0), 1)),
        ("event-value-nan", Type.DATA_BATCH, changed((1, 1, 1, 0, 17), float("nan"))),
        ("event-value-with-missing", Type.DATA_BATCH, changed((1, 1, 1, 0, 18), 128)),
        ("health-infinite", Type.DATA_BATCH, changed((1, 3, 1, 0, 2), ["x", float("inf")])),
        ("loss-backwards", Type.DATA_BATCH, changed((1, 4, 1, 0, 3), 1)),
        ("receipt-ranges-touch", Type.RECEIPT, _receipt_touching()),
    ]
    cases = [(name, Type.TIME, _envelope(payload, Type.TIME)) for name, payload in codings]
    return cases + [(name, type, _envelope(b"\x00" + content, type)) for name, type, content in bodies]


def _receipt_touching() -> bytes:
    fields = unpack(ex.RECEIPT.to_body())
    fields[8] = [[43, 50, bytes(32)]]
    return pack(fields)


def _code_of(action: Callable[[], Any], name: str) -> str:
    try:
        action()
    except ContractError as error:
        return error.code
    raise AssertionError(f"{name} was not refused")


def make_refused(old: list[Json]) -> list[Json]:
    kept = {case["name"]: bytes.fromhex(case["envelope"]) for case in old if case["name"].startswith("zlib-")}

    def open_and_decode(envelope: bytes, type: Type) -> Any:
        return DECODERS[type](open_envelope(envelope, type, VERIFIERS).body)

    cases = []
    for stage, made in (("envelope", _bad_envelopes()), ("content", _bad_contents())):
        for name, type, new in made:
            envelope = kept.get(name, new)
            code = _code_of(partial(open_and_decode, envelope, type), name)
            cases.append({"name": name, "stage": stage, "type": type.value, "error": code, "envelope": envelope.hex()})
    return cases


_COLUMNS: list[tuple[str, list[str], int, Any]] = [
    ("worked-example", ["int", "int"], ex.SEALED_US, ex.WELL_BLOCK),
    ("one-float", ["f32"], ex.SEALED_US, ex.MAIN_BLOCK),
    ("all-good", ["int", "int"], 1000, [2, [-1000, 500], [5, -5, 1, -1], None, None, None]),
    ("all-missing", ["int", "f64"], 0, [0, [0], None, None, None, [2, 128]]),
    ("mixed-kinds", ["f64", "int", "f32"], 9, [0, [0], [3], struct.pack(">f", 1.5), struct.pack(">d", 0.1), None]),
    ("largest-counts", ["int"], 0, [0, [0, 1], [MAX_COUNT, -2 * MAX_COUNT], None, None, None]),
]
_BAD_COLUMNS: list[tuple[str, list[str], Any]] = [
    ("number-where-missing", ["int"], [0, [0], [1], None, None, [1, 128]]),
    ("no-number-where-good", ["int"], [0, [0], None, None, None, None]),
    ("nan", ["f32"], [0, [0], None, bytes.fromhex("7fc00000"), None, None]),
    ("infinity", ["f64"], [0, [0], None, None, bytes.fromhex("7ff0000000000000"), None]),
    ("runs-too-short", ["int"], [0, [0, 0], [1, 1], None, None, [1, 0]]),
    ("run-bomb", ["int"], [0, [0], None, None, None, [2**62, 128]]),
    ("code-nobody-assigned", ["int"], [0, [0], [1], None, None, [1, 1]]),
    ("count-beyond-62-bits", ["int"], [0, [0, 0], [MAX_COUNT, 1], None, None, None]),
    ("time-before-boot", ["int"], [0, [-1], [1], None, None, None]),
    ("too-many-samples", ["int"] * 2000, [0, [0] * 66, None, None, None, [132_000, 128]]),
]


def make_columns() -> Json:
    good = []
    for name, kinds, sealed_us, raw in _COLUMNS:
        block = decode_block(unpack(pack(raw)), kinds, sealed_us)
        good.append(
            {"name": name, "kinds": kinds, "sealed_us": sealed_us, "block": pack(raw).hex(), "decoded": named(block)}
        )
    bad = []
    for name, kinds, raw in _BAD_COLUMNS:
        code = _code_of(partial(decode_block, unpack(pack(raw)), kinds, 0), name)
        bad.append({"name": name, "kinds": kinds, "sealed_us": 0, "block": pack(raw).hex(), "error": code})
    return {"good": good, "refused": bad}


_RAW_WAVE = ex.WAVEFORM.to_wire()
_HOUR_US = MAX_SPAN_US


def _wave(place: int, value: Any) -> list[Any]:
    """The example waveform with one field replaced."""
    return [*_RAW_WAVE[:place], value, *_RAW_WAVE[place + 1 :]]


def _channel(place: int, value: Any) -> list[Any]:
    first = _RAW_WAVE[5][0]
    return _wave(5, [[*first[:place], value, *first[place + 1 :]], _RAW_WAVE[5][1]])


_FLOAT_CHANNELS = [
    [*channel[:3], kind, "1/1", *channel[5:]] for channel, kind in zip(_RAW_WAVE[5], ("f32", "f64"), strict=True)
]
_WAVES: list[tuple[str, Any]] = [
    ("worked-example", _RAW_WAVE),
    ("without-an-event", _wave(3, None)),
    ("one-tick", _wave(6, [[0], [5, -5], None, None, None])),
    ("two-ticks-at-once", _wave(6, [[0, 0], [5, -5, 1, 1], None, None, None])),
    ("an-hour", _wave(6, [[0, _HOUR_US], None, None, None, [4, 128]])),
    (
        "floats",
        [*_RAW_WAVE[:5], _FLOAT_CHANNELS, [[0], None, struct.pack(">f", 1.5), struct.pack(">d", 0.1), None]],
    ),
]
_BAD_WAVES: list[tuple[str, Any]] = [
    ("six-fields", _RAW_WAVE[:6]),
    ("id-of-15-bytes", _wave(0, bytes(15))),
    ("event-as-text", _wave(3, "event")),
    ("begin-before-boot", _wave(4, -1)),
    ("no-channels", _wave(5, [])),
    ("channels-17", _wave(5, [_RAW_WAVE[5][0]] * 17)),
    ("channel-of-another-unit", _channel(2, "furlong")),
    ("channel-of-another-kind", _channel(3, "u16")),
    ("resolution-not-lowest", _channel(4, "2/4096")),
    ("float-with-a-resolution", _channel(3, "f32")),
    ("columns-with-a-number", _wave(6, [0, *_RAW_WAVE[6]])),
    ("no-ticks", _wave(6, [[], None, None, None, None])),
    ("first-time-not-0", _wave(6, [[1], [5, -5], None, None, None])),
    ("time-backwards", _wave(6, [[0, 5, -1], [1] * 6, None, None, None])),
    ("longer-than-an-hour", _wave(6, [[0, _HOUR_US + 1], [1] * 4, None, None, None])),
    ("number-where-missing", _wave(6, [[0], [1, 1], None, None, [2, 128]])),
    ("runs-too-long", _wave(6, [[0], None, None, None, [3, 128]])),
    ("too-many-samples", _wave(6, [[0] * 32_769, None, None, None, [65_538, 128]])),
]


def make_waveforms() -> Json:
    good = []
    for name, raw in _WAVES:
        waveform = Waveform.from_wire(unpack(pack(raw)))
        good.append({"name": name, "waveform": pack(raw).hex(), "decoded": named(waveform)})
    bad = []
    for name, raw in _BAD_WAVES:
        code = _code_of(partial(Waveform.from_wire, unpack(pack(raw))), name)
        bad.append({"name": name, "waveform": pack(raw).hex(), "error": code})
    return {"good": good, "refused": bad}


_WEAK_KEYS = [
    ("point-of-order-1", Algorithm.ED25519, "01" + "00" * 31),
    ("point-of-order-4", Algorithm.ED25519, "00" * 32),
    ("point-of-order-8", Algorithm.ED25519, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    ("not-canonical", Algorithm.ED25519, "f0" + "ff" * 30 + "7f"),
    ("not-on-the-curve", Algorithm.ED25519, "02" + "00" * 31),
    ("31-bytes", Algorithm.ED25519, "05" * 31),
    ("p256-long-form", Algorithm.ECDSA_P256, "04" + "05" * 64),
    ("p256-beyond-the-prime", Algorithm.ECDSA_P256, "02" + "ff" * 32),
]


def make_keys() -> Json:
    good = []
    secrets = {"ed25519": ex.ED25519_SEED, "p256": ex.P256_SCALAR.to_bytes(32, "big")}
    for name, signer in ex.SIGNERS.items():
        key = signer.public
        good.append(
            {
                "name": name,
                "algorithm": key.algorithm.value,
                "private": secrets[name].hex(),
                "public": key.raw.hex(),
                "key_id": key.key_id.hex(),
                "gateway_id": key.gateway_id,
                "shard": shard_of(key.gateway_id),
                "fingerprint": key.fingerprint,
                "line": key.line(),
            }
        )
    refused = [{"name": name, "algorithm": algorithm.value, "public": raw} for name, algorithm, raw in _WEAK_KEYS]
    for item in refused:
        key = PublicKey(Algorithm(item["algorithm"]), bytes.fromhex(item["public"]))
        _code_of(partial(Verifier, key), item["name"])
    return {"good": good, "refused": refused}


def load(name: str) -> Any:
    """Returns the content of one committed file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def make_all() -> dict[str, str]:
    """Returns the text of every file."""
    old = {name: load(name) if (FOLDER / f"{name}.json").exists() else [] for name in ("sealed", "refused")}
    files = {
        "keys": make_keys(),
        "sealed": make_sealed(old["sealed"]),
        "refused": make_refused(old["refused"]),
        "columns": make_columns(),
        "waveforms": make_waveforms(),
    }
    return {name: _text(content) for name, content in files.items()}


def _text(content: Any) -> str:
    """One case per line, so that a change shows as the case it is."""

    def lines(cases: list[Json]) -> str:
        return "[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]"

    if isinstance(content, list):
        return lines(content) + "\n"
    return "{" + ",\n".join(f"{json.dumps(key)}: {lines(cases)}" for key, cases in content.items()) + "}\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make or check the vectors of the wire format.")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--write", action="store_true")
    how.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    stale = []
    for name, text in make_all().items():
        path = FOLDER / f"{name}.json"
        if options.write:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        print(f"not what contracts makes today: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
