"""Laws of pairs over random samples of two points: causes, history, restarts; and of limits with silence: replay.

The same laws of limits and watches are in ``test_laws.py`` and ``test_watch_laws.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import CODES, GOOD, NO_REPLY, WITH_VALUE
from rules.pair import PairRule, PairState, step_pair
from rules.point import check_silence, is_active, is_heard, step_point
from rules.point_state import PointRules, PointState
from rules.replay import replay
from rules.state import AlarmState, Cause, LimitState, Sample, Transition
from tests.rules.builders import BOOT, SECOND, fresh, limit
from tests.rules.test_laws import rule_sets

OWN = PointRules(limits=(limit("L1", 20.0, deadband=5.0, off_delay_s=3, latch=True),))
OTHER = PointRules(limits=(limit("pre", 10.0, deadband=3.0, on_samples=2),))

#: (s since the last one, of the own point or of the other, value, quality)
_CODES = st.sampled_from([GOOD, GOOD, GOOD, NO_REPLY, *sorted(CODES)])
_VALUES = st.sampled_from([0.0, 8.0, 12.0, 16.0, 25.0, 60.0])
STORIES = st.lists(st.tuples(st.sampled_from([1, 2, 20]), st.booleans(), _VALUES, _CODES), max_size=40)
Story = list[tuple[int, bool, float, int]]


@st.composite
def pairs(draw: st.DrawFn) -> PairRule:
    head = limit(
        "both", 2.0, unit="1", latch=draw(st.booleans()), off_delay_s=draw(st.sampled_from([0, 5])),
        on_delay_s=draw(st.sampled_from([0, 0, 4])),
    )  # fmt: skip
    within_s = draw(st.sampled_from([0.0, 10.0, 60.0]))
    return PairRule(limit=head, own="test.v1/L1", point="well-2/ch4", other="test.v1/pre", within_s=within_s)


@dataclass(slots=True)
class Site:
    """What a gateway keeps of two points and a pair, and what it told of the pair."""

    rule: PairRule
    own: PointState = field(default_factory=lambda: fresh(OWN))
    other: PointState = field(default_factory=lambda: fresh(OTHER))
    pair: PairState = field(default_factory=lambda: PairState(limit=LimitState(rule_id="test.v1/both")))
    last: Sample | None = None
    at_us: int = 0
    made: list[Transition] = field(default_factory=list)
    #: per look: (time, own active, other active)
    looks: list[tuple[int, bool, bool]] = field(default_factory=list)

    def take(self, story: Story) -> Site:
        for wait_s, is_own, value, code in story:
            for _ in range(wait_s):  # a window ends by itself: the agent looks once a second
                self.at_us += SECOND
                self._look()
            sample = Sample(value=value if code in WITH_VALUE else None, code=code, at_us=self.at_us)
            if is_own:
                self.own, self.last = step_point(OWN, self.own, sample)[0], sample
            else:
                self.other = step_point(OTHER, self.other, sample)[0]
            self._look()
        return self

    def _look(self) -> None:
        own, other = is_active(self.own, "test.v1/L1"), is_active(self.other, "test.v1/pre")
        self.pair, made = step_pair(
            self.rule, self.pair, own=own, other=other, at_us=self.at_us, boot=BOOT, sample=self.last
        )
        self.looks.append((self.at_us, own, other))
        self.made += made

    def restarted(self) -> Site:
        """The same after all of it went through bytes."""
        return Site(
            rule=PairRule.from_wire(self.rule.to_wire()),
            own=PointState.from_wire(self.own.to_wire()),
            other=PointState.from_wire(self.other.to_wire()),
            pair=PairState.from_wire(self.pair.to_wire()),
            last=self.last,
            at_us=self.at_us,
        )


@given(pairs(), STORIES)
def test_what_was_told_of_a_pair_is_where_it_stands(rule: PairRule, story: Story) -> None:
    site = Site(rule).take(story)
    told, raised_us = AlarmState.CLEARED, None
    for item in site.made:
        assert item.rule_id == rule.id
        assert item.rule_hash == rule.rule_hash
        assert item.alarm is not told
        if told is not AlarmState.CLEARED:
            assert item.occurrence.raised_at_us == raised_us
        told, raised_us = item.alarm, item.occurrence.raised_at_us
    assert site.pair.limit.alarm is told


@given(pairs(), STORIES)
def test_nothing_is_told_of_a_pair_without_a_cause(rule: PairRule, story: Story) -> None:
    site = Site(rule).take(story)
    by_time = dict[int, list[tuple[bool, bool]]]()
    for at_us, own, other in site.looks:
        by_time.setdefault(at_us, []).append((own, other))
    for item in site.made:
        *doubts, with_whom = item.marks
        assert with_whom == "with=well-2/ch4"
        # A sample that is uncertain says so beside it.
        assert doubts in ([], [item.sample and CODES[item.sample.code].reason])
        if item.alarm is AlarmState.ACTIVE:
            assert item.cause is Cause.CONFIRMED
            # One of the two is active now, and the other one is or was within the window (and while a delay ran).
            assert any(own or other for own, other in by_time[item.at_us])
            reach_us = rule.within_us + round(rule.limit.on_delay_s * SECOND) + SECOND
            near = [look for at, looks in by_time.items() if 0 <= item.at_us - at <= reach_us for look in looks]
            assert any(own for own, _ in near)
            assert any(other for _, other in near)
        else:
            assert item.cause is Cause.RETURNED


@given(pairs(), STORIES, st.data())
def test_a_pair_that_is_replayed_from_any_moment_tells_the_same(
    rule: PairRule, story: Story, data: st.DataObject
) -> None:
    live = Site(rule).take(story)
    cut = data.draw(st.integers(0, len(story)))
    first = Site(rule).take(story[:cut])
    second = first.restarted().take(story[cut:])
    assert first.made + second.made == live.made
    assert (second.own, second.other, second.pair) == (live.own, live.other, live.pair)
    assert Site(rule).take(story).made == live.made


@st.composite
def spaced(draw: st.DrawFn) -> list[Sample]:
    at_us, found = 0, []
    for _ in range(draw(st.integers(1, 30))):
        at_us += draw(st.sampled_from([1, 2, 10])) * SECOND
        code = draw(_CODES)
        value = draw(st.floats(0, 60)) if code in WITH_VALUE else None
        found.append(Sample(value=value, code=code, at_us=at_us))
    return found


def lived(rules: PointRules, samples: list[Sample]) -> list[Transition]:
    """As the agent: a sample when it comes, and a look for silence every second (here at half seconds)."""
    state, made, heard_us, last = fresh(rules, samples[0].at_us / SECOND), list[Transition](), None, None
    now_us = samples[0].at_us + SECOND // 2
    for sample in samples:
        while now_us < sample.at_us:
            state, new = check_silence(rules, state, heard_us=heard_us, now_us=now_us, last=last)
            made += new
            now_us += SECOND
        state, new = step_point(rules, state, sample)
        made += new
        heard_us = sample.at_us if is_heard(sample.code) else heard_us
        last = sample
    return made


@given(rule_sets(), spaced())
def test_a_replay_of_limits_and_silence_tells_what_was_told_live(rules: PointRules, samples: list[Sample]) -> None:
    def told(made: list[Transition]) -> list[tuple[object, ...]]:
        # A replay knows when silence was complete, the agent finds it within a second.
        return [
            (t.rule_id, t.alarm, t.cause, t.limit, None if t.cause is Cause.SILENCE else (t.at_us, t.sample))
            for t in made
        ]

    live, again = lived(rules, samples), replay(rules, samples, boot=BOOT).transitions
    assert told(list(again)) == told(live)
    for one, two in zip(again, live, strict=True):
        assert 0 <= two.at_us - one.at_us <= SECOND
