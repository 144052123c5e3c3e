from __future__ import annotations

from drivers.late import LONGEST_BOUND_US, LateReplies

KEY = (5, 3)


def test_what_is_owed_blocks_its_key_until_the_bound() -> None:
    late = LateReplies()
    late.owe(KEY, sent_us=100, until_us=1000)
    assert late.blocked_until(KEY, 999) == 1000
    assert late.blocked_until(KEY, 1000) is None
    assert late.blocked_until((5, 4), 500) is None
    assert late.blocked_until((6, 3), 500) is None


def test_an_answer_ends_it() -> None:
    late = LateReplies()
    late.owe(KEY, sent_us=100, until_us=1000)
    late.answered(KEY)
    late.answered(KEY)
    assert late.blocked_until(KEY, 500) is None
    assert not late.seen(KEY, 500)


def test_a_reply_in_time_does_not_raise_the_bound() -> None:
    late = LateReplies()
    late.owe(KEY, sent_us=100, until_us=1000)
    assert late.seen(KEY, 900)
    assert late.bound_us(5, 900) == 900


def test_a_reply_beyond_the_bound_raises_it_and_nothing_lowers_it() -> None:
    late = LateReplies()
    late.owe(KEY, sent_us=0, until_us=1000)
    assert late.seen(KEY, 2000)
    assert late.bound_us(5, 900) == 2500
    assert late.bound_us(5, 9000) == 9000
    assert late.bound_us(6, 900) == 900
    late.owe(KEY, sent_us=0, until_us=1000)
    late.seen(KEY, 1200)
    assert late.bound_us(5, 900) == 2500


def test_a_reply_of_unknown_time_raises_nothing() -> None:
    late = LateReplies()
    late.owe(KEY, sent_us=0, until_us=1000)
    assert late.seen(KEY, None)
    assert late.bound_us(5, 900) == 900


def test_a_bound_has_an_end() -> None:
    late = LateReplies()
    late.owe(KEY, sent_us=0, until_us=1000)
    late.seen(KEY, 10**12)
    assert late.bound_us(5, 900) == LONGEST_BOUND_US
