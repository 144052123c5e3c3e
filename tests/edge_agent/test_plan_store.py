"""Which plan a start runs, after a reload that was cut at any step: old or new, never neither."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent import plan_store
from edge_agent.compile import compile_site
from edge_agent.errors import ConfigError, EdgeError
from edge_agent.plan import Plan
from edge_agent.plan_store import PLAN, RECORD, REFUSED_PLAN, TRIAL_PLAN, PlanStore
from edge_agent.reload_trial import MOST_STARTS, Phase, Trial, begin, step, trial_to_bytes
from tests.edge_agent.running_agent import site
from tests.edge_agent.site_files import write_site


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiles without a child: what is tested here is files."""

    def compile_here(config: Path, out: Path, *, like: Path | None = None) -> None:
        out.write_bytes(compile_site(config).plan.to_bytes())

    def load_or_compile(config: Path, out: Path) -> Plan:
        if not out.exists() or not plan_store.is_current(out.read_bytes()):
            compile_here(config, out)
        return plan_store.load_plan(out)

    monkeypatch.setattr(plan_store, "compile_plan", compile_here)
    monkeypatch.setattr(plan_store, "load_or_compile", load_or_compile)


class Site:
    """A state directory with a good plan, and a site file that a test changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = write_site(folder, site({"a": 1001}))
        self.store = PlanStore(self.config, folder)
        self.old = self.store.choose(0).plan

    def change(self, port: int) -> None:
        write_site(self.folder, site({"a": port}))

    def again(self) -> tuple[Plan, Trial]:
        choice = PlanStore(self.config, self.folder).choose(7)
        return choice.plan, choice.trial


@pytest.fixture
def place(tmp_path: Path) -> Site:
    return Site(tmp_path)


def _trial(plan: Plan) -> Trial:
    return begin(Trial(), plan, plan.hash, ["dev-a"], 0)


def _confirmed(plan: Plan) -> Trial:
    return step(_trial(plan).heard("dev-a"), 0)


def _refused(plan: Plan) -> Trial:
    return step(_trial(plan), 1 << 60)


@pytest.mark.parametrize("steps", range(5))
def test_a_confirmed_reload_that_was_cut_at_any_step_runs_the_new_plan(place: Site, steps: int) -> None:
    place.change(1002)
    done: list[Callable[[], object]] = [
        place.store.compile,
        lambda: place.store.begun(_trial(new)),
        lambda: (place.folder / TRIAL_PLAN).rename(place.folder / PLAN),
        lambda: (place.folder / RECORD).write_bytes(trial_to_bytes(_confirmed(new))),
    ]
    new = compile_site(place.config).plan
    for do in done[:steps]:
        do()
    plan, trial = place.again()
    assert plan.hash == new.hash
    assert trial.phase is [Phase.NONE, Phase.NONE, Phase.TRIAL, Phase.CONFIRMED, Phase.CONFIRMED][steps]
    assert trial.waiting.keys() == ({"dev-a"} if steps == 2 else set())


@pytest.mark.parametrize("steps", [3, 4])
def test_a_reload_that_was_rolled_back_stays_so_until_its_files_change(
    place: Site, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    place.change(1002)
    new = place.store.compile()
    place.store.begun(_trial(new))
    (place.folder / RECORD).write_bytes(trial_to_bytes(_refused(new)))
    if steps == 4:
        (place.folder / TRIAL_PLAN).rename(place.folder / REFUSED_PLAN)
    with caplog.at_level(logging.ERROR):
        plan, trial = place.again()
    assert (plan.hash, trial.phase, trial.failed) == (place.old.hash, Phase.ROLLED_BACK, ("dev-a",))
    assert "`edge-agent reload` tries it again" in caplog.text
    place.change(1003)
    plan, _ = place.again()
    assert plan.hash not in (place.old.hash, new.hash)


def test_a_trial_in_which_the_agent_is_started_again_and_again_is_rolled_back(
    place: Site, caplog: pytest.LogCaptureFixture
) -> None:
    place.change(1002)
    new = place.store.compile()
    place.store.begun(_trial(new))
    for start in range(MOST_STARTS):
        plan, trial = place.again()
        assert (plan.hash, trial.phase, trial.starts) == (new.hash, Phase.TRIAL, start + 1)
    for _ in range(2):
        plan, trial = place.again()
        assert (plan.hash, trial.phase, trial.failed) == (place.old.hash, Phase.ROLLED_BACK, ("dev-a",))
    assert caplog.text.count("was started 3 times in the trial") == 1


def test_a_site_file_that_changes_during_a_trial_is_tried_in_its_place(place: Site) -> None:
    place.change(1002)
    place.store.begun(_trial(place.store.compile()))
    place.change(1003)
    plan, trial = place.again()
    assert plan.ports[0].port == 1003
    assert (trial.phase, trial.plan, set(trial.waiting)) == (Phase.TRIAL, plan.hash, {"dev-a"})
    assert place.store.last_good().hash == place.old.hash


def test_a_site_file_that_is_spoilt_during_a_trial_lets_the_last_good_plan_run(place: Site) -> None:
    place.change(1002)
    place.store.begun(_trial(place.store.compile()))
    write_site(place.folder, "nonsense")
    plan, trial = place.again()
    assert (plan.hash, trial) == (place.old.hash, Trial())


def test_a_spoilt_site_file_without_any_plan_is_a_sentence(tmp_path: Path) -> None:
    config = write_site(tmp_path, "nonsense")
    with pytest.raises(ConfigError, match="not TOML"):
        PlanStore(config, tmp_path).choose(0)


@pytest.mark.parametrize("name", [PLAN, TRIAL_PLAN, REFUSED_PLAN, RECORD])
@pytest.mark.parametrize("content", [b"", b"\x00" * 400])
def test_a_damaged_file_costs_no_start(place: Site, name: str, content: bytes) -> None:
    place.change(1002)
    place.store.begun(_trial(place.store.compile()))
    (place.folder / name).write_bytes(content)
    plan, _ = place.again()
    assert plan.ports[0].port in (1001, 1002)


def test_a_disk_that_takes_nothing_is_said_once(place: Site, caplog: pytest.LogCaptureFixture) -> None:
    new = replace(place.old, en="New")
    (place.folder / "a file").write_text("")
    lost = PlanStore(place.config, place.folder / "a file")
    for _ in range(3):
        lost.begun(_trial(new))
        lost.confirmed(_confirmed(new))
    assert caplog.text.count("cannot be kept") == 1
    with pytest.raises(EdgeError):
        lost.last_good()
