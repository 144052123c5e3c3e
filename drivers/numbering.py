"""The maker's sequence for a new address or new line settings, as writes in order.

Pure: a profile and numbers in, steps out; who writes them, asks the person and checks the
unit afterwards is ``edge-agent number``.  Needs the profile model, so not for the daemon.

After the last step, and after a power cycle where the profile asks for one, the unit must
answer at its new address; only then has it been numbered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from drivers.errors import Problem, ProfileError
from drivers.profile import Profile
from drivers.profile_actions import ChangeStep, expression

BROADCAST = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberStep:
    """One write, ready to be sent."""

    does: Literal["unlock", "address", "line", "save", "restart"]
    #: 0 is the broadcast
    unit_id: int
    #: 5, 6, 15 or 16
    function: int
    address: int
    values: tuple[int, ...]
    #: unit ids that the answer may carry; empty: nobody answers
    answered_by: tuple[int, ...]
    #: pause after it
    wait_ms: int
    note: str


def numbering_steps(profile: Profile, old: int, new: int) -> tuple[NumberStep, ...]:
    """Returns the writes that take a unit from one address to another.

    Args:
        profile: of the unit.
        old: its address now, 1..255.
        new: the address that it shall get.

    Raises:
        ProfileError: the profile does not say how, or the unit cannot have that address.
    """
    change = profile.address_change
    if change is None:
        raise _error(profile, "address_change", "is missing: how this device gets an address is not known here")
    if not change.first <= new <= change.last:
        raise _error(profile, "address_change", f"address {new} cannot be set; {change.first} to {change.last} can")
    if not 1 <= old <= 255:
        raise _error(profile, "address_change", f"{old} is no address; 1 to 255 are")
    return tuple(_step(profile, step, old, new, {"old": old, "new": new}) for step in change.steps)


def line_steps(
    profile: Profile, unit_id: int, *, baud: int, parity: str | None = None, stop_bits: int | None = None
) -> tuple[NumberStep, ...]:
    """Returns the writes that give a unit other line settings.

    Args:
        profile: of the unit.
        unit_id: its address, which stays.
        baud: what it shall be set to.
        parity: ``none``, ``even`` or ``odd``; needed where a step writes it.
        stop_bits: needed where a step writes them.

    Raises:
        ProfileError: the profile does not say how, or the unit cannot be set so.
    """
    change = profile.line_change
    if change is None:
        raise _error(profile, "line_change", "is missing: how this device gets another baud rate is not known here")
    codes: dict[str, int] = {"baud": _code(profile, "bauds", change.bauds, baud)}
    used = {name for step in change.steps for name in step.names}
    if "parity" in used:
        codes["parity"] = _code(profile, "parities", change.parities, parity)
    if "stop_bits" in used:
        codes["stop_bits"] = _code(profile, "stop_bits", change.stop_bits, stop_bits)
    return tuple(_step(profile, step, unit_id, unit_id, codes) for step in change.steps)


def _step(profile: Profile, step: ChangeStep, old: int, new: int, numbers: Mapping[str, int]) -> NumberStep:
    units = {"old": (old,), "new": (new,), "either": (old, new), "broadcast": (BROADCAST,), "none": ()}
    answered = step.answered_by or ("none" if step.to == "broadcast" else step.to)
    return NumberStep(
        does=step.does,
        unit_id=units[step.to][0],
        function=step.function,
        address=step.address,
        values=tuple(_value(profile, value, numbers) for value in step.values),
        answered_by=tuple(dict.fromkeys(units[answered])),
        wait_ms=step.wait_ms,
        note=step.note,
    )


def _value(profile: Profile, value: int | str, numbers: Mapping[str, int]) -> int:
    if isinstance(value, int):
        return value
    parts = expression(value)
    if parts is None:
        raise _error(profile, "steps", f"{value!r} is no value")
    base, name, shift = parts
    word = base | numbers[name] << shift
    if word > 65535:
        raise _error(profile, "steps", f"{value!r} becomes {word}, which does not fit a register")
    return word


def _code(profile: Profile, table: str, codes: Mapping[Any, int], wanted: int | str | None) -> int:
    for setting, code in codes.items():
        if setting == wanted:
            return code
    known = ", ".join(map(str, codes))
    raise _error(profile, f"line_change.{table}", f"{wanted!r} cannot be set; {known} can")


def _error(profile: Profile, key: str, message: str) -> ProfileError:
    return ProfileError([Problem(file=profile.id, key=key, message=message)])
