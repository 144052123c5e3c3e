"""The envelope around every signed thing, in both directions.

    [version, key id, payload, signature]            msgpack, four elements
              8 bytes          64 bytes

The signature covers the payload's *type* and its bytes, each with its length in front, so
that a batch can never be taken for a receipt.  The type does not travel: the topic implies
it and the receiver states what it expects.  The first payload byte names the coding of the
rest: 0 as it is, 1 zlib.  The order is always: sizes, key, signature, inflate, decode.

The *digest* of a thing, used in chains and receipts, is SHA-256 over the very bytes that
were signed; it does not depend on the signature, which with ECDSA differs every time.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgpack

from contracts.errors import EnvelopeError, PayloadError, SignatureError, TooLargeError, UnknownKeyError
from contracts.fields import MAX_BODY, MAX_CATALOGUE_BODY
from contracts.keys import KEY_ID_BYTES, SIGNATURE_BYTES, Signer, Verifier

_library: Any = msgpack  # ships no types for packb and unpackb

VERSION = 1
#: no envelope is larger (bytes)
MAX_ENVELOPE = 256 * 1024
RAW = 0
ZLIB = 1
#: payloads shorter than this are not worth compressing (bytes)
_COMPRESS_FROM = 192


class Type(StrEnum):
    """What a payload is; part of what is signed."""

    ALARM_BATCH = "qianshao.batch.alarm.v1"
    DATA_BATCH = "qianshao.batch.data.v1"
    CATALOGUE = "qianshao.catalogue.v1"
    ASK = "qianshao.ask.v1"
    STATUS = "qianshao.status.v1"
    RECEIPT = "qianshao.receipt.v1"
    TIME = "qianshao.time.v1"
    COMMAND = "qianshao.command.v1"
    CHECKPOINT = "qianshao.checkpoint.v1"


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified payload."""

    key_id: bytes
    #: inflated
    body: bytes
    #: SHA-256 over the signed bytes
    digest: bytes


def to_be_signed(type: Type, payload: bytes) -> bytes:
    """Returns the bytes that a signature covers: both parts with their lengths in front."""
    name = type.value.encode()
    return b"".join((b"qianshao", struct.pack(">H", len(name)), name, struct.pack(">I", len(payload)), payload))


def encode_payload(body: bytes, *, level: int = 1) -> bytes:
    """Returns coding byte and body; compressed with zlib where that is shorter."""
    if level and len(body) >= _COMPRESS_FROM:
        packed = zlib.compress(body, level)
        if len(packed) < len(body):
            return b"\x01" + packed
    return b"\x00" + body


def body_limit(type: Type) -> int:
    """Returns how many bytes a body of this type may have."""
    return MAX_CATALOGUE_BODY if type is Type.CATALOGUE else MAX_BODY


def decode_payload(payload: bytes, *, limit: int = MAX_BODY) -> bytes:
    """Returns the body of a verified payload; ``limit`` as :func:`body_limit` says.

    Raises:
        PayloadError: unknown coding, or damaged compression.
        TooLargeError: it inflates beyond the limit.
    """
    if not payload:
        raise PayloadError("the payload is empty")
    if payload[0] == RAW:
        return payload[1:]
    if payload[0] != ZLIB:
        raise PayloadError(f"payload coding {payload[0]} is not known; known are 0 (raw) and 1 (zlib)")
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(payload[1:], limit + 1)
    except zlib.error as error:
        raise PayloadError(f"damaged compression: {error}") from error
    if len(body) > limit:
        raise TooLargeError(f"the payload inflates to more than {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise PayloadError("the compressed payload is cut short or has bytes left over")
    return body


def seal(type: Type, body: bytes, signer: Signer, *, level: int = 1) -> tuple[bytes, bytes]:
    """Signs ``body`` as ``type``.

    Returns:
        The envelope and its digest.

    Raises:
        TooLargeError: the body or the envelope is beyond the limit.
    """
    if len(body) > (limit := body_limit(type)):
        raise TooLargeError(f"a body of {len(body)} bytes; at most {limit}")
    payload = encode_payload(body, level=level)
    signed = to_be_signed(type, payload)
    envelope: bytes = _library.packb([VERSION, signer.key_id, payload, signer.sign(signed)], use_bin_type=True)
    if len(envelope) > MAX_ENVELOPE:
        raise TooLargeError(f"an envelope of {len(envelope)} bytes; at most {MAX_ENVELOPE}")
    return envelope, hashlib.sha256(signed).digest()


def split(envelope: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns key id, payload and signature of an envelope, nothing verified yet.

    Raises:
        TooLargeError: larger than any envelope.
        EnvelopeError: not an envelope of our version.
    """
    if len(envelope) > MAX_ENVELOPE:
        raise TooLargeError(f"an envelope of {len(envelope)} bytes; at most {MAX_ENVELOPE}")
    try:
        parts = _library.unpackb(
            envelope,
            raw=True,
            max_array_len=4,
            max_map_len=0,
            max_str_len=0,
            max_bin_len=MAX_ENVELOPE,
            max_ext_len=0,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise EnvelopeError(f"not an envelope: {error or type(error).__name__}") from error
    if type(parts) is not list or len(parts) != 4:
        raise EnvelopeError("an envelope is a list of four")
    version, key_id, payload, signature = parts
    if type(version) is not int or version != VERSION:
        raise EnvelopeError(f"envelope version {version!r} is not known; known is {VERSION}")
    if type(key_id) is not bytes or len(key_id) != KEY_ID_BYTES:
        raise EnvelopeError(f"the key id has {KEY_ID_BYTES} bytes")
    if type(payload) is not bytes or type(signature) is not bytes or len(signature) != SIGNATURE_BYTES:
        raise EnvelopeError(f"payload and signature are bytes, the signature has {SIGNATURE_BYTES}")
    return key_id, payload, signature


def open_envelope(envelope: bytes, type: Type, keys: Mapping[bytes, Verifier]) -> Opened:
    """Verifies, then inflates.

    Args:
        envelope: as received.
        type: what the topic implies; a thing signed as another type is refused.
        keys: the keys registered for this sender, by key id.

    Raises:
        TooLargeError, EnvelopeError, UnknownKeyError, SignatureError, PayloadError.
    """
    key_id, payload, signature = split(envelope)
    verifier = keys.get(key_id)
    if verifier is None:
        raise UnknownKeyError(f"key {key_id.hex()} is not registered for this sender")
    signed = to_be_signed(type, payload)
    if not verifier.is_valid(signature, signed):
        raise SignatureError(f"the signature of key {key_id.hex()} does not fit a {type.value}")
    return Opened(key_id, decode_payload(payload, limit=body_limit(type)), hashlib.sha256(signed).digest())
