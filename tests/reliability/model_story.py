"""One history as plain calls: what happens is in the ``with`` block, and at its end everything must come out right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.reliability.model_checks import check_all
from tests.reliability.model_world import World


@contextmanager
def history(folder: Path, *, quota_bytes: int = 1 << 24) -> Iterator[World]:
    """Yields a world; afterwards it is repaired, drained and checked.

    Raises:
        AssertionError: something did not hold.
    """
    world = World(folder, quota_bytes=quota_bytes)
    try:
        yield world
        world.look()
        world.heal()
        check_all(world)
    finally:
        world.close()
