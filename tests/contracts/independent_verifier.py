"""A second implementation of docs/wire-format.md, to check the vectors against.

    python tests/contracts/independent_verifier.py [FOLDER]

It imports nothing of this project and no msgpack: the reader below knows only what the
format uses.  From ``cryptography`` it takes the two signature primitives.  It checks names
of keys, signatures, digests, payload coding, plain values, columns and waveforms; not every limit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

#: lead byte -> (kind, format of the length or number)
LEADS = {
    0xC4: ("bin", ">B"), 0xC5: ("bin", ">H"), 0xC6: ("bin", ">I"), 0xCA: ("num", ">f"), 0xCB: ("num", ">d"),
    0xCC: ("num", ">B"), 0xCD: ("num", ">H"), 0xCE: ("num", ">I"), 0xCF: ("num", ">Q"), 0xD0: ("num", ">b"),
    0xD1: ("num", ">h"), 0xD2: ("num", ">i"), 0xD3: ("num", ">q"), 0xD9: ("str", ">B"), 0xDA: ("str", ">H"),
    0xDB: ("str", ">I"), 0xDC: ("list", ">H"), 0xDD: ("list", ">I"), 0xDE: ("map", ">H"), 0xDF: ("map", ">I"),
}  # fmt: skip
SIMPLE = {0xC0: None, 0xC2: False, 0xC3: True}
WITH_NUMBER = {0, 18, 19}


class Reader:
    """Reads msgpack values from bytes; ValueError for anything else."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise ValueError("cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def value(self) -> Any:
        lead = self.take(1)[0]
        if lead < 0x80 or lead >= 0xE0:
            return lead if lead < 0x80 else lead - 256
        if lead in SIMPLE:
            return SIMPLE[lead]
        if lead < 0xC0:
            kind, size = (
                ("map", lead & 15) if lead < 0x90 else ("list", lead & 15) if lead < 0xA0 else ("str", lead & 31)
            )
        elif lead in LEADS:
            kind, form = LEADS[lead]
            (size,) = struct.unpack(form, self.take(struct.calcsize(form)))
        else:
            raise ValueError(f"byte {lead:#x} is not used")
        if kind == "num":
            return size
        if kind == "bin":
            return self.take(size)
        if kind == "str":
            return self.take(size).decode()
        if kind == "list":
            return [self.value() for _ in range(size)]
        return {self.value(): self.value() for _ in range(size)}


def read(data: bytes) -> Any:
    reader = Reader(data)
    value = reader.value()
    if reader.at != len(data):
        raise ValueError("bytes left over")
    return value


def to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list) else value


def is_signed(key: dict[str, Any], signature: bytes, data: bytes) -> bool:
    raw = bytes.fromhex(key["public"])
    try:
        if key["algorithm"] == "ed25519":
            ed25519.Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)
        else:
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
            public.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def verify(envelope: bytes, type: str, keys: dict[str, dict[str, Any]]) -> tuple[bytes, bytes]:
    """Returns payload and digest; ValueError when it is not what the type says, signed by one of the keys."""
    try:
        parts = read(envelope)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(parts, list) or len(parts) != 4 or parts[0] is True or parts[0] != 1:
        raise ValueError("not an envelope of version 1")
    _, key_id, payload, signature = parts
    if not (isinstance(payload, bytes) and isinstance(signature, bytes) and len(signature) == 64):
        raise ValueError("parts of the wrong kind")
    if key_id.hex() not in keys:
        raise ValueError("unknown key")
    name = type.encode()
    signed = b"qianshao" + struct.pack(">H", len(name)) + name + struct.pack(">I", len(payload)) + payload
    if not is_signed(keys[key_id.hex()], signature, signed):
        raise ValueError("signature")
    return payload, hashlib.sha256(signed).digest()


def columns(raw: Any, kinds: list[str], sealed_us: int) -> dict[str, Any]:
    """Unpacks one block, sample by sample."""
    number, offsets, ints, singles, doubles, runs = raw
    times = [sealed_us + sum(offsets[: tick + 1]) for tick in range(len(offsets))]
    count = len(kinds) * len(times)
    pairs = zip(runs[::2], runs[1::2], strict=True) if runs is not None else [(count, 0)]
    codes = [code for run, code in pairs for _ in range(run)]
    if len(codes) != count:
        raise ValueError("runs do not add up")
    sources = {
        "int": iter(ints or []),
        "f32": iter(struct.unpack(f">{len(singles or b'') // 4}f", singles or b"")),
        "f64": iter(struct.unpack(f">{len(doubles or b'') // 8}d", doubles or b"")),
    }
    values: list[list[Any]] = [[] for _ in kinds]
    before = [0] * len(kinds)
    for position, code in enumerate(codes):
        point = position % len(kinds)
        value: Any = None
        if code in WITH_NUMBER:
            value = next(sources[kinds[point]])
            if kinds[point] == "int":
                before[point] = value = before[point] + value
        values[point].append(value)
    if any(list(source) for source in sources.values()):
        raise ValueError("numbers left over")
    by_point = None if runs is None else [codes[point :: len(kinds)] for point in range(len(kinds))]
    return {"number": number, "times": times, "values": values, "codes": by_point}


def waveform(raw: Any) -> dict[str, Any]:
    """Unpacks one waveform: its columns are those of a block that begins at its own first sample."""
    begin_us, channels = raw[4], raw[5]
    return columns([0, *raw[6]], [channel[3] for channel in channels], begin_us)


def same(what: str, found: Any, expected: Any) -> None:
    # As text, so that 1, 1.0 and true are told apart.
    if json.dumps(found) != json.dumps(expected):
        raise SystemExit(f"{what}: found {found!r}, expected {expected!r}")


def main(folder: Path) -> None:
    files = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in FILES}
    for key in files["keys"]["good"]:
        raw, algorithm = bytes.fromhex(key["public"]), key["algorithm"].encode()
        digest = hashlib.sha256(algorithm + b"\0" + raw).digest()
        gateway = "g-" + base64.b32encode(digest).decode().lower()[:12]
        words = base64.b32encode(hashlib.sha256(b"fingerprint\0" + raw).digest()[:10]).decode().lower()
        same("key id", digest[:8].hex(), key["key_id"])
        same("gateway id", gateway, key["gateway_id"])
        same("shard", hashlib.sha256(gateway.encode()).digest()[0] & 63, key["shard"])
        same("fingerprint", "-".join(words[at : at + 4] for at in range(0, 16, 4)), key["fingerprint"])
        same("line", f"qianshao-key {key['algorithm']} {base64.b64encode(raw).decode()}", key["line"])
    keys = {key["key_id"]: key for key in files["keys"]["good"]}
    for case in files["sealed"]:
        payload, digest = verify(bytes.fromhex(case["envelope"]), case["type"], keys)
        body = zlib.decompress(payload[1:]) if payload[0] else payload[1:]
        same(f"{case['name']}: body", body.hex(), case["body"])
        same(f"{case['name']}: digest", digest.hex(), case["digest"])
        same(f"{case['name']}: plain", to_json(read(body)), case["plain"])
    for case in files["refused"]:
        try:
            verify(bytes.fromhex(case["envelope"]), case["type"], keys)
            stage = "content"
        except ValueError:
            stage = "envelope"
        same(f"{case['name']}: stage", stage, case["stage"])
    for case in files["columns"]["good"]:
        found = columns(read(bytes.fromhex(case["block"])), case["kinds"], case["sealed_us"])
        same(f"{case['name']}: columns", found, case["decoded"])
    for case in files["waveforms"]["good"]:
        found = waveform(read(bytes.fromhex(case["waveform"])))
        same(f"{case['name']}: waveform", found, case["decoded"]["columns"])
    print(", ".join(f"{name}: {_count(content)}" for name, content in files.items()))


def _count(content: Any) -> int:
    return len(content) if isinstance(content, list) else sum(map(len, content.values()))


FILES = ("keys", "sealed", "refused", "columns", "waveforms")

if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "vectors")
