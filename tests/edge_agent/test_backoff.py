"""When the broker is tried again: bounds, jitter, alarms that wait, and a fleet that lost its broker together."""

from __future__ import annotations

import random
import socket
import ssl
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.backoff import URGENT_S, Backoff, Failure
from edge_agent.mqtt_link import kind_of

failures = st.sampled_from(Failure)


@pytest.mark.parametrize(
    ("attempt", "failure", "most_s"),
    [
        (0, Failure.REFUSED, 1),
        (3, Failure.REFUSED, 8),
        (6, Failure.REFUSED, 60),
        (99, Failure.REFUSED, 60),
        (3, Failure.UNREACHED, 8),
        (99, Failure.UNREACHED, 20),
    ],
)
def test_the_bound_doubles_up_to_what_the_failure_allows(attempt: int, failure: Failure, most_s: float) -> None:
    assert Backoff(attempt=attempt).bound_s(failure) == most_s


def test_a_site_may_bound_it_lower_and_never_higher() -> None:
    assert Backoff(attempt=9, most_s=5).bound_s(Failure.REFUSED) == 5
    assert Backoff(attempt=9, most_s=300).bound_s(Failure.UNREACHED) == 20


@given(st.integers(0, 200), failures, st.floats(0, 1), st.floats(0, 100))
def test_with_alarms_waiting_two_tries_begin_at_most_ten_seconds_apart(
    attempt: int, failure: Failure, roll: float, tried_s: float
) -> None:
    wait = Backoff(attempt=attempt).wait_s(failure, roll=roll, tried_for_s=tried_s, is_urgent=True)
    assert 0 <= wait <= max(0.0, URGENT_S - tried_s)


@given(st.integers(0, 40), st.floats(0, 1e6))
def test_health_makes_up_for_failures_and_a_minute_for_all(attempt: int, up_s: float) -> None:
    left = Backoff(attempt=attempt).ended(up_s).attempt
    assert 0 <= left <= attempt
    if up_s >= 60:
        assert left == 0


def test_a_broker_that_takes_us_and_drops_us_is_backed_off_from() -> None:
    patience = Backoff()
    for _ in range(20):
        patience = patience.ended(0.2).failed()
    assert patience.bound_s(Failure.REFUSED) == 60


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(), Failure.REFUSED),
        (ConnectionResetError(), Failure.REFUSED),
        (ssl.SSLCertVerificationError(), Failure.REFUSED),
        (TimeoutError(), Failure.UNREACHED),
        (socket.gaierror(), Failure.UNREACHED),
        (OSError(101, "Network is unreachable"), Failure.UNREACHED),
        (OSError(113, "No route to host"), Failure.UNREACHED),
    ],
)
def test_what_went_wrong_says_whether_somebody_was_reached(error: Exception, kind: Failure) -> None:
    assert kind_of(error) is kind


def _back_after(outage_s: float, roll: random.Random) -> float:
    """Virtual time: when one of a fleet reaches a broker again that refuses for ``outage_s``."""
    now, patience = 0.0, Backoff()
    while True:
        now += patience.wait_s(Failure.REFUSED, roll=roll.random(), tried_for_s=0, is_urgent=False)
        if now >= outage_s:
            return now - outage_s
        patience = patience.failed()


def test_a_fleet_does_not_come_back_in_one_second() -> None:
    roll = random.Random(7)
    back = [_back_after(120, roll) for _ in range(1000)]
    bins = Counter(int(at) for at in back)
    assert max(bins.values()) <= 50, "1000 gateways, 1 s bins"
    assert max(back) <= 60


class _NoJitter(random.Random):
    def random(self) -> float:
        return 1.0


def test_without_jitter_it_would() -> None:
    bins = Counter(int(_back_after(120, _NoJitter())) for _ in range(1000))
    assert max(bins.values()) == 1000
