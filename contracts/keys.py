"""Signing keys: making, keeping, naming and checking them.

The algorithm belongs to the registered key, never to a message.  Two are implemented and
pass the same vectors: Ed25519 (RFC 8032) and ECDSA P-256 with SHA-256, whose signature
travels as 32 bytes r and 32 bytes s.  A third is added by adding a branch here.

Identity: a gateway's id is made from its first public key and never changes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from contracts.errors import ContractError

SIGNATURE_BYTES = 64
KEY_ID_BYTES = 8

#: PKCS 8 of an Ed25519 key up to its 32 bytes of seed (RFC 8410 section 7)
_ED25519_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")

#: ``g-`` and 12 base32 characters
GATEWAY_ID = re.compile(r"g-[a-z2-7]{12}")

_FIELD_PRIME = 2**255 - 19
_EDWARDS_D = -121665 * pow(121666, -1, _FIELD_PRIME) % _FIELD_PRIME  # RFC 8032 section 5.1
# The y coordinates of the eight points of small order on edwards25519 (RFC 7748 section 7
# tells why they must be refused): 1, -1, 0 and the two of the points of order eight.
_ORDER_8_Y = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
_SMALL_ORDER_Y = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y})


class Algorithm(StrEnum):
    """Signature algorithms a key can be registered with."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key as it is registered and shown."""

    algorithm: Algorithm
    #: 32 bytes (Ed25519) or 33 bytes, compressed point (P-256)
    raw: bytes

    @property
    def key_id(self) -> bytes:
        """The first 8 bytes of SHA-256 over algorithm and key; selects, never proves."""
        return hashlib.sha256(self.algorithm.value.encode() + b"\0" + self.raw).digest()[:KEY_ID_BYTES]

    @property
    def gateway_id(self) -> str:
        """The id of the gateway whose first key this is."""
        digest = hashlib.sha256(self.algorithm.value.encode() + b"\0" + self.raw).digest()
        return "g-" + base64.b32encode(digest).decode().lower()[:12]

    @property
    def fingerprint(self) -> str:
        """Four groups of four characters, for two people to compare by voice."""
        text = base64.b32encode(hashlib.sha256(b"fingerprint\0" + self.raw).digest()[:10]).decode().lower()
        return "-".join(text[i : i + 4] for i in range(0, 16, 4))

    def line(self, comment: str = "") -> str:
        """The key as one line of text, as in a key file."""
        return f"qianshao-key {self.algorithm} {base64.b64encode(self.raw).decode()} {comment}".rstrip()


def parse_key_line(text: str, source: str) -> PublicKey:
    """Reads a public key from its one-line form.

    Raises:
        ContractError: names the source and what is wrong with the line.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) != 1:
        raise ContractError(f"{source}: expected one key line, found {len(lines)}")
    words = lines[0].split()
    if len(words) < 3 or words[0] != "qianshao-key":
        raise ContractError(f"{source}: expected 'qianshao-key ALGORITHM BASE64 [COMMENT]'")
    try:
        algorithm = Algorithm(words[1])
    except ValueError:
        known = ", ".join(Algorithm)
        raise ContractError(f"{source}: algorithm {words[1]!r} is not known; known are {known}") from None
    try:
        raw = base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        raise ContractError(f"{source}: the key is not base64") from None
    key = PublicKey(algorithm, raw)
    try:
        Verifier(key)
    except ContractError as error:
        raise ContractError(f"{source}: {error}") from None
    return key


class Verifier:
    """Checks signatures of one registered key."""

    __slots__ = ("_ec", "_ed", "key", "key_id")

    def __init__(self, key: PublicKey) -> None:
        """Loads the key.

        Raises:
            ContractError: wrong length, not on the curve, not canonical, or of small order.
        """
        self.key = key
        self.key_id = key.key_id
        self._ed: ed25519.Ed25519PublicKey | None = None
        self._ec: ec.EllipticCurvePublicKey | None = None
        try:
            if key.algorithm is Algorithm.ED25519:
                _refuse_weak_point(key.raw)
                self._ed = ed25519.Ed25519PublicKey.from_public_bytes(key.raw)
            else:
                # One form only: the same point in long form would be another key id.
                if len(key.raw) != 33:
                    raise ContractError(f"a P-256 key is a compressed point of 33 bytes, this has {len(key.raw)}")
                self._ec = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.raw)
        except ContractError:
            raise
        except ValueError as error:
            raise ContractError(f"not a usable {key.algorithm} public key: {error}") from error

    def is_valid(self, signature: bytes, data: bytes) -> bool:
        """Returns whether ``signature`` (64 bytes) is this key's over ``data``."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            if self._ed is not None:
                self._ed.verify(signature, data)
            elif self._ec is not None:
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                self._ec.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


def _refuse_weak_point(raw: bytes) -> None:
    if len(raw) != 32:
        raise ContractError(f"an Ed25519 key has 32 bytes, this has {len(raw)}")
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y >= _FIELD_PRIME:
        raise ContractError("the key is not in canonical form")
    if y in _SMALL_ORDER_Y:
        raise ContractError("the key is a point of small order")
    # x2 = (y2 - 1) / (d y2 + 1) must be a square (Euler's criterion); OpenSSL looks only when it verifies.
    x2 = (y * y - 1) * pow(_EDWARDS_D * y * y + 1, -1, _FIELD_PRIME) % _FIELD_PRIME
    if pow(x2, (_FIELD_PRIME - 1) // 2, _FIELD_PRIME) != 1:
        raise ContractError("the key is not a point on the curve")


class Signer:
    """Signs with one private key."""

    __slots__ = ("_private", "key_id", "public")

    def __init__(self, private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.public = _public_of(private)
        self.key_id = self.public.key_id

    @classmethod
    def generate(cls, algorithm: Algorithm = Algorithm.ED25519) -> Signer:
        """Makes a new key from the system's random source."""
        if algorithm is Algorithm.ED25519:
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_seed(cls, seed: bytes) -> Signer:
        """Makes the Ed25519 key of a 32 byte seed, for vectors and simulators."""
        return cls(ed25519.Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, data: bytes) -> bytes:
        """Returns the 64 byte signature over ``data``."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(data)
        r, s = decode_dss_signature(self._private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def pem(self) -> bytes:
        """Returns the private key as PKCS 8 PEM, unencrypted."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            text = base64.b64encode(_ED25519_PKCS8 + self._private.private_bytes_raw())
            return b"-----BEGIN PRIVATE KEY-----\n" + text + b"\n-----END PRIVATE KEY-----\n"
        # Imported where it is needed: an agent with an Ed25519 key runs without this megabyte.
        from cryptography.hazmat.primitives import serialization

        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def _public_of(private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> PublicKey:
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return PublicKey(Algorithm.ED25519, private.public_key().public_bytes_raw())
    from cryptography.hazmat.primitives import serialization

    raw = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    return PublicKey(Algorithm.ECDSA_P256, raw)


def load_or_create(path: Path) -> Signer:
    """Returns the private key kept at ``path``; makes it (mode 0600) where there is none.

    The new file is complete and on the disk before it has its name.

    Raises:
        ContractError: the file is no private key of a kind that we use.
        OSError: it cannot be read or written.
    """
    if not path.exists():
        signer = Signer.generate()
        write_atomically(path, signer.pem(), mode=0o600)
        return signer
    text = path.read_bytes()
    seed = _ed25519_seed(text)
    if seed is not None:
        return Signer.from_seed(seed)
    from cryptography.hazmat.primitives import serialization

    try:
        private = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ContractError(f"{path}: not an unencrypted private key in PEM form: {error}") from error
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return Signer(private)
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
        return Signer(private)
    raise ContractError(f"{path}: the key is neither Ed25519 nor ECDSA P-256")


def _ed25519_seed(pem: bytes) -> bytes | None:
    """Returns the seed in the plain form that ``Signer.pem`` writes; None for any other text."""
    lines = pem.split(b"\n")
    if len(lines) != 4 or lines[::2] != [b"-----BEGIN PRIVATE KEY-----", b"-----END PRIVATE KEY-----"] or lines[3]:
        return None
    try:
        der = base64.b64decode(lines[1], validate=True)
    except binascii.Error:
        return None
    start = len(_ED25519_PKCS8)
    return der[start:] if len(der) == start + 32 and der.startswith(_ED25519_PKCS8) else None


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replaces a small file so that a power cut leaves the old or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
