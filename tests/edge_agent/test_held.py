"""What may go while data are held."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.held import Held, Waiting
from edge_agent.ranges import Ranges

ranges = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=5).map(
    lambda pairs: list(Ranges([(first, first + more) for first, more in pairs]))
)
waitings = st.dictionaries(st.integers(1, 3), ranges.filter(bool), max_size=3).map(lambda found: sorted(found.items()))


def seqs(waiting: list[Waiting]) -> set[tuple[int, int]]:
    return {(no, seq) for no, found in waiting for first, last in found for seq in range(first, last + 1)}


@given(waitings, st.lists(waitings, max_size=3))
def test_what_may_go_is_what_waits_and_was_let_go(waiting: list[Waiting], let_go: list[list[Waiting]]) -> None:
    held = Held()
    assert held.of(waiting) == waiting
    held.hold()
    free: set[tuple[int, int]] = set()
    for found in let_go:
        held.let_go(found)
        free |= seqs(found)
    assert seqs(held.of(waiting)) == seqs(waiting) & free
    held.open()
    assert held.of(waiting) == waiting
    held.hold()
    assert held.of(waiting) == [], "opening forgets what was let go"
