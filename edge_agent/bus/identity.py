"""Whether the unit that answers is the one that the site file declares: a table.

The serial number is read at the start and after every silence, because that is when units are
swapped.  Another unit's values are not this point's: they become ``bad: other device`` until a person
accepts the unit (``edge-agent replace``) or the right one is back.  A unit that does not tell its
number is not accused: its values count, and health says that it was not checked.

=============  =============  =============  =============  =============
state          same number    other number   not told       silence over
=============  =============  =============  =============  =============
``unchecked``  ``same``       ``other``      ``untold``
``same``       ``same``       ``other``                     ``unchecked``
``other``      ``same``       ``other``                     ``unchecked``
``untold``     ``same``       ``other``      ``untold``     ``unchecked``
=============  =============  =============  =============  =============

An empty place changes nothing: no answer, or one that makes no sense, says nothing about a
number that was read before.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from contracts.quality import OTHER_DEVICE, Quality, quality_of

#: a unit that was another is asked again so often, because the right one can come back without a silence (us)
ASK_AGAIN_US = 60_000_000
#: over-range is one of them: it would raise an alarm at this point
_MEASURED = (Quality.GOOD, Quality.UNCERTAIN)


class Identity(Enum):
    """What is known of the unit; the value is how health shows it."""

    UNCHECKED = "unchecked"
    SAME = "same"
    OTHER = "other"
    UNTOLD = "untold"


class Told(Enum):
    """What happened."""

    SAME_NUMBER = "same number"
    OTHER_NUMBER = "other number"
    #: it answers, and has no such register or an empty one
    NOT_TOLD = "not told"
    #: it was silent and answers again
    SILENCE_OVER = "silence over"


TABLE: Mapping[Identity, Mapping[Told, Identity]] = MappingProxyType(
    {
        Identity.UNCHECKED: MappingProxyType(
            {
                Told.SAME_NUMBER: Identity.SAME,
                Told.OTHER_NUMBER: Identity.OTHER,
                Told.NOT_TOLD: Identity.UNTOLD,
            }
        ),
        Identity.SAME: MappingProxyType(
            {
                Told.SAME_NUMBER: Identity.SAME,
                Told.OTHER_NUMBER: Identity.OTHER,
                Told.SILENCE_OVER: Identity.UNCHECKED,
            }
        ),
        Identity.OTHER: MappingProxyType(
            {
                Told.SAME_NUMBER: Identity.SAME,
                Told.OTHER_NUMBER: Identity.OTHER,
                Told.SILENCE_OVER: Identity.UNCHECKED,
            }
        ),
        Identity.UNTOLD: MappingProxyType(
            {
                Told.SAME_NUMBER: Identity.SAME,
                Told.OTHER_NUMBER: Identity.OTHER,
                Told.NOT_TOLD: Identity.UNTOLD,
                Told.SILENCE_OVER: Identity.UNCHECKED,
            }
        ),
    }
)


def step(state: Identity, told: Told) -> Identity:
    """Returns the state after one thing that happened; what a state does not list changes nothing."""
    return TABLE[state].get(told, state)


def compare(declared: str, said: str) -> Told:
    """Returns what a serial number says beside the declared one.

    Letters count alike in both cases; numbers count without leading zeros, since a register
    cannot show them.  Zero, or nothing but blanks, is no number.
    """
    said, declared = said.strip().casefold(), declared.strip().casefold()
    if not said.strip("0"):
        return Told.NOT_TOLD
    if said == declared or (said.isdecimal() and declared.isdecimal() and said.lstrip("0") == declared.lstrip("0")):
        return Told.SAME_NUMBER
    return Told.OTHER_NUMBER


def codes_of_another(codes: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the quality codes of a row that another unit gave: no value is this point's, what is missing stays so."""
    return tuple(OTHER_DEVICE if quality_of(code) in _MEASURED else code for code in codes)
