"""The account of probes: short ones, long ones, and what stops them; what they cost together is ``test_laws.py``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bus.probes import LONG_ANYWAY, LONG_PROBE, LONG_REST_S, PROBE_SHARE, UNKNOWN_S, ProbeAccount

S = 1_000_000


def wait(
    account: ProbeAccount, now_s: float, *, since: int = LONG_PROBE, slowest_us: int | None = 20_000, most: float = 1.0
) -> tuple[float, bool]:
    return account.wait_s(round(now_s * S), since_long=since, slowest_us=slowest_us, short_s=0.5, max_reply_s=most)


def test_the_first_probe_is_long_and_the_next_ones_are_not() -> None:
    account = ProbeAccount(0, 1.0)
    assert wait(account, 0) == (1.0, True)
    account.charge(S)
    assert wait(account, 100, since=0) == (0.5, False)
    assert wait(account, 100, since=LONG_PROBE - 1) == (0.5, False)
    assert wait(account, 100) == (1.0, True)


def test_a_device_that_never_answered_is_probed_shorter() -> None:
    assert wait(ProbeAccount(0, 1.0), 0, since=0, slowest_us=None) == (UNKNOWN_S, False)


def test_long_probes_of_a_line_keep_apart() -> None:
    account = ProbeAccount(0, 1.0)
    assert wait(account, 0) == (1.0, True)
    assert wait(account, LONG_REST_S - 0.1, since=LONG_ANYWAY) == (0.5, False)
    assert wait(account, LONG_REST_S, since=LONG_ANYWAY) == (1.0, True)


def test_an_empty_account_waits_for_the_longest_backoff() -> None:
    account = ProbeAccount(0, 1.0)
    assert account.allows(0, 24 * S)
    account.charge(10 * S)
    assert not account.allows(S, 24 * S)
    assert account.allows(24 * S, 24 * S)
    assert wait(account, 24) == (0.5, False)
    assert wait(account, 24, since=LONG_ANYWAY) == (1.0, True)


def test_a_device_whose_every_wait_is_short_has_no_long_probe_to_pay() -> None:
    account = ProbeAccount(0, 0.5)
    assert wait(account, 0, most=0.5) == (0.5, True)
    assert wait(account, 1, most=0.5, since=0) == (0.5, True)


@given(st.lists(st.tuples(st.integers(0, 10 * S), st.integers(0, 2 * S)), max_size=40))
def test_what_an_account_allows_is_its_share(steps: list[tuple[int, int]]) -> None:
    account = ProbeAccount(0, 1.0)
    now = 0
    for passed, took in steps:
        now += passed
        if account.allows(now, now + 1):
            account.charge(took)
    # The account begins with 1.5 s, and the last probe may overdraw it by what it took.
    assert account.spent_us <= PROBE_SHARE * now + 1.5 * S + 2 * S + 100
