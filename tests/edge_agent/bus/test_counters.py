"""What is counted: the histogram's promise, windows, and facts that health can carry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts import quality
from contracts.batch import HealthRecord
from edge_agent.bus.counters import DeviceCounters, Latency, PortCounters, bucket, bucket_end

TIMES = st.lists(st.integers(0, 10**9), min_size=1, max_size=60)


@given(st.integers(0, 10**9))
def test_a_bucket_is_at_most_a_quarter_wide(us: int) -> None:
    end = bucket_end(bucket(us))
    assert us <= end <= us * 1.25
    assert bucket(end) == bucket(us)
    assert bucket(end + 1) == bucket(us) + 1


@given(TIMES, st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_never_too_low(times: list[int], share: float) -> None:
    latency = Latency()
    for us in times:
        latency.add(us)
    found = latency.percentile(share)
    assert found is not None
    assert sum(us <= found for us in times) >= share * len(times)
    assert min(times) <= found <= max(times)


@given(TIMES, TIMES)
def test_two_windows_are_as_one(first: list[int], second: list[int]) -> None:
    one, other, both = Latency(), Latency(), Latency()
    for us in first:
        one.add(us)
        both.add(us)
    for us in second:
        other.add(us)
        both.add(us)
    assert one.merged(other).facts() == both.facts()


def test_no_answers_no_numbers() -> None:
    assert Latency().facts() == []
    assert Latency().percentile(0.5) is None
    assert DeviceCounters().slowest_us is None


def test_latency_is_of_the_last_windows_only() -> None:
    counters = DeviceCounters()
    counters.latency.add(900_000)
    counters.roll()
    counters.latency.add(10_000)
    assert counters.slowest_us == 900_000
    counters.roll()
    assert counters.slowest_us == 10_000


def test_facts_travel() -> None:
    counters = DeviceCounters()
    counters.latency.add(1500)
    counters.failed(quality.NO_REPLY, 77, "waited 0.2 s")
    facts = dict(counters.facts())
    assert facts["failed_no_reply"] == 1
    assert facts["last_error"] == "no_reply: waited 0.2 s"
    assert facts["latency_max_ms"] == 1.5
    record = HealthRecord(subject="device/d1", mono_us=1, facts=tuple(counters.facts()))
    assert HealthRecord.from_wire(record.to_wire()) == record


def test_bus_load_is_of_the_last_windows() -> None:
    counters = PortCounters(0)
    counters.busy_us = 30_000_000
    counters.late_us = 5_000
    counters.roll(60_000_000)
    counters.busy_us = 10_000_000
    assert dict(counters.facts(80_000_000)) == {"bus_load": 0.5, "late_worst_ms": 5.0, "faults": 0}
    counters.roll(80_000_000)
    assert dict(counters.facts(80_000_000))["bus_load"] == 0.5
