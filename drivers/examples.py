"""Runs the examples of a profile: words of a unit against what they must mean.

Used by tests and by ``check``; not by the daemon.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from contracts.quality import BY_REASON, CODES
from drivers.build import point_step
from drivers.errors import PlanError, ProfileError
from drivers.plan import BlockRead, compile_block
from drivers.profile import Example, Expected, Profile
from drivers.steps import PointStep


def example_problems(profile: Profile) -> list[str]:
    """Returns one sentence per expectation that the profile does not meet."""
    return [
        f"examples[{place}] ({example.name}): {problem}"
        for place, example in enumerate(profile.examples)
        for problem in _problems_of(profile, example)
    ]


def _problems_of(profile: Profile, example: Example) -> list[str]:
    try:
        steps = [
            point_step(profile, name, unit=example.units.get(name)).moved(-example.address) for name in example.expect
        ]
        block = BlockRead(
            table=example.table,
            address=example.address,
            count=len(example.words),
            interval_ms=1000,
            points=tuple(steps),
        )
    except (PlanError, ProfileError) as error:
        return [str(error)]
    values, codes = compile_block(block)(example.words)
    problems = []
    for place, (name, expected) in enumerate(example.expect.items()):
        problem = _difference(steps[place], expected, values[place], 0 if codes is None else codes[place])
        if problem is not None:
            problems.append(f"{name}: {problem}")
    return problems


def _difference(step: PointStep, expected: Expected, value: int | float | None, code: int) -> str | None:
    if code != BY_REASON[expected.quality]:
        return f"quality is {CODES[code].reason}, expected {expected.quality}"
    if value is None or expected.value is None:
        if value is None and expected.value is None:
            return None
        return f"value is {value!r}, expected {expected.value}"
    if step.resolution is not None:
        shown = value * step.resolution if isinstance(value, int) else None
        return None if shown == Fraction(expected.value) else f"value is {shown}, expected {expected.value}"
    wanted = float(Fraction(expected.value))
    if step.kind == "f32":
        wanted = struct.unpack(">f", struct.pack(">f", wanted))[0]
    return None if value == wanted else f"value is {value!r}, expected {expected.value}"
