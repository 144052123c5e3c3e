"""The window of history: wide on a wide link, one second on a thin one, whatever it began with."""

from __future__ import annotations

from collections import deque

import pytest

from edge_agent.window import LEAST, Window

MOST = 512 * 1024
SECOND = 1_000_000


def run(window: Window, *, bytes_per_s: int, trip_s: float, seconds: float, size: int = 500) -> tuple[list[float], int]:
    """Drains history through a queue in front of a link, half the window at a time.

    Returns:
        Seconds that an alarm would have stood in the queue, sampled 20 times a second, and the bytes that came through.
    """
    window.share = 0.5
    flying: deque[tuple[int, int]] = deque()  # (sent, back at)
    free_us, in_flight, done = 0, 0, 0
    waits = []
    for now_us in range(0, int(seconds * SECOND), 1000):
        while flying and flying[0][1] <= now_us:
            sent_us, _ = flying.popleft()
            in_flight -= size
            done += size
            window.came_back(sent_us, now_us, is_history=True)
        while in_flight < window.size * window.share:
            free_us = max(free_us, now_us) + size * SECOND // bytes_per_s
            sent_us = max(now_us, flying[-1][0] + 1 if flying else 0)  # a clock never says the same twice here
            flying.append((sent_us, free_us + int(trip_s * SECOND)))
            in_flight += size
            window.sent(sent_us, in_flight)
        if now_us % 50_000 == 0:
            waits.append(max(0, free_us - now_us) / SECOND)
    return waits, done


@pytest.mark.parametrize("bytes_per_s", [2_000, 8_000, 30_000, 125_000])
@pytest.mark.parametrize("trip_s", [0.03, 0.3, 1.2])
def test_on_a_thin_link_nothing_waits_long_and_the_link_is_used(bytes_per_s: int, trip_s: float) -> None:
    waits, done = run(Window(MOST), bytes_per_s=bytes_per_s, trip_s=trip_s, seconds=60)
    # 2 000 bytes/s: the least window is 4 s there, and no protocol of ours goes lower.
    assert max(waits) <= max(1.4, LEAST / 2 / bytes_per_s + 0.5)
    assert done >= 0.5 * 60 * bytes_per_s


def test_on_a_wide_link_it_is_wide_within_a_second() -> None:
    window = Window(MOST)
    run(window, bytes_per_s=10_000_000, trip_s=0.03, seconds=1, size=2000)
    assert window.size == MOST


def test_a_burst_that_meets_an_empty_queue_is_no_reason_to_grow() -> None:
    window = Window(MOST)
    for n in range(20):
        window.sent(n, LEAST)
    window.came_back(0, 10_000, is_history=True)
    assert window.size == LEAST
    window.came_back(19, 500_000, is_history=True)
    assert window.size == LEAST, "neither soon nor late"


def test_it_does_not_grow_while_it_is_not_used() -> None:
    window = Window(MOST)
    window.share = 0.5
    for n in range(1, 50):
        window.sent(n * SECOND, 300)
        window.came_back(n * SECOND, n * SECOND + 1000, is_history=True)
    assert window.size == LEAST


def test_it_shrinks_once_for_all_that_was_sent_before() -> None:
    window = Window(MOST)
    run(window, bytes_per_s=10_000_000, trip_s=0.03, seconds=1, size=2000)
    now = 10 * SECOND
    for n in range(10):
        window.came_back(now - 2 * SECOND + n, now + n, is_history=False)
    size = window.size
    assert MOST // 12 < size < MOST // 8, "in proportion, and once"
    window.gave_up(now)
    assert window.size == size // 2
    for n in range(20):
        window.gave_up(now + n)
    assert window.size == LEAST
    window.restart()
    assert window.size == LEAST
