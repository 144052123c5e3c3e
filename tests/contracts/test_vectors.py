"""The committed vectors: both ways, both algorithms, and by a second implementation."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.columns import decode_block
from contracts.envelope import Type, open_envelope
from contracts.errors import ContractError
from contracts.fields import pack, unpack
from contracts.keys import Algorithm, PublicKey, Signer, Verifier, parse_key_line
from contracts.waveform import Waveform
from tests.contracts.make_vectors import DECODERS, FOLDER, VERIFIERS, load, make_all, named, plain

KEYS, SEALED, REFUSED, COLUMNS = load("keys"), load("sealed"), load("refused"), load("columns")
WAVEFORMS = load("waveforms")
VERIFIER = Path(__file__).parent / "independent_verifier.py"


def _ids(cases: list[Any]) -> list[str]:
    return [case["name"] for case in cases]


@pytest.mark.parametrize("case", SEALED, ids=_ids(SEALED))
def test_a_sealed_example_opens_and_reads(case: Any) -> None:
    type = Type(case["type"])
    opened = open_envelope(bytes.fromhex(case["envelope"]), type, VERIFIERS)
    assert opened.body.hex() == case["body"]
    assert opened.digest.hex() == case["digest"]
    assert plain(unpack(opened.body)) == case["plain"]
    assert named(DECODERS[type](opened.body)) == case["decoded"]


def test_every_type_on_the_wire_has_an_example_of_both_algorithms() -> None:
    seen = {(case["type"], case["key"]) for case in SEALED}
    assert seen == {(type.value, key) for type in DECODERS for key in ("ed25519", "p256")}
    assert set(DECODERS) == set(Type) - {Type.CHECKPOINT}


@pytest.mark.parametrize("case", REFUSED, ids=_ids(REFUSED))
def test_a_refused_example_is_refused_with_its_code(case: Any) -> None:
    type, envelope = Type(case["type"]), bytes.fromhex(case["envelope"])
    with pytest.raises(ContractError) as caught:
        DECODERS[type](open_envelope(envelope, type, VERIFIERS).body)
    assert caught.value.code == case["error"]


@pytest.mark.parametrize("case", COLUMNS["good"], ids=_ids(COLUMNS["good"]))
def test_a_block_reads(case: Any) -> None:
    block = decode_block(unpack(bytes.fromhex(case["block"])), case["kinds"], case["sealed_us"])
    assert named(block) == case["decoded"]


@pytest.mark.parametrize("case", COLUMNS["refused"], ids=_ids(COLUMNS["refused"]))
def test_a_refused_block_is_refused_with_its_code(case: Any) -> None:
    with pytest.raises(ContractError) as caught:
        decode_block(unpack(bytes.fromhex(case["block"])), case["kinds"], case["sealed_us"])
    assert caught.value.code == case["error"]


@pytest.mark.parametrize("case", WAVEFORMS["good"], ids=_ids(WAVEFORMS["good"]))
def test_a_waveform_reads_and_writes(case: Any) -> None:
    raw = bytes.fromhex(case["waveform"])
    waveform = Waveform.from_wire(unpack(raw))
    assert named(waveform) == case["decoded"]
    assert pack(waveform.to_wire()) == raw


@pytest.mark.parametrize("case", WAVEFORMS["refused"], ids=_ids(WAVEFORMS["refused"]))
def test_a_refused_waveform_is_refused_with_its_code(case: Any) -> None:
    with pytest.raises(ContractError) as caught:
        Waveform.from_wire(unpack(bytes.fromhex(case["waveform"])))
    assert caught.value.code == case["error"]


@pytest.mark.parametrize("case", KEYS["good"], ids=_ids(KEYS["good"]))
def test_a_key_has_its_names(case: Any) -> None:
    key = PublicKey(Algorithm(case["algorithm"]), bytes.fromhex(case["public"]))
    assert parse_key_line(case["line"], "vectors") == key
    assert (key.key_id.hex(), key.gateway_id, key.fingerprint) == (
        case["key_id"],
        case["gateway_id"],
        case["fingerprint"],
    )
    if key.algorithm is Algorithm.ED25519:
        assert Signer.from_seed(bytes.fromhex(case["private"])).public == key


@pytest.mark.parametrize("case", KEYS["refused"], ids=_ids(KEYS["refused"]))
def test_a_weak_key_is_refused(case: Any) -> None:
    with pytest.raises(ContractError):
        Verifier(PublicKey(Algorithm(case["algorithm"]), bytes.fromhex(case["public"])))


def test_the_files_are_what_contracts_makes_today() -> None:
    for name, text in make_all().items():
        assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text, name


def test_a_second_implementation_agrees() -> None:
    """Isolated: neither this folder nor the project is on its path."""
    run = subprocess.run([sys.executable, "-I", str(VERIFIER)], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert f"sealed: {len(SEALED)}" in run.stdout


def test_the_second_implementation_shares_nothing_with_the_first() -> None:
    modules = set()
    for node in ast.walk(ast.parse(VERIFIER.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").split(".")[0])
    assert not modules & {"contracts", "msgpack", "tests", "collector", "edge_agent"}


def test_the_second_implementation_notices_a_change(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    sealed = (tmp_path / "sealed.json").read_text(encoding="utf-8")
    digest = SEALED[0]["digest"]
    (tmp_path / "sealed.json").write_text(sealed.replace(digest, "00" + digest[2:]), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1
    assert "digest" in run.stderr
