"""Which device profile a unit's answers fit, how surely, and whether two units share an address.  Pure.

Signs that a profile names (``drivers.matching``) come first.  Where a profile names none, its map
is the evidence: a unit that has every register of it, with unit codes and states that the profile knows, may
be that device, and many others.  Needs the profile model, so not for the daemon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.quality import INVALID, NOT_A_NUMBER, UNIT_MISMATCH, WITH_VALUE
from drivers.build import plan_device
from drivers.errors import DecodeError, ProfileError
from drivers.matching import Match, Surely, match_profile, recognition_reads
from drivers.plan import BlockRead, IdentityRead, compile_block, read_identity
from drivers.profile import Profile
from drivers.steps import FieldRef
from edge_agent.tools.heard import Answer, Outcome
from edge_agent.tools.scan_plan import KnownDevice, Settings

#: table, address, count
Span = tuple[str, int, int]
#: what a unit said to each read that was tried; an answer without words is a refusal or silence
Readings = Mapping[Span, Answer]

_PARITY = {"none": "N", "even": "E", "odd": "O"}
#: a map is tried by its first blocks; more of them prove nothing more
_MOST_BLOCKS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A profile, and what is read to recognise its device."""

    profile: Profile
    signs: tuple[IdentityRead, ...]
    blocks: tuple[BlockRead, ...]

    @property
    def spans(self) -> tuple[Span, ...]:
        """The reads that are needed, signs first."""
        of_signs = [(read.table, read.address, read.count) for read in self.signs]
        of_map = [(block.table, block.address, block.count) for block in self.blocks]
        return tuple(dict.fromkeys([*of_signs, *of_map]))

    def known(self) -> KnownDevice:
        """Returns what the scan's plan needs of it."""
        serial = self.profile.serial
        return KnownDevice(
            profile=self.profile.id,
            unit_id=serial.unit_id,
            settings=Settings(baud=serial.baud, parity=_PARITY[serial.parity], stop_bits=serial.stop_bits),
            questions=self.spans,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A profile that an answer may belong to."""

    profile: str
    surely: Surely
    #: for a person, one fact each: ``device-type: 5 (fits)``
    reasons: tuple[str, ...]


def candidate(profile: Profile) -> Candidate:
    """Returns what recognising a device of this profile needs; nothing is ever written for it."""
    try:
        blocks = tuple(block for block in plan_device(profile) if block.trigger is None)[:_MOST_BLOCKS]
    except ProfileError:
        blocks = ()
    return Candidate(profile=profile, signs=recognition_reads(profile), blocks=blocks)


def spans_to_read(candidates: Iterable[Candidate], unit_id: int, settings: Settings) -> tuple[Span, ...]:
    """Returns all reads once, those of devices that are shipped with this address and these settings first."""

    def rank(one: Candidate) -> tuple[bool, bool, bool]:
        known = one.known()
        return known.unit_id != unit_id, known.settings != settings, not one.signs

    return tuple(dict.fromkeys(span for one in sorted(candidates, key=rank) for span in one.spans))


def fits(candidates: Iterable[Candidate], readings: Readings, unit_id: int, settings: Settings) -> tuple[Fit, ...]:
    """Returns the profiles that may be this unit, surest first, equally sure ones by factory address.

    Args:
        candidates: profiles to compare.
        readings: what the unit said.
        unit_id: its address.
        settings: of the line.
    """
    found: list[tuple[tuple[int, int, str], Fit]] = []
    for one in candidates:
        match = match_profile(one.profile, _fields(one, readings), unit_id)
        surely, reasons = match.surely, _told(match)
        if surely is Surely.NO:
            continue
        by_map, told = _map_fit(one, readings)
        reasons += told
        surely = max(surely, by_map)
        if surely in (Surely.NO, Surely.UNKNOWN):
            continue
        known = one.known()
        factory = (known.unit_id == unit_id) + (known.settings == settings)
        if known.unit_id == unit_id:
            reasons += ("factory address",)
        order = (-surely, -(2 * len(reasons) + factory), one.profile.id)
        found.append((order, Fit(profile=one.profile.id, surely=surely, reasons=reasons)))
    return tuple(fit for _, fit in sorted(found, key=lambda item: item[0]))


def _fields(one: Candidate, readings: Readings) -> dict[str, str | None]:
    said: dict[str, str | None] = {}
    for read in one.signs:
        answer = readings.get((read.table, read.address, read.count))
        if answer is not None and answer.words is not None:
            try:
                said[read.name] = read_identity(read, answer.words)
            except DecodeError:
                said[read.name] = None
    return said


def _told(match: Match) -> tuple[str, ...]:
    return tuple(
        f"{field}: {said} ({'fits' if fits_it else 'does not fit'})" for field, said, fits_it in match.evidence
    )


def _map_fit(one: Candidate, readings: Readings) -> tuple[Surely, tuple[str, ...]]:
    """Says what the registers of the map themselves tell: at most LIKELY, and that only for codes that must fit."""
    if not one.blocks:
        return Surely.UNKNOWN, ()
    numbers = strange = codes_known = zeros = 0
    for block in one.blocks:
        answer = readings.get((block.table, block.address, block.count))
        if answer is None or answer.words is None:
            return Surely.UNKNOWN, ()
        try:
            values, codes = compile_block(block)(answer.words)
        except DecodeError:
            return Surely.UNKNOWN, ()
        zeros += not any(answer.words)
        for place, point in enumerate(block.points):
            code = codes[place] if codes is not None else 0
            if code in (INVALID, NOT_A_NUMBER):
                strange += 1
            elif code == UNIT_MISMATCH:
                # The unit register holds another code than the profile's default: a setting, or another device.
                strange += _unit_code_is_foreign(one, block, place, answer.words)
                codes_known += 1
            elif code in WITH_VALUE:
                numbers += _is_sane(values[place], point.kind)
                codes_known += point.unit_from is not None
    if strange or zeros == len(one.blocks) or not (numbers or codes_known):
        return (Surely.UNKNOWN, ()) if strange else (Surely.POSSIBLE, ("its registers are there and hold 0",))
    if codes_known:
        return Surely.LIKELY, ("its registers are there, and the unit code is one of its own",)
    return Surely.POSSIBLE, ("its registers are there and hold plausible numbers",)


def _unit_code_is_foreign(one: Candidate, block: BlockRead, place: int, words: Sequence[int]) -> bool:
    """Whether the unit code, or the decimals beside it, is none that the profile knows at all."""
    step = block.points[place]
    profile = one.profile.points.get(step.name)
    if profile is None or profile.unit_from is None or step.unit_from is None:
        return True
    if _raw(step.unit_from.field, words) not in profile.unit_from.codes:
        return True
    decimals = step.decimals_from
    return decimals is not None and _raw(decimals.field, words) not in dict(decimals.decimals)


def _raw(field: FieldRef, words: Sequence[int]) -> int | None:
    """Returns what a companion register holds; None where the block does not reach it."""
    if field.offset >= len(words):
        return None
    raw = words[field.offset]
    return (raw & field.mask if field.mask is not None else raw) >> field.shift


def _is_sane(value: int | float | None, kind: str) -> bool:
    """Whether a number looks measured; floats of a wrong word order are astronomically large or small."""
    if value is None:
        return False
    if kind in ("f32", "f64"):
        return value == 0 or 1e-6 <= abs(value) <= 1e9
    return True


# --- two units at one address -------------------------------------------------------------

#: reads that show whether two units share an address; rs485.md-style field practice: a mixture within 20
REPEATS = 20
#: two units that speak at once damage most of what they say; a lower share is a bad wire rather
_DAMAGED_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """What the same question gave again and again."""

    asked: int
    good: int
    damaged: int
    doubled: int
    silent: int
    #: how often each answer of a register that must not change was given, where one was read
    identities: tuple[tuple[str, int], ...] = ()

    @property
    def is_shared(self) -> bool:
        """Whether two units seem to answer at this address, if the line is otherwise good."""
        if len(self.identities) > 1 or self.doubled:
            return True
        is_mixed = self.good > 0 or self.damaged == self.asked - self.silent
        return is_mixed and self.damaged >= max(3, _DAMAGED_SHARE * self.asked)


def count_repeats(answers: Sequence[Answer], identities: Iterable[str] = ()) -> Repeats:
    """Returns the tally of equal questions."""
    outcomes = Counter(answer.outcome for answer in answers)
    return Repeats(
        asked=len(answers),
        good=outcomes[Outcome.GOOD] + outcomes[Outcome.EXCEPTION],
        damaged=outcomes[Outcome.DAMAGED] + outcomes[Outcome.CUT_HEAD],
        doubled=outcomes[Outcome.DOUBLED],
        silent=outcomes[Outcome.SILENT] + outcomes[Outcome.NOISE] + outcomes[Outcome.FOREIGN],
        identities=tuple(sorted(Counter(identities).items())),
    )


def shared_addresses(tallies: Mapping[int, Repeats]) -> tuple[int, ...]:
    """Returns the unit ids that two devices answer.

    Answers given twice, or with two serial numbers, are certain.  Damaged answers among good ones are
    a clash where other addresses are fine; where others are damaged too they are noise, and where nobody
    else is there to compare with they can be either.
    """
    suspects = [unit_id for unit_id, tally in tallies.items() if tally.is_shared]
    certain = [unit_id for unit_id in suspects if tallies[unit_id].doubled or len(tallies[unit_id].identities) > 1]
    others = [tally for unit_id, tally in tallies.items() if unit_id not in suspects]
    are_others_fine = bool(others) and not any(tally.damaged for tally in others)
    return tuple(sorted(suspects if are_others_fine else certain))
