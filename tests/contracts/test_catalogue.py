"""The catalogue: identity, one form only, and every wrong field refused by name."""

from __future__ import annotations

import dataclasses
import hashlib
from fractions import Fraction
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalogue import Catalogue, is_point_key
from contracts.errors import ContractError, PayloadError
from contracts.fields import pack, unpack
from tests.contracts.examples import CATALOGUE
from tests.contracts.strategies import catalogues, damaged, mutated, point_keys


@given(catalogues())
def test_decode_after_encode_is_identity(catalogue: Catalogue) -> None:
    again = Catalogue.from_body(catalogue.body)
    assert again == catalogue
    assert again.hash == catalogue.hash == hashlib.sha256(catalogue.body).digest()


@given(st.data())
def test_a_mutated_catalogue_is_read_or_refused(data: st.DataObject) -> None:
    body = data.draw(catalogues()).body
    mutant = pack(data.draw(mutated(unpack(body)))) if data.draw(st.booleans()) else data.draw(damaged(body))
    try:
        assert Catalogue.from_body(mutant).body == mutant
    except ContractError:
        pass


def test_kinds_follow_the_blocks_order() -> None:
    by_number = [tuple(CATALOGUE.points[n].kind for n in block.points) for block in CATALOGUE.blocks]
    assert list(CATALOGUE.kinds) == by_number


def test_whole_numbers_given_as_int_have_the_same_form() -> None:
    point = dataclasses.replace(CATALOGUE.points[0], low=0, high=100)
    same = dataclasses.replace(CATALOGUE.points[0], low=0.0, high=100.0)
    bodies = {dataclasses.replace(CATALOGUE, points=(p, *CATALOGUE.points[1:])).body for p in (point, same)}
    assert len(bodies) == 1
    Catalogue.from_body(bodies.pop())


def _changed(path: tuple[Any, ...], value: Any) -> bytes:
    document = unpack(CATALOGUE.body)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return pack(document)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("format",), 0, "catalogue.format"),
        (("format",), 2, "catalogue.format"),
        (("format",), True, "catalogue.format"),
        (("gateway",), "g-AAAAAAAAAAAA", "catalogue.gateway"),
        (("gateway",), "g-aaaaaaaaaaaa\n", "catalogue.gateway"),
        (("en",), "x" * 257, "catalogue.en"),
        (("zh",), b"x", "catalogue.zh"),
        (("devices",), {}, "catalogue.devices"),
        (("devices",), [], "point.device"),
        (("devices", 0), [], "device"),
        (("devices", 0, 4), 256, "device.unit_id"),
        (("devices", 0, 6), b"short", "device.profile_hash"),
        (("devices", 0, 7), None, "device.serial"),
        (("points", 0, 0), "no-quantity", "point.key"),
        (("points", 0, 0), "Device/ch4", "point.key"),
        (("points", 0, 0), "a/b/c/d", "point.key"),
        (("points", 0, 2), "furlong", "point.unit"),
        (("points", 0, 3), "i16", "point.kind"),
        (("points", 0, 4), "1/0", "point.resolution"),
        (("points", 0, 4), "0/1", "point.resolution"),
        (("points", 0, 4), "-1/2", "point.resolution"),
        (("points", 0, 4), "1", "point.resolution"),
        (("points", 0, 4), "1/" + "9" * 19, "point.resolution"),
        (("points", 0, 4), "２/１", "point.resolution"),
        (("points", 0, 4), "2/20", "one form"),
        (("points", 0, 5), float("nan"), "point.low"),
        (("points", 0, 6), float("inf"), "point.high"),
        (("points", 0, 6), "100", "point.high"),
        (("points", 0, 6), 100, "one form"),
        (("points", 0, 7), 0, "point.longest_silence_ms"),
        (("points", 0, 8), 99, "point.device"),
        (("points", 0, 8), -1, "point.device"),
        (("points", 0, 11, 0, 2), "sideways", "limit.direction"),
        (("points", 0, 11, 0, 3), None, "limit.value"),
        (("points", 0, 11, 0, 4), "purple", "limit.severity"),
        (("points", 1, 0), CATALOGUE.points[0].key, "a key stands twice"),
        (("blocks", 0, 0), [], "block.points"),
        (("blocks", 0, 0), [0, 0], "block.points"),
        (("blocks", 0, 0), [99], "block.points"),
        (("blocks", 0, 0), [True], "block.points"),
        (("blocks", 0, 0), ["x" * 4000], "block.points"),
        (("blocks", 0, 1), 0, "block.interval_ms"),
        (("blocks", 0, 2), 1000, "block.phase_ms"),
        (("blocks", 1, 0), [0], "two blocks"),
    ],
)
def test_a_wrong_field_is_refused_by_name(path: tuple[Any, ...], value: Any, named: str) -> None:
    with pytest.raises(PayloadError, match=named) as caught:
        Catalogue.from_body(_changed(path, value))
    assert len(str(caught.value)) < 600


def _rearranged(how: str) -> bytes:
    document = unpack(CATALOGUE.body)
    if how == "missing":
        del document["zh"]
    elif how == "extra":
        document["more"] = 1
    else:
        document = {key: document[key] for key in reversed(document)}
    return pack(document)


@pytest.mark.parametrize("how", ["missing", "extra", "order"])
def test_the_document_has_its_fields_in_their_order(how: str) -> None:
    with pytest.raises(PayloadError, match="expected the fields"):
        Catalogue.from_body(_rearranged(how))


def test_another_spelling_of_the_same_content_is_refused() -> None:
    """Otherwise its hash, computed from the content, would not be the one that batches name."""
    body = CATALOGUE.body
    assert body.startswith(b"\x87\xa6format\x01")
    with pytest.raises(PayloadError, match="one form"):
        Catalogue.from_body(b"\x87\xa6format\xcc\x01" + body[9:])
    singles = msgpack.packb(unpack(body), use_single_float=True)
    with pytest.raises(PayloadError, match="one form"):
        Catalogue.from_body(singles)


@given(point_keys)
def test_point_keys(key: str) -> None:
    assert is_point_key(key)
    assert not is_point_key(key + "/")
    assert not is_point_key("/" + key)
    assert not is_point_key(key.upper() + "A/b")
    assert not is_point_key(key + "\n")


def test_a_point_key_has_at_most_64_bytes() -> None:
    assert is_point_key("a/" + "b" * 62)
    assert not is_point_key("a/" + "b" * 63)
    assert not is_point_key("井-1/ch4")


def test_a_resolution_is_exact() -> None:
    assert Catalogue.from_body(CATALOGUE.body).points[0].resolution == Fraction(1, 10)
