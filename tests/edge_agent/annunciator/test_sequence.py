"""What standing alarms and persons make of beacon and sounder."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import AlarmEvent
from edge_agent.annunciator.sequence import BEACON_ON, SOUNDER_ON, Happens, Shows, Standing, step
from tests.edge_agent.chains import alarm_event


def event(
    point: str = "d1/ch4",
    *,
    raised_by: int = 1,
    state: str = "active",
    severity: str = "red",
    marks: tuple[str, ...] = (),
    rule_id: str = "test.v1/H1",
) -> AlarmEvent:
    return replace(
        alarm_event(1),
        point=point,
        raised_by=bytes([raised_by]) * 16,
        state=state,
        severity=severity,
        marks=marks,
        rule_id=rule_id,
    )


@pytest.mark.parametrize(
    ("shows", "happens", "then"),
    [
        (Shows.QUIET, Happens.RAISED, Shows.SOUNDING),
        (Shows.QUIET, Happens.OVER, Shows.QUIET),
        (Shows.QUIET, Happens.SILENCE, Shows.QUIET),
        (Shows.SOUNDING, Happens.RAISED, Shows.SOUNDING),
        (Shows.SOUNDING, Happens.SILENCE, Shows.SILENCED),
        (Shows.SOUNDING, Happens.OVER, Shows.QUIET),
        (Shows.SILENCED, Happens.RAISED, Shows.SOUNDING),
        (Shows.SILENCED, Happens.SILENCE, Shows.SILENCED),
        (Shows.SILENCED, Happens.OVER, Shows.QUIET),
    ],
)
def test_the_sequence(shows: Shows, happens: Happens, then: Shows) -> None:
    assert step(shows, happens) is then


def test_silencing_leaves_the_beacon_on() -> None:
    assert Shows.SILENCED in BEACON_ON
    assert Shows.SILENCED not in SOUNDER_ON


@pytest.mark.parametrize(
    ("taken", "means"),
    [
        (event(), Happens.RAISED),
        (event(state="latched"), Happens.RAISED),
        (event(severity="orange", marks=("trial",)), Happens.RAISED),
        (event(severity="yellow"), None),
        (event(severity="red", marks=("test", "by=Li Wei")), None),
        (event(rule_id="test"), None),
        (event(state="cleared"), None),
    ],
)
def test_what_one_event_means(taken: AlarmEvent, means: Happens | None) -> None:
    assert Standing(("red", "orange")).take(taken) is means


def test_an_alarm_sounds_once_and_a_second_one_again() -> None:
    standing = Standing(("red",))
    assert standing.take(event(raised_by=1)) is Happens.RAISED
    assert standing.take(event(raised_by=1, state="latched")) is None
    assert standing.take(event("d2/ch4", raised_by=2)) is Happens.RAISED
    assert standing.take(event(raised_by=1, state="cleared")) is None
    assert standing.take(event("d2/ch4", raised_by=2, state="cleared")) is Happens.OVER


def test_the_end_of_a_superseded_occurrence_ends_nothing() -> None:
    standing = Standing(("red",))
    standing.take(event(raised_by=2))
    assert standing.take(event(raised_by=1, state="cleared")) is None
    assert len(standing) == 1


def test_the_judges_own_list_takes_the_place_of_what_was_known() -> None:
    standing = Standing(("red",))
    assert standing.replace([event(raised_by=1)]) is Happens.RAISED
    assert standing.replace([event(raised_by=1), event("d2/x", severity="info")]) is None
    assert standing.replace([]) is Happens.OVER
    assert standing.replace([]) is None


def test_other_severities_after_a_reload_sound_only_what_is_new() -> None:
    standing = Standing(("red",))
    standing.replace([event(raised_by=1)])
    assert Standing(("red", "orange"), standing).replace([event(raised_by=1)]) is None


changes = st.lists(
    st.tuples(st.sampled_from(["a/x", "b/x"]), st.integers(1, 3), st.sampled_from(["active", "latched", "cleared"]))
)


@given(changes)
def test_it_shows_something_exactly_while_an_alarm_stands(made: list[tuple[str, int, str]]) -> None:
    standing, shows = Standing(("red",)), Shows.QUIET
    model: dict[str, int] = {}
    for point, number, state in made:
        if state != "cleared":
            model[point] = number
        elif model.get(point) == number:
            del model[point]
        means = standing.take(event(point, raised_by=number, state=state))
        shows = shows if means is None else step(shows, means)
        assert (shows in BEACON_ON) == bool(model)
        assert len(standing) == len(model)
