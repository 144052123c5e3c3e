"""Test alarms: seen, marked and filtered; they page nobody, ask for no review, and no statement is wrong for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC

import pytest

from collector.database import FILE_NAME, open_reader
from collector.journal import select
from collector.measurement import is_test
from collector.queries import SqliteQueries
from collector.views import AlarmFilter
from collector.web.app import create_app
from collector.web.words import mark_words
from contracts.batch import AlarmEvent, Lane, Statement
from tests.collector.conftest import Bench
from tests.collector.gateways import Gateway
from tests.collector.test_verify import check, remake
from tests.collector.web.fake_city import INFO, FakeChanges, FakeCity, make_alarm

S = 1_000_000
HOUR = 3600 * S


@pytest.fixture
def queries(bench: Bench) -> Iterator[SqliteQueries]:
    made = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)
    yield made
    made.close()


def pair(g: Gateway, at_us: int) -> tuple[AlarmEvent, AlarmEvent]:
    said = {"rule_id": "test", "cause": "test", "severity": "info", "limit": None, "marks": ("test", "by=Li Wei")}
    active = g.event("active", at_us, **said)
    return active, g.event("cleared", at_us + S, raised_by=active.id, **said)


def alarms(g: Gateway, sealed_us: int, *events: AlarmEvent) -> tuple[str, bytes]:
    return g.seal(sealed_us, lane=Lane.ALARM, events=events)


@pytest.mark.parametrize("arrived_us", [101 * S, HOUR])
@pytest.mark.parametrize("is_one_group", [True, False])
def test_it_pages_nobody_and_asks_for_no_review(
    bench: Bench, queries: SqliteQueries, is_one_group: bool, arrived_us: int
) -> None:
    g = bench.gateway
    active, cleared = pair(g, 100 * S)
    messages = [alarms(g, 100 * S, active), alarms(g, 101 * S, cleared)]
    for group in [messages] if is_one_group else [[message] for message in messages]:
        bench.send(*group, at_us=arrived_us)
    (view,) = queries.alarms(standing_only=False)
    assert (view.decision, view.decision_reason, view.is_test) == ("nothing", "test", True)
    assert (view.measurement, view.severity, view.acknowledged_by) == ("cleared", "info", None)
    assert queries.reviews() == []
    assert queries.alarm_counts().to_review == 0
    assert bench.rows("SELECT decision FROM decision") == [("nothing",)]
    assert check(bench).is_true
    remake(bench)
    assert check(bench).is_true
    assert queries.alarms(standing_only=False)[0].is_test


@pytest.mark.parametrize(
    "fields",
    [
        {"rule_id": "test"},
        {"rule_id": "test", "cause": "test"},
        {"cause": "test", "marks": ("test",)},
        {"rule_id": "test", "marks": ("test",)},
    ],
)
def test_what_only_looks_like_one_pages(bench: Bench, queries: SqliteQueries, fields: dict[str, object]) -> None:
    g = bench.gateway
    bench.send(alarms(g, 100 * S, g.event("active", 100 * S, **fields)), at_us=101 * S)
    (view,) = queries.alarms()
    assert (view.decision, view.is_test) == ("page", False)
    assert is_test("test", "test", ("by=x", "test"))


@pytest.mark.parametrize("stated", ["without it", "with it", "with it, after it was over"])
def test_the_two_lists_agree_whether_a_statement_names_it_or_not(
    bench: Bench, queries: SqliteQueries, stated: str
) -> None:
    g = bench.gateway
    active, cleared = pair(g, 100 * S)
    real = g.event("active", 50 * S, rule_hash=b"rule-hash-02")
    bench.send(alarms(g, 100 * S, real, active), at_us=100 * S)
    if stated == "with it, after it was over":
        bench.send(alarms(g, 101 * S, cleared), at_us=101 * S)
    named = (real,) if stated == "without it" else (real, active)
    bench.send(g.seal(110 * S, statement=Statement(mono_us=110 * S, events=named)), at_us=110 * S)
    (view,) = queries.statements()
    assert (view.stated, view.standing, view.unstated, view.stated_over) == (1, 1, [], [])
    assert not any(alarm.is_unstated or alarm.is_stated_over for alarm in queries.alarms(standing_only=False))


def test_the_journal_shows_them_leaves_them_out_or_shows_them_alone(bench: Bench, queries: SqliteQueries) -> None:
    g = bench.gateway
    events = [event for n in range(3) for event in pair(g, (100 + 10 * n) * S)]
    events += [g.event("active", (200 + n) * S, severity="info") for n in range(2)]
    bench.send(alarms(g, 300 * S, *events), at_us=300 * S)

    def found(**fields: str) -> list[bool]:
        return [alarm.is_test for alarm in queries.journal(AlarmFilter(**fields)).alarms]

    assert found() == [False] * 2 + [True] * 3
    assert found(test="only") == [True] * 3
    assert found(test="without") == [False] * 2
    assert found(test="only", severity="info", gateway=g.id, point="well-0/ch4") == [True] * 3
    assert found(test="only", severity="red") == []
    assert len(queries.journal(AlarmFilter(test="only"), limit=2).alarms) == 2
    with pytest.raises(ValueError, match="test: 'x' is none of only, without"):
        queries.journal(AlarmFilter(test="x"))
    with closing(open_reader(bench.data / FILE_NAME)) as db:
        for filter in (AlarmFilter(test="only"), AlarmFilter(test="only", severity="info", state="cleared")):
            chosen = select(filter, None, (1, 1, b""), 10)
            plan = db.execute(f"EXPLAIN QUERY PLAN {chosen.sql}", chosen.values).fetchall()
            assert [row[3].split(" (")[0] for row in plan] == ["SEARCH alarm USING INDEX ix_alarm_test"]


def test_who_sent_it_is_said_as_such() -> None:
    assert [mark_words("en", text, True) for text in ("test", "by=Li Wei")] == ["TEST", "sent by Li Wei"]
    assert [mark_words("zh", text, True) for text in ("test", "by=Li Wei")] == ["测试", "发送人 Li Wei"]
    assert mark_words("en", "by=Li Wei") == "reset by Li Wei"


async def test_the_pages_say_test_in_both_languages() -> None:
    import httpx

    city = FakeCity()
    city.alarm_views.append(
        make_alarm("e5" * 16, severity="info", cause="test", is_test=True, marks=("test", "by=Li Wei"),
                   decision="nothing", decision_reason="test", value=None, shown="")
    )  # fmt: skip
    app = create_app(queries=city, actions=city, changes=FakeChanges(), info=INFO, now_us=lambda: city.now_us, zone=UTC)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        for address in ("/", "/alarms"):
            for language, word, who in (("en", "TEST", "test alarm"), ("zh", "测试", "测试报警")):
                text = (await client.get(f"{address}?lang={language}")).text
                assert f'<span class="tag tag-test">{word}</span>' in text
                assert who in text
        text = (await client.get("/alarms?lang=en&test=only")).text
        assert '<option value="only" selected>only these</option>' in text
        assert "test=only" in text.split("all of these as CSV")[0].rsplit("href=", 1)[1]
