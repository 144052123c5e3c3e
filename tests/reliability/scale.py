"""How often a reliability test repeats itself: once for CI, more often in the long form.

``make torture`` sets ``QIANSHAO_TORTURE=1``; 2 and more repeats the long form so many times over.
"""

from __future__ import annotations

import os


def torture() -> int:
    """Returns how many long forms are wanted; 0: the form that CI runs.

    Raises:
        ValueError: ``QIANSHAO_TORTURE`` is no number from 0 on.
    """
    text = os.environ.get("QIANSHAO_TORTURE", "") or "0"
    if not text.isdecimal():
        raise ValueError(
            f"QIANSHAO_TORTURE is {text!r}: 0 (as CI), 1 (the long form) or a multiple of it would be right"
        )
    return int(text)


def times(ci: int, long: int) -> int:
    """Returns how often to repeat: ``ci`` times, or ``long`` times under ``make torture``."""
    return long * torture() if torture() else ci


def seed() -> int:
    """Returns the seed of this run: ``QIANSHAO_SEED``, or one that is made now; the test prints it."""
    text = os.environ.get("QIANSHAO_SEED", "")
    return int(text) if text else int.from_bytes(os.urandom(4), "big")
