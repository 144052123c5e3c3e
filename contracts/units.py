"""Units of measurement: UCUM codes, how they are shown, and exact conversion.

UCUM (ucum.org) codes travel on the wire.  UCUM has no unit for "percent of the lower
explosive limit"; its annotation form ``%{LEL}`` is used, likewise ``%{vol}``.
Conversion is by exact fractions within one dimension; nothing here converts between
%LEL, %vol, ppm and mg/m3, because that needs a gas, a basis and a temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from contracts.errors import ContractError


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit of measurement."""

    #: UCUM code, as on the wire
    ucum: str
    #: as shown to people, in both languages
    en: str
    zh: str
    #: units of one dimension convert into each other
    dimension: str
    #: multiply by this to reach the dimension's base unit (pascal, metre, ...)
    factor: Fraction


def _unit(ucum: str, shown: str, dimension: str, factor: Fraction | int = 1, *, zh: str | None = None) -> Unit:
    return Unit(ucum=ucum, en=shown, zh=zh or shown, dimension=dimension, factor=Fraction(factor))


_STANDARD_GRAVITY = Fraction(980665, 100000)  # m/s2, exact by definition (CGPM 1901)

_ALL = (
    _unit("1", "", "number"),
    _unit("%", "%", "fraction"),
    _unit("%{LEL}", "%LEL", "lel"),
    _unit("%{LEL}.m", "%LEL·m", "lel-path"),
    _unit("%{vol}", "%vol", "volume-fraction-percent"),
    _unit("%{RH}", "%RH", "relative-humidity"),
    _unit("[ppm]", "ppm", "ppm"),
    _unit("[ppb]", "ppb", "ppm", Fraction(1, 1000)),
    _unit("mg/m3", "mg/m³", "mass-concentration"),
    _unit("g/m3", "g/m³", "mass-concentration", 1000),
    _unit("ug/m3", "µg/m³", "mass-concentration", Fraction(1, 1000)),
    _unit("Pa", "Pa", "pressure"),
    _unit("kPa", "kPa", "pressure", 1000),
    _unit("MPa", "MPa", "pressure", 1_000_000),
    _unit("mbar", "mbar", "pressure", 100),
    _unit("bar", "bar", "pressure", 100_000),
    _unit("kgf/cm2", "kgf/cm²", "pressure", _STANDARD_GRAVITY * 10_000),
    _unit("[psi]", "psi", "pressure", Fraction(6894757293168, 1_000_000_000)),
    _unit("m[H2O]", "mH₂O", "pressure", _STANDARD_GRAVITY * 1000),
    _unit("mm[H2O]", "mmH₂O", "pressure", _STANDARD_GRAVITY),
    _unit("m", "m", "length"),
    _unit("cm", "cm", "length", Fraction(1, 100)),
    _unit("mm", "mm", "length", Fraction(1, 1000)),
    _unit("um", "µm", "length", Fraction(1, 1_000_000)),
    _unit("[in_i]", "in", "length", Fraction(254, 10_000)),
    _unit("[ft_i]", "ft", "length", Fraction(3048, 10_000)),
    _unit("Cel", "°C", "temperature"),
    _unit("deg", "°", "angle"),
    _unit("deg/s", "°/s", "angular-rate"),
    _unit("[g]", "g", "acceleration", _STANDARD_GRAVITY),
    _unit("m/s2", "m/s²", "acceleration"),
    _unit("mm/s", "mm/s", "velocity", Fraction(1, 1000)),
    _unit("m/s", "m/s", "velocity"),
    _unit("[in_i]/s", "in/s", "velocity", Fraction(254, 10_000)),
    _unit("Hz", "Hz", "frequency"),
    _unit("dB", "dB", "level"),
    _unit("lx", "lx", "illuminance"),
    _unit("uS/cm", "µS/cm", "conductivity"),
    _unit("uT", "µT", "magnetic-field"),
    _unit("mA", "mA", "current", Fraction(1, 1000)),
    _unit("V", "V", "voltage"),
    _unit("mV", "mV", "voltage", Fraction(1, 1000)),
    _unit("m3/h", "m³/h", "volume-flow"),
    _unit("cm3/min", "cm³/min", "volume-flow", Fraction(60, 1_000_000)),
    _unit("s", "s", "time"),
    _unit("h", "h", "time", 3600, zh="小时"),
    _unit("d", "d", "time", 86_400, zh="天"),
)

#: every unit there is, by UCUM code
UNITS: dict[str, Unit] = {item.ucum: item for item in _ALL}


def unit(ucum: str) -> Unit:
    """Returns a unit by its UCUM code.

    Raises:
        ContractError: there is no such unit; the message lists those there are.
    """
    try:
        return UNITS[ucum]
    except KeyError:
        raise ContractError(f"unit {ucum!r} is not known; known are {', '.join(sorted(UNITS))}") from None


def conversion(source: str, target: str) -> Fraction:
    """Returns the exact factor that turns a number in ``source`` into one in ``target``.

    Raises:
        ContractError: a unit is unknown, or the two measure different things.
    """
    a, b = unit(source), unit(target)
    if a.dimension != b.dimension:
        raise ContractError(f"{source!r} measures {a.dimension}, {target!r} measures {b.dimension}")
    return a.factor / b.factor
