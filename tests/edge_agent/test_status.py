"""What persons say to the running agent: words that fit what is sealed and kept, or a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.inhibit import Inhibit
from edge_agent.errors import ControlError
from edge_agent.judge import ResetResult
from edge_agent.status import MAX_WORD, operations


class Agent:
    """Takes whatever it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    @property
    def requests(self) -> Agent:
        return self

    def inhibit(self, point: str, **words: Any) -> ResetResult:
        self.told.append(words)
        return ResetResult()

    def reset(self, point: str, rule: str, by: str) -> ResetResult:
        self.told.append({"by": by})
        return ResetResult()


@pytest.mark.parametrize("op", ["inhibit", "alarm-reset"])
@pytest.mark.parametrize(
    ("by", "sentence"),
    [
        ("李" * 86, "by: 258 bytes of UTF-8, at most 256 would be right: 85 Chinese characters"),
        ("\udcc0", "by: not UTF-8; set the terminal to UTF-8"),
        ("  ", "'by' is needed"),
        (3, "'by' is needed"),
    ],
)
async def test_a_name_that_does_not_fit_is_refused_before_it_is_taken(op: str, by: object, sentence: str) -> None:
    agent = Agent()
    request = {"op": op, "point": "a/b", "rule": "r", "reason": "检修", "seconds": 60, "by": by}
    with pytest.raises(ControlError, match=sentence) as caught:
        await operations(agent)[op](request)  # type: ignore[arg-type]
    assert caught.value.exit_status == 2
    assert agent.told == []


async def test_the_longest_reason_that_is_taken_fits_the_wire() -> None:
    agent = Agent()
    reason = "检" * (MAX_WORD // 3)
    request = {"op": "inhibit", "point": "a/b", "reason": reason, "seconds": 60, "by": "李伟"}
    assert await operations(agent)["inhibit"](request) == {}  # type: ignore[arg-type]
    told = Inhibit(point="a/b", since_us=0, until_us=1, reason=agent.told[0]["reason"], by=agent.told[0]["by"])
    assert Inhibit.from_wire(told.to_wire()) == told
