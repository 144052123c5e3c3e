from __future__ import annotations

import pytest

from drivers.late import LONGEST_BOUND_US, LateReplies, Sighting

KEY = (5, 3)


def owing(sent_us: int = 100, until_us: int = 1000) -> LateReplies:
    late = LateReplies()
    late.owe(KEY, sent_us=sent_us, until_us=until_us)
    return late


def test_what_is_owed_blocks_its_key_until_the_bound() -> None:
    late = owing()
    assert late.blocked_until((KEY,), 999) == 1000
    assert late.blocked_until((KEY,), 1000) is None
    assert late.blocked_until(((5, 4),), 500) is None
    assert late.blocked_until(((6, 3),), 500) is None
    assert late.blocked_until(((6, 3), KEY), 500) == 1000
    assert late.is_owed(999)
    assert not late.is_owed(1000)


def test_an_answer_ends_it() -> None:
    late = owing()
    late.answered(KEY, sent_us=1100, replied_us=1200)
    late.answered(KEY, sent_us=1300, replied_us=1400)
    assert late.blocked_until((KEY,), 1500) is None


def test_a_late_reply_ends_nothing_before_the_bound() -> None:
    """It could be an earlier request's, of a unit beyond its bound."""
    late = owing()
    assert late.seen(KEY, 500) is Sighting.LATE
    assert late.blocked_until((KEY,), 600) == 1000
    assert late.seen(KEY, 700) is Sighting.FOREIGN


def test_what_nobody_owes_is_foreign() -> None:
    late = owing()
    assert late.seen((5, 4), 500) is Sighting.FOREIGN
    assert late.seen((6, 3), 500) is Sighting.FOREIGN
    assert LateReplies().seen(KEY, 500) is Sighting.FOREIGN


def test_a_reply_within_its_bound_does_not_raise_it() -> None:
    late = owing()
    late.seen(KEY, 900)
    assert late.bound_us(5, 900) == 900


def test_a_reply_beyond_the_bound_raises_it_and_nothing_lowers_it() -> None:
    late = owing(sent_us=0)
    assert late.seen(KEY, 2000) is Sighting.LATE
    assert late.bound_us(5, 900) == 2500
    assert late.bound_us(5, 9000) == 9000
    assert late.bound_us(6, 900) == 900
    late.owe(KEY, sent_us=10_000, until_us=11_000)
    late.seen(KEY, 11_200)
    assert late.bound_us(5, 900) == 2500


def test_a_bound_has_an_end() -> None:
    late = owing(sent_us=0)
    late.seen(KEY, 10**12)
    assert late.bound_us(5, 900) == LONGEST_BOUND_US


def test_one_reply_too_many_tells_that_the_answer_before_was_an_earlier_ones() -> None:
    late = owing(sent_us=0, until_us=1000)
    late.answered(KEY, sent_us=1200, replied_us=1500)  # the reply to the first, after 1500
    assert late.bound_us(5, 1000) == 1000
    assert late.seen(KEY, 2700) is Sighting.DOUBTFUL
    assert late.bound_us(5, 1000) == 1875
    assert late.seen(KEY, 2800) is Sighting.FOREIGN


def test_a_chain_of_answers_one_behind_is_told_by_its_end() -> None:
    """Sends 0, 1.02, 1.51 (time-out), 2.515, 2.53; a unit that takes 1.5 each; all in milliseconds."""
    late = owing(sent_us=0, until_us=1000)
    late.answered(KEY, sent_us=1020, replied_us=1500)
    late.owe(KEY, sent_us=1510, until_us=2510)
    late.answered(KEY, sent_us=2515, replied_us=2520)
    late.answered(KEY, sent_us=2530, replied_us=3010)
    assert late.bound_us(5, 1000) == 1000
    assert late.seen(KEY, 4015) is Sighting.DOUBTFUL
    assert late.bound_us(5, 1000) >= 1500


@pytest.mark.parametrize("lost", [1, 2, 20])
def test_lost_replies_alone_raise_nothing(lost: int) -> None:
    late = LateReplies()
    for number in range(lost):
        late.owe(KEY, sent_us=2000 * number, until_us=2000 * number + 1000)
    for number in range(lost, lost + 20):
        late.answered(KEY, sent_us=2000 * number, replied_us=2000 * number + 100)
    assert late.bound_us(5, 0) == 0


def test_what_was_lost_long_ago_is_forgotten() -> None:
    late = owing(sent_us=0, until_us=1000)
    assert late.watch_until(3999) == 4000
    assert late.watch_until(4000) is None
    late.answered(KEY, sent_us=5000, replied_us=5100)
    assert late.seen(KEY, 5200) is Sighting.FOREIGN
    assert late.bound_us(5, 1000) == 1000
