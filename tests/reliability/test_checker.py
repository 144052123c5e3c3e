"""The checker counts what is wrong, each thing under its own number, and nothing where all is well."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import Lane
from tests.reliability.checker import check
from tests.reliability.oracle import Fact, Kind, Oracle, batch_series, read_facts, reading_series, value_mark
from tests.reliability.scale import times, torture

CHAIN = batch_series("g-abc", b"epoch--1", Lane.DATA)
POINT = reading_series("g-abc", b"\x01" * 16, "well-7/ch4")


def attempt(number: int, mark: str = "", series: str = CHAIN) -> Fact:
    return Fact(Kind.ATTEMPT, series, number, number, mark or f"m{number}")


def stored(number: int, mark: str = "", series: str = CHAIN) -> Fact:
    return Fact(Kind.STORED, series, number, number, mark or f"m{number}")


def read(number: int, mark: str = "", series: str = CHAIN) -> Fact:
    return Fact(Kind.READ, series, number, number, mark or f"m{number}")


def acked(first: int, last: int, mark: str = "", series: str = CHAIN) -> Fact:
    return Fact(Kind.ACKED, series, first, last, mark)


def gap(first: int, last: int, series: str = CHAIN) -> Fact:
    return Fact(Kind.GAP, series, first, last, "quota")


def expect(number: int) -> Fact:
    return Fact(Kind.EXPECT, POINT, number, number)


QUERY = Fact(Kind.READING, "", 0, 0)
MADE = [attempt(1), stored(1), attempt(2), stored(2), attempt(3)]

CASES: dict[str, tuple[list[Fact], tuple[int, int, int, int, int]]] = {
    "nothing at all": ([], (0, 0, 0, 0, 0)),
    "all there": ([*MADE, read(1), read(2), read(3)], (0, 0, 0, 0, 0)),
    "the unpromised one is not there": ([*MADE, read(1), read(2)], (0, 0, 0, 0, 0)),
    "a stored one is lost": ([*MADE, read(1)], (1, 0, 0, 0, 0)),
    "all lost": (MADE, (2, 0, 0, 0, 0)),
    "a stored one that a record explains": ([*MADE, gap(1, 1), read(2)], (0, 0, 0, 0, 0)),
    "acknowledged and not there, although nobody stored it": ([*MADE, acked(1, 3), read(1), read(2)], (1, 0, 0, 0, 0)),
    "acknowledged with the digest of another": (
        [*MADE, acked(1, 2, "other"), read(1), read(2)],
        (0, 0, 0, 1, 0),
    ),
    "nobody made it": ([*MADE, read(1), read(2), read(3), read(4)], (0, 1, 0, 0, 0)),
    "twice": ([*MADE, read(1), read(2), read(2)], (0, 0, 1, 0, 0)),
    "three times": ([*MADE, read(1), read(2), read(2), read(2)], (0, 0, 2, 0, 0)),
    "twice, but in two queries": ([*MADE, QUERY, read(1), read(2), QUERY, read(1), read(2)], (0, 0, 0, 0, 0)),
    "the second query lacks one": ([*MADE, QUERY, read(1), read(2), QUERY, read(1)], (1, 0, 0, 0, 0)),
    "another value": ([*MADE, read(1, "x"), read(2)], (0, 0, 0, 1, 0)),
    "two values by one query": ([*MADE, read(1), read(1, "x"), read(2)], (0, 0, 0, 1, 0)),
    "a number used twice": ([*MADE, attempt(2, "again"), read(1), read(2)], (0, 0, 0, 1, 0)),
    "a number stored twice": ([*MADE, stored(2, "again"), read(1), read(2)], (0, 0, 0, 1, 0)),
    "a hole below the newest": (
        [*MADE, attempt(4), stored(4), read(1), read(2), read(4)],
        (0, 0, 0, 0, 1),
    ),
    "a hole that a record explains": (
        [*MADE, attempt(4), stored(4), gap(3, 3), read(1), read(2), read(4)],
        (0, 0, 0, 0, 0),
    ),
    "a hole below a record": ([attempt(1), attempt(2), gap(2, 2)], (0, 0, 0, 0, 1)),
    "a reading that the grid wants": ([expect(5), expect(10), read(10, series=POINT)], (0, 1, 0, 0, 1)),
    "the grid is full": (
        [attempt(5, series=POINT), expect(5), expect(10), read(5, series=POINT), gap(10, 10, POINT)],
        (0, 0, 0, 0, 0),
    ),
    "readings are no chain": ([attempt(5, series=POINT), read(5, series=POINT)], (0, 0, 0, 0, 0)),
    "a receipt over readings promises those that there are": (
        [attempt(5, series=POINT), attempt(9, series=POINT), acked(1, 8, series=POINT)],
        (1, 0, 0, 0, 0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_histories_have_their_numbers(name: str) -> None:
    facts, numbers = CASES[name]
    verdict = check(facts)
    assert verdict.numbers == numbers, str(verdict)
    assert verdict.is_clean == (not any(numbers))


def test_a_verdict_names_what_it_counts() -> None:
    verdict = check([*MADE, read(1, "x"), read(9)])
    text = str(verdict)
    assert f"{CHAIN} 2: stored, not read" in text
    assert f"{CHAIN} 1: attempted as m1, read as x" in text
    assert f"unexpected 1: {CHAIN} 9" in text
    assert f"{CHAIN} 3: no record says why" in text
    assert "and 95 more" in str(check([stored(number) for number in range(1, 101)]))


def test_what_a_record_explains_is_counted() -> None:
    assert check([*MADE, gap(1, 2)]).explained == 2


def test_a_series_tells_everything_apart() -> None:
    names = {
        batch_series("g-abc", b"epoch--1", Lane.DATA),
        batch_series("g-abc", b"epoch--1", Lane.ALARM),
        batch_series("g-abc", b"epoch--2", Lane.DATA),
        batch_series("g-abd", b"epoch--1", Lane.DATA),
        reading_series("g-abc", b"b", "p/q"),
        reading_series("g-abc", b"c", "p/q"),
    }
    assert len(names) == 6
    assert len({value_mark(1, 0), value_mark(1.0, 0), value_mark(1, 3), value_mark(None, 3)}) == 4


def test_facts_come_back_as_they_were_written(tmp_path: Path) -> None:
    oracle = Oracle(tmp_path / "oracle")
    oracle.attempt(CHAIN, 1, "aa")
    oracle.stored(CHAIN, 1, "aa")
    oracle.acked(CHAIN, 1, 1, "aa")
    oracle.gap(POINT, 7, 9, "bus 故障")
    oracle.expect(POINT, 7)
    oracle.reading()
    oracle.read(CHAIN, 1, "aa")
    with pytest.raises(ValueError, match="neither"):
        oracle.stored(CHAIN, 2, "a\nb")
    oracle.close()
    oracle.close()
    facts = list(read_facts(tmp_path / "oracle"))
    assert [fact.kind.value for fact in facts] == ["attempt", "stored", "acked", "gap", "expect", "reading", "read"]
    assert facts[3] == Fact(Kind.GAP, POINT, 7, 9, "bus 故障")
    assert check(facts).is_clean


def test_half_a_line_at_the_end_is_left_out_and_a_strange_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "oracle"
    path.write_text(f"stored\t{CHAIN}\t1\t1\taa\nstored\t{CHAIN}\t2\t2\ta", encoding="utf-8")
    assert len(list(read_facts(path))) == 1
    path.write_text("stored 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        list(read_facts(path))


def _append(path: Path, name: int) -> None:
    oracle = Oracle(path)
    for number in range(1, 301):
        oracle.attempt(f"batch/g-{name}/e/data", number, "x" * 64)


def test_several_processes_write_to_one_oracle(tmp_path: Path) -> None:
    path = tmp_path / "oracle"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(path, name)) for name in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    facts = list(read_facts(path))
    assert len(facts) == 900
    for name in range(3):
        assert [f.first for f in facts if f.series == f"batch/g-{name}/e/data"] == list(range(1, 301))


@given(st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)))
def test_lost_and_gaps_are_what_sets_say(made: set[int], promised: set[int], found: set[int]) -> None:
    facts = [attempt(n) for n in sorted(made)] + [stored(n) for n in sorted(promised)] + [read(n) for n in found]
    verdict = check(facts)
    top = max([0, *promised, *found])
    assert len(verdict.lost) == len(promised - found)
    assert len(verdict.unexpected) == len(found - made)
    assert len(verdict.gaps) == len(set(range(1, top + 1)) - promised - found)


def test_the_long_form_is_asked_for_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, torn, many in [("", 0, 5), ("0", 0, 5), ("1", 1, 100), ("3", 3, 300)]:
        monkeypatch.setenv("QIANSHAO_TORTURE", text)
        assert (torture(), times(5, 100)) == (torn, many)
    monkeypatch.setenv("QIANSHAO_TORTURE", "yes")
    with pytest.raises(ValueError, match="QIANSHAO_TORTURE"):
        torture()
