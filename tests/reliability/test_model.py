"""The model: gateway, broker and collector in one process and virtual time, any order of steps, five zeros.

Some runs in ``make test``, more in CI, the long form by ``make torture``.  A run that fails prints its steps;
when it was a defect they are kept in ``cases/``.  Every mutant of ``model_mutants.py`` must be found.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.reliability import scale
from tests.reliability.model_machine import Model
from tests.reliability.model_mutants import MUTANTS, Mutant, mutated
from tests.reliability.model_story import history

_SETTINGS = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    verbosity=Verbosity.normal,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught_and_the_real_code_is_not(tmp_path: Path, mutant: Mutant) -> None:
    with history(tmp_path / "real") as world:
        mutant.steps(world)
    with pytest.raises(AssertionError), mutated(mutant), history(tmp_path / "mutant") as world:
        mutant.steps(world)


@pytest.mark.ci
def test_many_histories_end_with_five_zeros() -> None:
    """The same histories each time in CI; ``make torture`` looks for new ones."""
    runs = scale.times(100, 50_000)
    run_state_machine_as_test(
        Model,
        settings=settings(_SETTINGS, max_examples=runs, stateful_step_count=30, derandomize=not scale.torture()),
    )
