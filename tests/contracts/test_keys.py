"""Keys: both algorithms, weak and foreign forms refused, and the key file."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError
from contracts.keys import (
    GATEWAY_ID,
    SIGNATURE_BYTES,
    Algorithm,
    PublicKey,
    Signer,
    Verifier,
    load_or_create,
    parse_key_line,
    write_atomically,
)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493  # order of the Ed25519 base point (RFC 8032 section 5.1)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
D = -121665 * pow(121666, -1, P) % P

both = pytest.mark.parametrize("algorithm", list(Algorithm))


@both
@given(st.binary(max_size=100))
def test_a_signature_is_valid_for_its_bytes_only(algorithm: Algorithm, data: bytes) -> None:
    signer = Signer.generate(algorithm)
    verifier = Verifier(signer.public)
    signature = signer.sign(data)
    assert len(signature) == SIGNATURE_BYTES
    assert verifier.is_valid(signature, data)
    assert not verifier.is_valid(signature, data + b"\0")
    assert not Verifier(Signer.generate(algorithm).public).is_valid(signature, data)


@both
@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64, b"\0" * 32 + b"\xff" * 32])
def test_a_nonsense_signature_is_invalid_and_raises_nothing(algorithm: Algorithm, signature: bytes) -> None:
    assert not Verifier(Signer.generate(algorithm).public).is_valid(signature, b"data")


def test_rfc_8032_test_vector_2() -> None:
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signer = Signer.from_seed(seed)
    assert signer.public.raw.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert signer.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_an_ed25519_scalar_beyond_the_order_is_refused() -> None:
    """S + L satisfies the equation too; RFC 8032 section 5.1.7 demands S below L."""
    signer = Signer.from_seed(bytes(32))
    signature = signer.sign(b"data")
    scalar = int.from_bytes(signature[32:], "little") + L
    assert not Verifier(signer.public).is_valid(signature[:32] + scalar.to_bytes(32, "little"), b"data")


def test_ecdsa_parts_out_of_range_are_refused() -> None:
    signer = Signer.generate(Algorithm.ECDSA_P256)
    signature, verifier = signer.sign(b"data"), Verifier(signer.public)
    for r, s in ((signature[:32], bytes(32)), (bytes(32), signature[32:])):
        assert not verifier.is_valid(r + s, b"data")
    order = P256_ORDER.to_bytes(32, "big")
    assert not verifier.is_valid(signature[:32] + order, b"data")
    assert not verifier.is_valid(order + signature[32:], b"data")


def test_an_ecdsa_signature_is_fixed_width() -> None:
    """r and s travel as 32 bytes each, whatever their size; made from DER and back."""
    private = ec.derive_private_key(7, ec.SECP256R1())
    signer = Signer(private)
    for _ in range(30):
        signature = signer.sign(b"data")
        assert len(signature) == 64
        assert 0 < int.from_bytes(signature[:32], "big") < P256_ORDER
    r, s = decode_dss_signature(private.sign(b"data", ec.ECDSA(hashes.SHA256())))
    assert Verifier(signer.public).is_valid(r.to_bytes(32, "big") + s.to_bytes(32, "big"), b"data")


def _y(value: int, sign: int = 0) -> bytes:
    return (value | sign << 255).to_bytes(32, "little")


def _order_eight_y() -> int:
    """Solves d y^4 + 2 y^2 - 1 = 0, the condition for a point whose double has x = +-sqrt(-1), y = 0."""
    root = _sqrt((1 + D) % P)
    assert root is not None
    for square in ((-1 + root) * pow(D, -1, P) % P, (-1 - root) * pow(D, -1, P) % P):
        y = _sqrt(square)
        if y is not None:
            return y
    raise AssertionError("there are points of order eight")


def _sqrt(square: int) -> int | None:
    root = pow(square, (P + 3) // 8, P)
    for candidate in (root, root * pow(2, (P - 1) // 4, P) % P):
        if candidate * candidate % P == square % P:
            return candidate
    return None


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize(
    "y",
    [
        pytest.param(0, id="order-4"),
        pytest.param(1, id="order-1"),
        pytest.param(P - 1, id="order-2"),
        pytest.param(_order_eight_y(), id="order-8"),
        pytest.param(P - _order_eight_y(), id="order-8-other"),
        pytest.param(P, id="zero-not-canonical"),
        pytest.param(P + 1, id="one-not-canonical"),
        pytest.param(P + 3, id="not-canonical"),
        pytest.param(2**255 - 1, id="largest"),
    ],
)
def test_weak_and_non_canonical_ed25519_keys_are_refused(y: int, sign: int) -> None:
    with pytest.raises(ContractError, match=r"small order|canonical"):
        Verifier(PublicKey(Algorithm.ED25519, _y(y, sign)))


def test_an_ed25519_key_off_the_curve_is_refused() -> None:
    off = [y for y in range(2, 40) if _sqrt((y * y - 1) * pow(D * y * y + 1, -1, P) % P) is None]
    assert off
    for y in range(2, 40):
        if y in off:
            with pytest.raises(ContractError, match="curve"):
                Verifier(PublicKey(Algorithm.ED25519, _y(y)))
        else:
            Verifier(PublicKey(Algorithm.ED25519, _y(y)))


@given(st.binary(min_size=32, max_size=32))
def test_every_generated_key_is_taken(seed: bytes) -> None:
    Verifier(Signer.from_seed(seed).public)


@both
@pytest.mark.parametrize("raw", [b"", b"\0", bytes(31), bytes(32), bytes(33), bytes(64), bytes(65), b"\xff" * 33])
def test_a_key_of_another_form_is_refused(algorithm: Algorithm, raw: bytes) -> None:
    with pytest.raises(ContractError):
        Verifier(PublicKey(algorithm, raw))


def test_a_p256_key_has_one_form_only() -> None:
    """The long form of the same point would be another key id and another gateway."""
    private = ec.derive_private_key(99, ec.SECP256R1()).public_key()
    forms = serialization.PublicFormat
    short = private.public_bytes(serialization.Encoding.X962, forms.CompressedPoint)
    long = private.public_bytes(serialization.Encoding.X962, forms.UncompressedPoint)
    Verifier(PublicKey(Algorithm.ECDSA_P256, short))
    hybrid = bytes([6 + long[-1] % 2]) + long[1:]
    beyond = b"\x02" + P256_PRIME.to_bytes(32, "big")
    no_point = next(
        b"\x02" + x.to_bytes(32, "big")
        for x in range(1, 50)
        if pow(x**3 - 3 * x + _B, (P256_PRIME - 1) // 2, P256_PRIME) != 1
    )
    for raw in (long, hybrid, beyond, no_point, b"\x04" + short[1:], b"\x05" + short[1:]):
        with pytest.raises(ContractError):
            Verifier(PublicKey(Algorithm.ECDSA_P256, raw))


_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


@both
def test_names_follow_from_algorithm_and_key(algorithm: Algorithm) -> None:
    public = Signer.generate(algorithm).public
    digest = hashlib.sha256(algorithm.value.encode() + b"\0" + public.raw).digest()
    assert public.key_id == digest[:8]
    assert public.gateway_id == "g-" + base64.b32encode(digest).decode().lower()[:12]
    assert GATEWAY_ID.fullmatch(public.gateway_id)
    assert [len(group) for group in public.fingerprint.split("-")] == [4, 4, 4, 4]
    assert parse_key_line(public.line("a comment, with spaces"), "here") == public
    assert parse_key_line("# the key of a well\n\n" + public.line() + "\n", "here") == public


GOOD_LINE = Signer.from_seed(bytes(32)).public.line()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "found 0"),
        ("# only a comment", "found 0"),
        (GOOD_LINE + "\n" + GOOD_LINE, "found 2"),
        ("ssh-ed25519 AAAA", "expected 'qianshao-key"),
        ("qianshao-key ed25519", "expected 'qianshao-key"),
        ("qianshao-key rsa AAAA", "'rsa' is not known"),
        ("qianshao-key ed25519 !!!!", "not base64"),
        ("qianshao-key ed25519 AAA", "not base64"),
        ("qianshao-key ed25519 井井井井", "not base64"),
        ("qianshao-key ed25519 AAAA", "32 bytes"),
        ("qianshao-key ecdsa-p256 AAAA", "33 bytes"),
        ("qianshao-key ed25519 " + base64.b64encode(_y(1)).decode(), "small order"),
        (GOOD_LINE.replace("ed25519", "ecdsa-p256"), "33 bytes"),
    ],
)
def test_a_wrong_key_line_is_refused_with_its_source(text: str, says: str) -> None:
    with pytest.raises(ContractError, match=f"^gateway.key: .*{says}"):
        parse_key_line(text, "gateway.key")


def test_a_key_file_is_made_once_with_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "gateway.pem"
    before = os.umask(0)
    try:
        signer = load_or_create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create(path).public == signer.public
    assert os.listdir(path.parent) == ["gateway.pem"]


@both
def test_a_key_file_of_both_kinds_is_read(algorithm: Algorithm, tmp_path: Path) -> None:
    signer = Signer.generate(algorithm)
    write_atomically(tmp_path / "key", signer.pem(), mode=0o600)
    assert load_or_create(tmp_path / "key").public == signer.public


def _pem(
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, secret: bytes = b""
) -> bytes:
    encryption = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 100, id="zeros-after-a-power-cut"),
        pytest.param(Signer.from_seed(bytes(32)).pem()[:80], id="cut-short"),
        pytest.param(GOOD_LINE.encode(), id="public-line"),
        pytest.param(_pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), b"secret"), id="encrypted"),
        pytest.param(_pem(ec.derive_private_key(5, ec.SECP384R1())), id="another-curve"),
        pytest.param(_pem(ec.derive_private_key(5, ec.SECP256K1())), id="another-curve-of-256-bits"),
        pytest.param(_pem(rsa.generate_private_key(65537, 2048)), id="rsa"),
        # The curve of SM2 (1.2.156.10197.1.301), which cryptography does not know.
        pytest.param(
            b"-----BEGIN PRIVATE KEY-----\n"
            + base64.encodebytes(
                bytes.fromhex(
                    "304102010030" + "1306072a8648ce3d020106082a811ccf5501822d" + "042730250201010420" + "05" * 32
                )
            )
            + b"-----END PRIVATE KEY-----\n",
            id="sm2",
        ),
    ],
)
def test_a_file_that_is_no_key_of_ours_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "gateway.pem"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=r"gateway\.pem"):
        load_or_create(path)
    assert path.read_bytes() == content


def test_a_folder_in_place_of_the_key_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        load_or_create(tmp_path)


def test_a_failed_replacement_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def refuse(descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_what_a_crash_left_behind_is_replaced_with_the_right_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    left = tmp_path / "key.new"
    left.write_bytes(b"half of a longer file")
    left.chmod(0o644)
    write_atomically(path, b"whole", mode=0o600)
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not left.exists()
