"""What every room's tests share: the Hypothesis profiles and the rule for missing Debian tools.

Nothing here knows a room.  ``HYPOTHESIS_PROFILE=ci`` chooses the longer profile.  With ``CI=true`` the same examples
come each time: CI says whether a change broke something, and who works here looks for what nobody has seen yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from tests.debian_tools import find_tool

_ALWAYS = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
    "derandomize": os.environ.get("CI") == "true",
}
settings.register_profile("quick", max_examples=50, **_ALWAYS)
settings.register_profile("ci", max_examples=300, **_ALWAYS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture
def require_tool() -> Callable[[str], str]:
    """A function: name of a command -> its path; skips the test (or fails it in CI) when there is none."""
    return find_tool
