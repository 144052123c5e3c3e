"""Units: exact conversion, and none across dimensions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError
from contracts.units import UNITS, conversion, unit

_ucum = st.sampled_from(sorted(UNITS))


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [
        ("bar", "kPa", Fraction(100)),
        ("mbar", "Pa", Fraction(100)),
        ("MPa", "bar", Fraction(10)),
        ("kgf/cm2", "Pa", Fraction(980665, 10)),
        ("m[H2O]", "mm[H2O]", Fraction(1000)),
        ("cm", "m", Fraction(1, 100)),
        ("mm", "cm", Fraction(1, 10)),
        ("[ppb]", "[ppm]", Fraction(1, 1000)),
        ("g/m3", "mg/m3", Fraction(1000)),
        ("[g]", "m/s2", Fraction(980665, 100000)),
        ("d", "s", Fraction(86400)),
    ],
)
def test_known_conversions(source: str, target: str, factor: Fraction) -> None:
    assert conversion(source, target) == factor


@given(_ucum, _ucum)
def test_conversion_is_exact_both_ways_or_refused(a: str, b: str) -> None:
    if UNITS[a].dimension == UNITS[b].dimension:
        assert conversion(a, b) * conversion(b, a) == 1
    else:
        with pytest.raises(ContractError, match="measures"):
            conversion(a, b)


@pytest.mark.parametrize("pair", [("%{LEL}", "%{vol}"), ("[ppm]", "mg/m3"), ("%", "%{RH}"), ("Cel", "deg")])
def test_nothing_converts_between_things_that_need_more_knowledge(pair: tuple[str, str]) -> None:
    with pytest.raises(ContractError):
        conversion(*pair)


def test_an_unknown_unit_is_named_with_those_there_are() -> None:
    with pytest.raises(ContractError, match=r"'furlong'.*kPa"):
        unit("furlong")


def test_every_unit_is_shown_in_both_languages() -> None:
    assert all(item.ucum == ucum for ucum, item in UNITS.items())
    assert all((item.en and item.zh) or item.ucum == "1" for item in UNITS.values())
    assert all(item.factor > 0 for item in UNITS.values())
