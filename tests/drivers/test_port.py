from __future__ import annotations

import pytest

from contracts.quality import CODES, DEVICE_EXCEPTION, Quality, quality_of
from drivers.port import EXCEPTION_CODES, exception_quality


@pytest.mark.parametrize("exception", range(256))
def test_every_exception_is_a_missing_value(exception: int) -> None:
    code = exception_quality(exception)
    assert code in CODES
    assert quality_of(code) is Quality.MISSING
    if exception not in EXCEPTION_CODES:
        assert code == DEVICE_EXCEPTION
