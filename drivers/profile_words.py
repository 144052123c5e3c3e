"""The small types that a profile is made of: names, exact numbers, addresses, known words.

Part of the profile model (``drivers.profile``); needs pydantic, so not for the daemon.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from contracts.quality import BY_REASON
from contracts.quantities import QUANTITIES
from contracts.units import UNITS
from drivers.plan import TABLES

NAME = r"^[a-z0-9-]{1,32}$"


def _one_of(word: str, known: dict[str, object] | frozenset[str], what: str) -> str:
    if word not in known:
        raise ValueError(f"{what} {word!r} is not known; known are {', '.join(sorted(known))}")
    return word


def _int_key(key: object) -> object:
    """Table keys are text in TOML: ``5``, ``0x11``."""
    if isinstance(key, str):
        try:
            return int(key, 0)
        except ValueError:
            raise ValueError(f"key {key!r} is not an integer") from None
    return key


def _fraction(text: str) -> str:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'{text!r} is not an exact number; write "0.01" or "16/32768"') from None
    if value <= 0:
        raise ValueError(f"{text!r} is not above 0")
    return text


def _number(text: str) -> str:
    try:
        Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'{text!r} is not an exact number; write "-0.5" or "100"') from None
    return text


def _number_text(value: object) -> object:
    """Numbers may be written bare; they are kept as exact text."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


IntKey = Annotated[int, BeforeValidator(_int_key)]
Resolution = Annotated[str, AfterValidator(_fraction)]
Number = Annotated[str, BeforeValidator(_number_text), AfterValidator(_number)]
Unit = Annotated[str, AfterValidator(lambda word: _one_of(word, dict(UNITS), "unit"))]
QualityWord = Annotated[str, AfterValidator(lambda word: _one_of(word, dict(BY_REASON), "quality"))]
QuantityName = Annotated[str, AfterValidator(lambda word: _one_of(word, dict(QUANTITIES), "quantity"))]
TableName = Annotated[str, AfterValidator(lambda word: _one_of(word, dict(TABLES), "table"))]
Address = Annotated[int, Field(ge=0, le=65535)]
Word = Annotated[int, Field(ge=0, le=65535)]
UnitId = Annotated[int, Field(ge=1, le=255)]
Baud = Annotated[int, Field(ge=300, le=4_000_000)]
Milliseconds = Annotated[int, Field(ge=0, le=60_000)]
Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class Model(BaseModel):
    """A table of a profile: strict, without unknown keys, unchangeable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Names(Model):
    """A name in both languages."""

    en: Text
    zh: Text
