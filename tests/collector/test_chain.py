"""The ledger: any order and any repetition of batches and losses end in the same place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.chain import EMPTY, Entry, Ledger, add, add_next, cover


def digest(seq: int, fork: int = 0) -> bytes:
    return f"{seq}/{fork}".encode()


def play(steps: list[tuple[str, int, int, int]]) -> Ledger:
    """Plays (kind, first, last, fork) steps the way the store does."""
    batches: dict[int, dict[bytes, Entry]] = {}
    losses: dict[int, Entry] = {}

    def known(seq: int) -> list[Entry]:
        return [*batches.get(seq, {}).values(), *([losses[seq]] if seq in losses else [])]

    ledger = EMPTY
    for kind, first, last, fork in steps:
        if kind == "loss":
            losses[last] = Entry(digest(last), None)
            ledger = cover(ledger, first, last, known)
        else:
            previous = b"wrong" if kind == "unlinked" else digest(first - 1) if first > 1 else b""
            batches.setdefault(first, {})[digest(first, fork)] = Entry(digest(first, fork), previous)
            ledger = add(ledger, first, known)
    return ledger


batch = st.integers(1, 12).map(lambda seq: ("batch", seq, seq, 0))
fork = st.integers(1, 12).map(lambda seq: ("batch", seq, seq, 1))
unlinked = st.integers(2, 12).map(lambda seq: ("unlinked", seq, seq, 2))
loss = st.tuples(st.integers(1, 12), st.integers(0, 4)).map(lambda t: ("loss", t[0], t[0] + t[1], 0))


@given(st.lists(st.one_of(batch, batch, batch, fork, unlinked, loss), max_size=25).flatmap(
    lambda steps: st.tuples(st.just(steps), st.permutations(steps + steps[: len(steps) // 2]))
))  # fmt: skip
def test_any_order_and_repetition_give_the_same_ledger(
    both: tuple[list[tuple[str, int, int, int]], list[tuple[str, int, int, int]]],
) -> None:
    steps, shuffled = both
    assert play(steps) == play(shuffled)


def test_in_order() -> None:
    ledger = play([("batch", n, n, 0) for n in range(1, 6)])
    assert (ledger.contiguous, ledger.newest, ledger.missing(), ledger.forks, ledger.breaks) == (5, 5, (), (), ())


def test_holes_are_missing_until_a_loss_covers_them() -> None:
    steps = [("batch", 1, 1, 0), ("batch", 4, 4, 0)]
    assert play(steps).missing(6) == ((2, 3), (5, 6))
    assert play(steps).beyond() == ((4, 4),)
    healed = play([*steps, ("loss", 2, 3, 0)])
    assert healed.contiguous == 4
    assert healed.breaks == ()


def test_two_digests_for_one_seq_are_a_fork_and_both_stay() -> None:
    ledger = play([("batch", 1, 1, 0), ("batch", 1, 1, 1), ("batch", 2, 2, 0)])
    assert ledger.forks == (1,)
    assert ledger.contiguous == 2
    assert ledger.breaks == ()


def test_a_batch_that_names_another_previous_one_is_a_break() -> None:
    assert play([("batch", 1, 1, 0), ("unlinked", 2, 2, 2)]).breaks == (2,)


def test_the_short_way_is_the_long_way() -> None:
    ledger = play([("batch", 1, 1, 0), ("batch", 2, 2, 0)])
    assert add_next(ledger, 3) == play([("batch", n, n, 0) for n in (1, 2, 3)])
    assert add_next(ledger, 4) is None
    assert add_next(EMPTY, 1) is None


def test_text_and_back() -> None:
    ledger = play([("batch", 1, 1, 0), ("batch", 3, 3, 0), ("batch", 3, 3, 1), ("unlinked", 4, 4, 2)])
    assert Ledger.from_text(*ledger.to_text()) == ledger
    assert ledger.holds(3)
    assert not ledger.holds(2)
    assert ledger.total == 3
