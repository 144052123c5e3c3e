"""How surely a unit that answers is a device of one profile.

Pure: what its registers said in, a verdict with its evidence out; ``edge-agent scan`` asks.
Needs the profile model, so not for the daemon.  A register that a unit refuses or does not
answer is no evidence against it: maps differ between firmwares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from drivers.build import field_read
from drivers.plan import IdentityRead
from drivers.profile import Profile, RecogniseProfile


class Surely(IntEnum):
    """How surely; a higher one is surer."""

    #: a sign says that it is something else
    NO = 0
    #: nothing was read that would tell
    UNKNOWN = 1
    #: something fits that many devices say
    POSSIBLE = 2
    #: what fits, sister models say too
    LIKELY = 3
    #: it said what only this device is known to say
    SURE = 4


_BY_PROOF = {"hint": Surely.POSSIBLE, "family": Surely.LIKELY, "model": Surely.SURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A verdict on one profile."""

    profile: str
    surely: Surely
    #: one per sign that was read: field, what it said, whether that fits
    evidence: tuple[tuple[str, str, bool], ...]


def recognition_reads(profile: Profile) -> tuple[IdentityRead, ...]:
    """Returns what must be read of a unit to recognise it, the strongest signs first."""
    signs = sorted(profile.recognise, key=lambda sign: -_BY_PROOF[sign.proves])
    return tuple(field_read(profile, name) for name in dict.fromkeys(sign.field for sign in signs))


def match_profile(profile: Profile, readings: Mapping[str, str | None], unit_id: int) -> Match:
    """Returns how surely a unit is a device of this profile.

    Args:
        profile: that may fit.
        readings: field name -> what ``drivers.plan.read_identity`` made of its words; None, or left
            out, where the unit gave no answer or an exception.
        unit_id: the address that was asked.
    """
    evidence: list[tuple[str, str, bool]] = []
    met: list[Surely] = []
    for sign in profile.recognise:
        said = readings.get(sign.field)
        if said is None:
            continue
        fits = _fits(sign, said, unit_id)
        evidence.append((sign.field, said, fits))
        met.append(_BY_PROOF[sign.proves] if fits else Surely.NO)
    surely = Surely.UNKNOWN if not met else Surely.NO if Surely.NO in met else max(met)
    return Match(profile=profile.id, surely=surely, evidence=tuple(evidence))


def _fits(sign: RecogniseProfile, said: str, unit_id: int) -> bool:
    if sign.starts:
        return said.startswith(sign.starts)
    if sign.equals and isinstance(sign.equals[0], str):
        return said in sign.equals
    try:
        number = int(said)
    except ValueError:
        return False
    if sign.own_address:
        return number == unit_id
    if sign.between is not None:
        return sign.between[0] <= number <= sign.between[1]
    return number in sign.equals
