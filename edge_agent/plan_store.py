"""The plans in the state directory, and which of them a start runs: old or new, never neither.

====================  ====================================================================
``plan.bin``          the last good plan; never taken away before another is in its place
``plan.trial``        the plan of a reload whose trial is not over
``plan.refused``      the plan of the newest reload that was rolled back
``reload.json``       what became of the newest reload (``reload_trial``)
====================  ====================================================================

Each step is one rename, so a power cut or a kill between two steps leaves one of the states that
``choose`` knows.  Writing fails on a full or read-only disk; then the reload goes on
without these files and a restart takes the last good plan.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.keys import write_atomically
from edge_agent.errors import EdgeError, PlanError
from edge_agent.plan import Plan, inputs_of
from edge_agent.plan_file import compile_plan, is_current, load_or_compile, load_plan
from edge_agent.reload_trial import MOST_STARTS, Phase, Trial, refused, trial_from_bytes, trial_to_bytes
from edge_agent.state_dir import PLAN

_LOG = logging.getLogger(__name__)
TRIAL_PLAN = "plan.trial"
REFUSED_PLAN = "plan.refused"
RECORD = "reload.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a start runs."""

    plan: Plan
    #: of the newest reload; in phase ``TRIAL`` the trial goes on
    trial: Trial


class PlanStore:
    """The plan files of one state directory."""

    def __init__(self, config_path: Path, state_dir: Path) -> None:
        self._config = config_path
        self._folder = state_dir
        self._is_told = False
        #: steps come from several threads; a slow one must not overtake a later one
        self._steps = threading.Lock()

    # -- start -----------------------------------------------------------------------

    def choose(self, now_us: int) -> Choice:
        """Returns the plan that a start runs.

        1. A trial that is not over goes on, where its plan still is that of the site file; not for ever: one
           under which the agent was started ``MOST_STARTS`` times is rolled back.
        2. A site file that was rolled back and not changed since is not tried again by itself.
        3. Else the site file, compiled where it changed; where that is refused, the last good plan.

        Raises:
            EdgeError: nothing can be run; says why.
        """
        trial = self._record()
        pending = self._load(TRIAL_PLAN)
        if trial.phase is Phase.TRIAL and pending is not None and pending.hash == trial.plan:
            if self._is_current(TRIAL_PLAN):
                again = self._again(pending, now_us)
                if again.starts < MOST_STARTS or self._load(PLAN) is None:
                    _LOG.warning("the trial of the new configuration goes on")
                    again = replace(again, starts=again.starts + 1)
                    self._write(again)
                    return Choice(plan=pending, trial=again)
                _LOG.error("the agent was started %d times in the trial of the new configuration: it is rolled back",
                           again.starts)  # fmt: skip
                trial = refused(again)
                self.rolled_back(trial)
            elif (tried := self._try_changed(now_us)) is not None:
                return tried
        good = self._load(PLAN)
        is_refused = any(self._is_current(name) for name in (REFUSED_PLAN, TRIAL_PLAN))
        if trial.phase is Phase.ROLLED_BACK and good is not None and is_refused:
            _LOG.error(
                "the site file was rolled back because %s did not answer under it: the last good plan runs; "
                "`edge-agent reload` tries it again",
                ", ".join(trial.failed),
            )
            return Choice(plan=good, trial=trial)
        try:
            plan = load_or_compile(self._config, self._folder / PLAN)
        except EdgeError as error:
            if good is None:
                raise
            _LOG.error("the configuration cannot be used and the last good plan runs instead:\n%s", error)
            plan = good
        if trial.phase is Phase.TRIAL:
            # Its plan was confirmed, or is not that of the site file any more.
            trial = Trial(phase=Phase.CONFIRMED, plan=plan.hash) if plan.hash == trial.plan else Trial()
        return Choice(plan=plan, trial=trial)

    def _try_changed(self, now_us: int) -> Choice | None:
        """The site file was changed during a trial: its new plan takes the place of the one on trial."""
        if self._load(PLAN) is None:
            return None
        try:
            plan = self.compile()
        except EdgeError as error:
            _LOG.error("the configuration cannot be used and the last good plan runs instead:\n%s", error)
            return Choice(plan=self.last_good(), trial=Trial())
        trial = replace(self._again(plan, now_us), plan=plan.hash, starts=0)
        self._write(trial)
        return Choice(plan=plan, trial=trial)

    def last_good(self) -> Plan:
        """Returns the plan to go back to.

        Raises:
            PlanError: there is none, or it is damaged.
        """
        return load_plan(self._folder / PLAN)

    # -- reload ----------------------------------------------------------------------

    def compile(self) -> Plan:
        """Compiles the site file beside the last good plan; phases of blocks that are read as before stay.

        Raises:
            EdgeError: refused, or not to be written; the last good plan is left as it was.
        """
        compile_plan(self._config, self._folder / TRIAL_PLAN, like=self._folder / PLAN)
        return load_plan(self._folder / TRIAL_PLAN)

    def begun(self, trial: Trial) -> None:
        """Keeps that the compiled plan is on trial."""
        with self._steps:
            self._write(trial)

    def confirmed(self, trial: Trial) -> None:
        """Makes the compiled plan the last good one; what it was made from may have changed alone."""
        with self._steps:
            self._rename(TRIAL_PLAN, PLAN)
            self._write(trial)

    def rolled_back(self, trial: Trial) -> None:
        """Puts the plan on trial aside; a start does not take it again while its files are the same."""
        # In this order: with the verdict alone a start knows that the plan on trial is the refused one.
        with self._steps:
            self._write(trial)
            self._rename(TRIAL_PLAN, REFUSED_PLAN)

    def dropped(self) -> None:
        """Forgets a compiled plan that was not taken."""
        self._forget(TRIAL_PLAN)

    # -- files -----------------------------------------------------------------------

    def _record(self) -> Trial:
        try:
            data = (self._folder / RECORD).read_bytes()
        except OSError:
            return Trial()
        try:
            return trial_from_bytes(data)
        except PlanError as error:
            _LOG.warning("%s", error)
            return Trial()

    def _again(self, plan: Plan, now_us: int) -> Trial:
        return trial_from_bytes((self._folder / RECORD).read_bytes(), plan, now_us)

    def _load(self, name: str) -> Plan | None:
        try:
            return load_plan(self._folder / name)
        except PlanError:
            return None

    def _is_current(self, name: str) -> bool:
        try:
            data = (self._folder / name).read_bytes()
            config = str(self._config.absolute())
            return is_current(data) and any(path == config for path, _ in inputs_of(data)[1])
        except (OSError, PlanError):
            return False

    def _write(self, trial: Trial) -> None:
        try:
            write_atomically(self._folder / RECORD, trial_to_bytes(trial), mode=0o600)
        except OSError as error:
            self._tell(error)
        else:
            self._is_told = False

    def _rename(self, name: str, to: str) -> None:
        try:
            os.replace(self._folder / name, self._folder / to)
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._is_told:
            _LOG.error("what became of the reload cannot be kept: %s", error.strerror or error)
        self._is_told = True

    def _forget(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()
