"""The envelope: what is signed, in which order it is checked, and that nothing else passes."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import (
    MAX_ENVELOPE,
    Type,
    decode_payload,
    encode_payload,
    open_envelope,
    seal,
    split,
    to_be_signed,
)
from contracts.errors import (
    ContractError,
    EnvelopeError,
    PayloadError,
    SignatureError,
    TooLargeError,
    UnknownKeyError,
)
from contracts.fields import MAX_BODY
from contracts.keys import Algorithm, Signer, Verifier

SIGNERS = {
    Algorithm.ED25519: Signer.from_seed(bytes(range(32))),
    Algorithm.ECDSA_P256: Signer(ec.derive_private_key(0xC0FFEE, ec.SECP256R1())),
}
KEYS = {signer.key_id: Verifier(signer.public) for signer in SIGNERS.values()}
both = pytest.mark.parametrize("algorithm", list(Algorithm))


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def _sign_payload(payload: bytes, type: Type = Type.TIME) -> bytes:
    """An envelope around any payload, rightly signed."""
    signer = SIGNERS[Algorithm.ED25519]
    return _pack([1, signer.key_id, payload, signer.sign(to_be_signed(type, payload))])


@both
@given(body=st.binary(max_size=600), type=st.sampled_from(Type), level=st.sampled_from([0, 1, 9]))
def test_what_was_sealed_opens(algorithm: Algorithm, body: bytes, type: Type, level: int) -> None:
    envelope, digest = seal(type, body, SIGNERS[algorithm], level=level)
    opened = open_envelope(envelope, type, KEYS)
    assert (opened.body, opened.digest, opened.key_id) == (body, digest, SIGNERS[algorithm].key_id)
    assert digest == hashlib.sha256(to_be_signed(type, split(envelope)[1])).digest()


@both
@pytest.mark.parametrize("signed_as", list(Type))
@pytest.mark.parametrize("expected", list(Type))
def test_a_type_signed_as_one_thing_is_refused_as_another(
    algorithm: Algorithm, signed_as: Type, expected: Type
) -> None:
    envelope, _ = seal(signed_as, b"body", SIGNERS[algorithm])
    if signed_as is expected:
        assert open_envelope(envelope, expected, KEYS).body == b"body"
    else:
        with pytest.raises(SignatureError):
            open_envelope(envelope, expected, KEYS)


def test_every_flipped_bit_is_refused() -> None:
    envelope, _ = seal(Type.TIME, b"a body of some bytes", SIGNERS[Algorithm.ED25519])
    for position in range(len(envelope) * 8):
        flipped = bytearray(envelope)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(ContractError):
            open_envelope(bytes(flipped), Type.TIME, KEYS)


@given(st.data())
def test_a_flipped_bit_is_refused_with_ecdsa_too(data: st.DataObject) -> None:
    envelope, _ = seal(Type.TIME, b"a body of some bytes", SIGNERS[Algorithm.ECDSA_P256])
    position = data.draw(st.integers(0, len(envelope) * 8 - 1))
    flipped = bytearray(envelope)
    flipped[position // 8] ^= 1 << position % 8
    with pytest.raises(ContractError):
        open_envelope(bytes(flipped), Type.TIME, KEYS)


@both
def test_every_truncation_and_extension_is_refused(algorithm: Algorithm) -> None:
    envelope, _ = seal(Type.TIME, b"body", SIGNERS[algorithm])
    for length in range(len(envelope)):
        with pytest.raises(EnvelopeError):
            open_envelope(envelope[:length], Type.TIME, KEYS)
    for extra in (b"\x00", b"\xc0", envelope, bytes(1000)):
        with pytest.raises(EnvelopeError):
            open_envelope(envelope + extra, Type.TIME, KEYS)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        open_envelope(data, Type.TIME, KEYS)


KEY_ID = SIGNERS[Algorithm.ED25519].key_id


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        {},
        {1: 2},
        "text",
        [],
        [1, KEY_ID, b"\0"],
        [1, KEY_ID, b"\0", bytes(64), 0],
        [0, KEY_ID, b"\0", bytes(64)],
        [2, KEY_ID, b"\0", bytes(64)],
        [True, KEY_ID, b"\0", bytes(64)],
        [1.0, KEY_ID, b"\0", bytes(64)],
        ["1", KEY_ID, b"\0", bytes(64)],
        [None, KEY_ID, b"\0", bytes(64)],
        [1, KEY_ID[:7], b"\0", bytes(64)],
        [1, KEY_ID + b"\0", b"\0", bytes(64)],
        [1, "k" * 8, b"\0", bytes(64)],
        [1, list(KEY_ID), b"\0", bytes(64)],
        [1, None, b"\0", bytes(64)],
        [1, KEY_ID, "text", bytes(64)],
        [1, KEY_ID, [b"\0"], bytes(64)],
        [1, KEY_ID, None, bytes(64)],
        [1, KEY_ID, {"a": 1}, bytes(64)],
        [1, KEY_ID, b"\0", bytes(63)],
        [1, KEY_ID, b"\0", bytes(65)],
        [1, KEY_ID, b"\0", b""],
        [1, KEY_ID, b"\0", "s" * 64],
        [1, KEY_ID, b"\0", None],
        [1, KEY_ID, msgpack.ExtType(5, b""), bytes(64)],
        [1, KEY_ID, msgpack.ExtType(5, b"x"), bytes(64)],
        [[[[[[1]]]]]],
    ],
)
def test_another_form_is_no_envelope(value: Any) -> None:
    with pytest.raises(EnvelopeError):
        split(_pack(value))


@pytest.mark.parametrize(
    "data",
    [
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\x94\x01\xc6\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc7\x00\x05",
    ],
)
def test_claims_and_nesting_are_refused_before_any_key_is_looked_up(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        open_envelope(data, Type.TIME, {})


def test_size_is_checked_first() -> None:
    with pytest.raises(TooLargeError):
        split(bytes(MAX_ENVELOPE + 1))
    with pytest.raises(TooLargeError, match="body"):
        seal(Type.TIME, bytes(MAX_BODY + 1), SIGNERS[Algorithm.ED25519])
    with pytest.raises(TooLargeError, match="envelope"):
        seal(Type.TIME, bytes(MAX_ENVELOPE), SIGNERS[Algorithm.ED25519], level=0)
    assert len(seal(Type.TIME, bytes(MAX_BODY), SIGNERS[Algorithm.ED25519])[0]) < MAX_ENVELOPE


def test_a_key_that_is_not_registered_is_unknown() -> None:
    stranger = Signer.from_seed(bytes(32))
    envelope, _ = seal(Type.TIME, b"body", stranger)
    with pytest.raises(UnknownKeyError, match=stranger.key_id.hex()):
        open_envelope(envelope, Type.TIME, KEYS)


def test_the_signature_of_another_key_under_a_known_id_is_refused() -> None:
    payload = encode_payload(b"body")
    forged = Signer.from_seed(bytes(32)).sign(to_be_signed(Type.TIME, payload))
    with pytest.raises(SignatureError):
        open_envelope(_pack([1, KEY_ID, payload, forged]), Type.TIME, KEYS)


def test_the_algorithm_belongs_to_the_key() -> None:
    """An Ed25519 signature under the id of a P-256 key, and the other way round."""
    payload = encode_payload(b"body")
    signed = to_be_signed(Type.TIME, payload)
    ed, p256 = SIGNERS[Algorithm.ED25519], SIGNERS[Algorithm.ECDSA_P256]
    for key_id, signature in ((p256.key_id, ed.sign(signed)), (ed.key_id, p256.sign(signed))):
        with pytest.raises(SignatureError):
            open_envelope(_pack([1, key_id, payload, signature]), Type.TIME, KEYS)


def test_the_signed_bytes_are_length_prefixed() -> None:
    name = b"qianshao.time.v1"
    assert to_be_signed(Type.TIME, b"\x00ab") == b"qianshao" + b"\x00\x10" + name + b"\x00\x00\x00\x03" + b"\x00ab"


@given(st.binary(max_size=2000), st.sampled_from([0, 1, 6]))
def test_payload_coding_is_undone(body: bytes, level: int) -> None:
    payload = encode_payload(body, level=level)
    assert decode_payload(payload) == body
    assert len(payload) <= len(body) + 1


def _with_dictionary(data: bytes) -> bytes:
    packer = zlib.compressobj(zdict=b"abcabcabc")
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        pytest.param(b"", PayloadError, id="empty"),
        pytest.param(b"\x02abc", PayloadError, id="unknown-coding"),
        pytest.param(b"\xff", PayloadError, id="unknown-coding-alone"),
        pytest.param(b"\x01", PayloadError, id="no-stream"),
        pytest.param(b"\x01abc", PayloadError, id="no-zlib"),
        pytest.param(b"\x01" + zlib.compress(b"x" * 99)[:-1], PayloadError, id="cut-short"),
        pytest.param(b"\x01" + zlib.compress(b"x" * 99) + b"\0", PayloadError, id="left-over"),
        pytest.param(b"\x01" + zlib.compress(b"x") * 2, PayloadError, id="two-streams"),
        pytest.param(b"\x01" + zlib.compress(b"x" * 99)[:-4] + b"abcd", PayloadError, id="checksum"),
        pytest.param(b"\x01" + zlib.compress(b"x" * 99, wbits=-15), PayloadError, id="raw-deflate"),
        pytest.param(b"\x01" + zlib.compress(b"x" * 99, wbits=31), PayloadError, id="gzip"),
        pytest.param(b"\x01" + _with_dictionary(b"abcabc"), PayloadError, id="dictionary"),
        pytest.param(b"\x01" + zlib.compress(bytes(MAX_BODY + 1)), TooLargeError, id="bomb-by-one"),
        pytest.param(b"\x01" + zlib.compress(bytes(200 * MAX_BODY)), TooLargeError, id="bomb"),
    ],
)
def test_a_bad_payload_coding_is_refused(payload: bytes, error: type[ContractError]) -> None:
    with pytest.raises(error):
        decode_payload(payload)
    with pytest.raises(error):
        open_envelope(_sign_payload(payload), Type.TIME, KEYS)


def test_the_largest_body_inflates() -> None:
    assert decode_payload(b"\x01" + zlib.compress(bytes(MAX_BODY))) == bytes(MAX_BODY)


def test_the_digest_does_not_depend_on_the_signature() -> None:
    signer = SIGNERS[Algorithm.ECDSA_P256]
    first, second = (seal(Type.TIME, b"body", signer) for _ in range(2))
    assert first[0] != second[0]
    assert first[1] == second[1]
