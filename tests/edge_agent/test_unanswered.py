"""What was sent and has no receipt: its age grows, it is said once, and once more when it is over."""

from __future__ import annotations

from contracts.batch import Lane
from edge_agent.delivery import BatchKey
from edge_agent.unanswered import SAY_AFTER_US, Unanswered

SECOND = 1_000_000


def data(seq: int) -> BatchKey:
    return 1, Lane.DATA, seq


def test_the_age_is_that_of_the_first_sending_however_often_it_is_repeated() -> None:
    watch = Unanswered()
    assert watch.age_us(5) is None
    for at_s in (1, 11, 21):
        watch.sent(data(1), at_s * SECOND)
        watch.sent(data(2), at_s * SECOND)
    assert watch.age_us(25 * SECOND) == 24 * SECOND


def test_one_batch_that_nobody_gets_shows_although_all_others_are_receipted() -> None:
    watch = Unanswered()
    watch.sent(data(1), 0)
    for seq in range(3, 100):  # 2 is never receipted
        watch.sent(data(seq), seq * SECOND)
        watch.receipted(lambda key: key[2] != 2, [data(seq + 1), data(2)], seq * SECOND)
    assert watch.age_us(100 * SECOND) == 97 * SECOND
    watch.receipted(lambda key: True, [], 101 * SECOND)
    assert watch.age_us(200 * SECOND) is None


def test_alarms_that_are_denied_show_although_data_flow() -> None:
    watch = Unanswered()
    watch.sent((1, Lane.ALARM, 1), 0)
    for seq in range(1, 50):
        watch.sent(data(seq), seq * SECOND)
        watch.receipted(lambda key: key[1] is Lane.DATA, [(1, Lane.ALARM, 1)], seq * SECOND)
    assert watch.age_us(50 * SECOND) == 50 * SECOND


def test_it_is_said_once_when_it_goes_and_once_when_it_is_back() -> None:
    watch = Unanswered()
    assert watch.due_us() is None
    watch.sent(data(1), 0)
    assert watch.due_us() == SAY_AFTER_US
    assert watch.look(SAY_AFTER_US - 1) is None
    assert watch.look(SAY_AFTER_US) == "gone"
    assert watch.look(SAY_AFTER_US * 2) is None
    assert watch.due_us() is None
    watch.receipted(lambda key: True, [data(2)], SAY_AFTER_US * 3)
    assert watch.look(SAY_AFTER_US * 3) == "back"
    assert watch.look(SAY_AFTER_US * 3) is None


def test_after_a_reconnect_everything_is_sent_anew() -> None:
    watch = Unanswered()
    watch.sent(data(1), 0)
    watch.forget()
    assert watch.age_us(SAY_AFTER_US) is None
