"""Faults of a device on its line: what a scenario or a person switches on and off.

Plain records.  The servers act on them; a fault never changes what the sensor measures, except
``frozen``, which holds it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulators.errors import SimulatorError

#: kind -> what the device then does
KINDS: dict[str, str] = {
    "dead": "does not answer",
    "late": "answers after a delay",
    "wrong_crc": "answers with a wrong checksum (serial lines only)",
    "exception": "answers every request with an exception code",
    "frozen": "goes on answering and its values stand still",
    "wrong_unit": "answers in the name of another unit",
}
DEFAULT_DELAY_S = 2.0
#: exception 4: device failure
DEFAULT_EXCEPTION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which faults a device has at one moment."""

    is_dead: bool = False
    #: seconds that the reply is held back; 0 is none
    late_s: float = 0.0
    is_crc_wrong: bool = False
    #: exception code; 0 is none
    exception: int = 0
    is_frozen: bool = False
    is_unit_wrong: bool = False

    def words(self) -> tuple[str, ...]:
        """Returns the kinds that are on."""
        states = (
            self.is_dead,
            self.late_s > 0,
            self.is_crc_wrong,
            self.exception > 0,
            self.is_frozen,
            self.is_unit_wrong,
        )
        return tuple(kind for kind, is_on in zip(KINDS, states, strict=True) if is_on)


HEALTHY = Faults()


def with_fault(
    faults: Faults, kind: str, *, delay_s: float = DEFAULT_DELAY_S, code: int = DEFAULT_EXCEPTION, is_on: bool = True
) -> Faults:
    """Returns the faults with one more, or one less.

    Raises:
        SimulatorError: an unknown kind, or a delay or code that cannot be.
    """
    if kind == "dead":
        return replace(faults, is_dead=is_on)
    if kind == "late":
        if not 0 < delay_s <= 60:
            raise SimulatorError(f"a delay of {delay_s:g} s is not above 0 and up to 60")
        return replace(faults, late_s=delay_s if is_on else 0.0)
    if kind == "wrong_crc":
        return replace(faults, is_crc_wrong=is_on)
    if kind == "exception":
        if not 1 <= code <= 255:
            raise SimulatorError(f"exception code {code} is not from 1 to 255")
        return replace(faults, exception=code if is_on else 0)
    if kind == "frozen":
        return replace(faults, is_frozen=is_on)
    if kind == "wrong_unit":
        return replace(faults, is_unit_wrong=is_on)
    raise SimulatorError(f"fault {kind!r} is not known; known are {', '.join(KINDS)}")


def together(first: Faults, second: Faults) -> Faults:
    """Returns everything that is wrong in either."""
    return Faults(
        is_dead=first.is_dead or second.is_dead,
        late_s=max(first.late_s, second.late_s),
        is_crc_wrong=first.is_crc_wrong or second.is_crc_wrong,
        exception=first.exception or second.exception,
        is_frozen=first.is_frozen or second.is_frozen,
        is_unit_wrong=first.is_unit_wrong or second.is_unit_wrong,
    )
