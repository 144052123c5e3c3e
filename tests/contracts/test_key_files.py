"""The private key file in its plain Ed25519 form is read and written without the library's parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError
from contracts.keys import Signer, _ed25519_seed, load_or_create


@given(st.binary(min_size=32, max_size=32))
def test_it_is_what_the_library_writes(seed: bytes) -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert Signer(private).pem() == pem
    assert _ed25519_seed(pem) == seed


def test_another_form_of_the_same_key_is_left_to_the_library(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    signer = Signer.from_seed(b"k" * 32)
    path.write_bytes(signer.pem().replace(b"\n", b"\r\n"))
    assert _ed25519_seed(path.read_bytes()) is None
    assert load_or_create(path).public == signer.public


@pytest.mark.parametrize("spoil", [lambda pem: pem[:-30], lambda pem: pem.replace(b"MC4C", b"MC4D"), lambda pem: b""])
def test_a_spoilt_file_is_refused(spoil: object, tmp_path: Path) -> None:
    assert callable(spoil)
    path = tmp_path / "key.pem"
    path.write_bytes(spoil(Signer.from_seed(bytes(32)).pem()))
    with pytest.raises(ContractError, match=r"key\.pem"):
        load_or_create(path)
