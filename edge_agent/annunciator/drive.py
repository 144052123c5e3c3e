"""The running annunciator: outputs are as the judgement wants them, whatever store and link do.

It judges nothing and stores nothing.  The sealer hands it every event first, in the same step in which the judge
made it: what has to be switched is in the queue of its port, before everybody, before anything is sealed.
Nobody waits for it, and what goes wrong here is a fact of health and a line of the journal, never an error of judging.

* Nothing is written before the judge has the state of its last run, and nothing when the agent stops: an output
  keeps its state.  At the start what is wanted is written once and read back; an output that should be off is left
  as it is for ``SETTLE_S``, in case that state comes late.
* An output is on for at least ``LEAST_ON_S``, and each is looked at again (``LOOK_S``; one that should be on more
  often, in case its board lost its supply).
* "Agent alive" is renewed only from ``judged``, which the agent calls after a row was judged.  A timer renews nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from contracts.batch import AlarmEvent, HealthRecord
from drivers.port import BusPort
from edge_agent.annunciator.pace import Pace
from edge_agent.annunciator.sequence import BEACON_ON, SOUNDER_ON, Happens, Shows, Standing, step
from edge_agent.annunciator.switching import Order, Outcome, slot_s, switch
from edge_agent.bus.lending import FIRST
from edge_agent.errors import ControlError
from edge_agent.logged_once import LoggedOnce
from edge_agent.plan import Plan
from edge_agent.plan_annunciator import (
    ALIVE,
    BEACON,
    LEAST_ON_S,
    LOOK_ON_S,
    LOOK_S,
    WATCHDOG,
    AnnunciatorPlan,
    OutputPlan,
)
from edge_agent.plan_ports import DevicePlan, PortPlan

_LOG = logging.getLogger(__name__)
#: what nobody called for is looked at so often
_TICK_S = 0.25
#: after the start an output that should be off is left as it is for so long
SETTLE_S = 10.0
#: what stands is compared with the judge's own list so often
_COMPARE_S = 10.0
#: failures in a row before it is told in log and journal: the quick second try may cure it
_TOLD_AFTER = 2
#: a proof test lasts at most so long (seconds)
LONGEST_TEST_S = 120.0

Job = Callable[[BusPort], Awaitable[Outcome]]


class Lender(Protocol):
    """The ports that are polled now."""

    def ask(self, port_id: str, job: Job, *, seconds: float, share: float) -> asyncio.Future[Outcome]:
        """Queues a job in this very step; raises ControlError where the port is not polled."""


class Judged(Protocol):
    """What is asked of the judge."""

    @property
    def is_ready(self) -> bool: ...

    def standing(self) -> Iterable[AlarmEvent]: ...


@dataclass(slots=True, eq=False)
class _Output:
    plan: OutputPlan
    #: as it was read back last; None: not known
    shows: bool | None = None
    #: as it was last written and confirmed in this run; None: never, or it changed since
    confirmed: bool | None = None
    on_us: int = 0
    looked_us: int = 0
    renewed_us: int = 0
    #: an alarm was judged then, and is not shown yet
    owed_us: int = 0


@dataclass(slots=True, eq=False)
class _Board:
    device: DevicePlan
    port: PortPlan
    outputs: list[_Output]
    pace: Pace = field(default_factory=Pace)
    is_busy: bool = False
    #: why it does not show what it should; empty while it does
    fault: str = ""
    #: slots that failed since the start
    faults: int = 0
    #: whether the fault stands in log and journal
    is_told: bool = False


class Annunciator:
    """Beacon, sounder and "agent alive" of one gateway."""

    def __init__(
        self,
        *,
        plan: Plan,
        ports: Lender,
        judge: Judged,
        clock: Callable[[], int],
        note: Callable[[str, str], None],
        settle_s: float = SETTLE_S,
    ) -> None:
        """Takes what it needs; writes nothing yet.

        Args:
            clock: monotonic us.
            note: puts a line into the signed journal.
        """
        self._ports = ports
        self._judge = judge
        self._clock = clock
        self._note = note
        self._settle_us = round(settle_s * 1e6)
        self._said = LoggedOnce(_LOG)
        self._shows = Shows.QUIET
        self._standing = Standing(())
        self._boards: list[_Board] = []
        self._alive: _Output | None = None
        self._proof_test_days = 0
        self._ready_us: int | None = None
        self._compared_us = 0
        self._judged_us = 0
        self._test_until_us = 0
        self._silenced_by = ""
        self._answered = asyncio.Event()
        #: from the judgement to the write that its board confirmed, of the newest alarm, us
        self.switched_us: int | None = None
        self.take_plan(plan)

    # -- what others call, in the middle of their work --------------------------------

    def take_events(self, events: Sequence[AlarmEvent]) -> None:
        """Takes events in the step in which they were judged; never raises."""
        try:
            self._begin(self._clock())
            for event in events:
                self._happens(self._standing.take(event), event.judged_us)
            self._look(self._clock())
        except Exception as error:
            self._said.fault("events", error, "the annunciator failed to take an event; judging goes on")

    def judged(self) -> None:
        """Takes note that a row was judged: the only thing that renews "agent alive"; never raises."""
        self._judged_us = now = self._clock()
        alive = self._alive
        if alive is None or now < alive.renewed_us + alive.plan.renew_s * 1e6:
            return
        try:
            self._look(now)
        except Exception as error:
            self._said.fault("judged", error, "the annunciator failed to renew the alive output; judging goes on")

    def take_plan(self, plan: Plan) -> None:
        """Goes on under another plan; an output that is the same keeps what is known of it."""
        wanted = plan.annunciator or AnnunciatorPlan(outputs=(), severities=())
        known = {
            output.plan.name: (board, output)
            for board in self._boards
            for output in board.outputs
        }  # fmt: skip
        boards: dict[int, _Board] = {}
        self._alive = None
        for each in wanted.outputs:
            device = plan.devices[each.device]
            port = plan.ports[device.port]
            board = boards.setdefault(each.device, _Board(device=device, port=port, outputs=[]))
            before = known.get(each.name)
            output = _Output(plan=each)
            if before is not None and _is_same(before, each, board):
                output = before[1]
                output.plan, board.pace, board.fault = each, before[0].pace, before[0].fault
            board.outputs.append(output)
            if each.role == ALIVE:
                self._alive = output
        kept = {_place(board, output) for board in boards.values() for output in board.outputs}
        for name, (board, left) in known.items():
            if _place(board, left) not in kept and left.shows:
                # Off would be a statement about alarms; a person has to look.
                self._note("annunciator", f"{name} is driven no more by this plan and was left on")
                _LOG.warning("annunciator: %s is driven no more by this plan and was left on", name)
        self._boards = list(boards.values())
        self._proof_test_days = wanted.proof_test_days
        self._standing = Standing(wanted.severities, self._standing)
        if self._ready_us is not None:
            self._compare(self._clock())

    # -- what persons do --------------------------------------------------------------

    def silence(self, by: str) -> None:
        """Silences the sounder in a person's name; the next new alarm sounds again.

        Raises:
            ControlError: nothing sounds.
        """
        if self._shows is not Shows.SOUNDING:
            raise ControlError(f"nothing sounds: the annunciator is {self._shows.value}")
        self._note("annunciator", f"silenced by {by}")
        self._silenced_by = by
        self._happens(Happens.SILENCE, self._clock())
        self._look(self._clock())

    async def test(self, by: str, seconds: float) -> dict[str, Any]:
        """Switches beacon and sounder on for a proof test; it ends by itself.

        Returns:
            output -> whether it reads back on, and what is wrong where it does not.

        Raises:
            ControlError: a test runs, or there is nothing to test.
        """
        now = self._clock()
        tested = [output for output in self._outputs() if output.plan.role != ALIVE]
        if not tested:
            raise ControlError("the site file names neither a beacon nor a sounder, so there is nothing to test")
        if now < self._test_until_us:
            raise ControlError("a proof test runs already")
        if self._ready_us is None:
            raise ControlError("the agent is still asking its store; try again in a few seconds")
        self._note("proof-test", f"begun by {by}: {', '.join(output.plan.name for output in tested)}")
        self._test_until_us = now + round(min(seconds, LONGEST_TEST_S) * 1e6)
        for output in tested:
            # What was on before counts for nothing: it is read back now.
            output.shows, output.looked_us = None, now - round(LOOK_S * 1e6)
        for board in self._boards:
            board.pace = board.pace.hurried()
        self._look(now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, LONGEST_TEST_S)):
                while any(output.shows is not True for output in tested):
                    self._answered.clear()
                    await self._answered.wait()
        return {
            "outputs": [
                {"name": o.plan.name, "role": o.plan.role, "is_on": o.shows, "fault": board.fault}
                for board in self._boards
                for o in board.outputs
                if o in tested
            ],
            "milliseconds": (self._clock() - now) // 1000,
            "seconds": seconds,
        }

    def status(self) -> dict[str, Any]:
        """Returns how it stands, as plain values."""
        now = self._clock()
        return {
            "shows": self._shows.value,
            "standing": len(self._standing),
            "silenced_by": self._silenced_by if self._shows is Shows.SILENCED else "",
            "is_tested": now < self._test_until_us,
            "proof_test_days": self._proof_test_days,
            "outputs": [
                {
                    "name": output.plan.name,
                    "role": output.plan.role,
                    "is_on": output.shows,
                    "should_be": self._wanted(output, now),
                    "renewed_s": _age_s(output.renewed_us, now) if output.plan.role == ALIVE else None,
                    "hold_s": output.plan.hold_s or None,
                    "fault": board.fault,
                }
                for board in self._boards
                for output in board.outputs
            ],
        }

    def health(self) -> tuple[HealthRecord, ...]:
        """Returns its facts, and those of each output."""
        now = self._clock()
        fault = next((board.fault for board in self._boards if board.fault), "")
        own = HealthRecord(
            subject="annunciator",
            mono_us=now,
            facts=(
                ("shows", self._shows.value),
                ("alarms", len(self._standing)),
                ("fault", fault[:256] or None),
                ("switched_ms", None if self.switched_us is None else round(self.switched_us / 1000, 1)),
            ),
        )
        outputs = (
            HealthRecord(
                subject=f"output/{output.plan.name}",
                mono_us=now,
                facts=(
                    ("role", output.plan.role),
                    ("state", _word(output.shows)),
                    ("should_be", _word(self._wanted(output, now))),
                    ("renewed_s", _age_s(output.renewed_us, now) if output.plan.role == ALIVE else None),
                    ("faults", board.faults),
                    ("fault", board.fault[:256] or None),
                ),
            )
            for board in self._boards
            for output in board.outputs
        )
        return (own, *outputs)

    # -- its own time -----------------------------------------------------------------

    async def run(self) -> None:
        """Looks after outputs until it is cancelled: tries again, looks again, ends tests."""
        while True:
            await asyncio.sleep(_TICK_S)
            self.tick()

    def tick(self) -> None:
        """Does what is due now; never raises."""
        try:
            now = self._clock()
            self._begin(now)
            if self._ready_us is not None and now >= self._compared_us + _COMPARE_S * 1e6:
                self._compare(now)
            self._look(now)
        except Exception as error:
            self._said.fault("tick", error, "a step of the annunciator failed; the next one comes")

    def _begin(self, now: int) -> None:
        """Begins once the judge knows what stood before."""
        if self._ready_us is None and self._judge.is_ready:
            self._ready_us = now
            self._compare(now)

    def _compare(self, now: int) -> None:
        self._compared_us = now
        self._happens(self._standing.replace(self._judge.standing()), now)

    def _happens(self, what: Happens | None, judged_us: int) -> None:
        if what is None:
            return
        self._shows = step(self._shows, what)
        if what is not Happens.RAISED:
            return
        for board in self._boards:
            for output in board.outputs:
                if output.plan.role != ALIVE and output.confirmed is not True:
                    output.owed_us = output.owed_us or judged_us
                    board.pace = board.pace.hurried()

    # -- outputs ----------------------------------------------------------------------

    def _outputs(self) -> list[_Output]:
        return [output for board in self._boards for output in board.outputs]

    def _wanted(self, output: _Output, now: int) -> bool | None:
        """Returns what an output should be; None: it stays as it is for now."""
        if self._ready_us is None:
            return None
        role = output.plan.role
        if role == ALIVE:
            return now < self._judged_us + output.plan.hold_s * 1e6 if self._judged_us else None
        if self._shows in (BEACON_ON if role == BEACON else SOUNDER_ON) or now < self._test_until_us:
            return True
        if not output.on_us and output.confirmed is None and now < self._ready_us + self._settle_us:
            return None
        if output.confirmed and now < output.on_us + LEAST_ON_S * 1e6:
            return None
        return False

    def _order(self, output: _Output, now: int) -> Order | None:
        wanted = self._wanted(output, now)
        if wanted is None:
            return None
        if output.plan.role == ALIVE:
            return self._renewal(output, wanted, now)
        if output.confirmed is not wanted:
            return Order(output=output.plan, is_on=wanted)
        if now >= output.looked_us + (LOOK_ON_S if wanted else LOOK_S) * 1e6:
            return Order(output=output.plan, is_on=wanted, is_look=True)
        return None

    def _renewal(self, output: _Output, wanted: bool, now: int) -> Order | None:
        """A row that was judged just now renews it; where the board keeps it on nevertheless, it is switched off."""
        if wanted and now - self._judged_us < 1000 and now >= output.renewed_us + output.plan.renew_s * 1e6:
            return Order(output=output.plan, is_on=True)
        if not wanted and output.plan.drops_by == WATCHDOG and output.confirmed is not False:
            return Order(output=output.plan, is_on=False)
        return None

    def _look(self, now: int) -> None:
        if self._ready_us is None:
            return
        for board in self._boards:
            if board.is_busy or now < board.pace.due_us:
                continue
            orders = [order for output in board.outputs if (order := self._order(output, now)) is not None]
            if orders:
                self._switch(board, orders)

    def _switch(self, board: _Board, orders: list[Order]) -> None:
        job = partial(switch, device=board.device, orders=orders)
        try:
            answer = self._ports.ask(board.port.id, job, seconds=slot_s(board.port, board.device, orders), share=FIRST)
        except ControlError as error:
            self._failed(board, str(error))
            return
        board.is_busy = True
        answer.add_done_callback(partial(self._done, board, orders))

    def _done(self, board: _Board, orders: Sequence[Order], answer: asyncio.Future[Outcome]) -> None:
        board.is_busy = False
        self._answered.set()
        try:
            if answer.cancelled():
                self._failed(board, "the port was stopped")
            elif (error := answer.exception()) is not None:
                self._failed(board, str(error) or type(error).__name__)
            else:
                self._take(board, orders, answer.result())
            self._look(self._clock())
        except Exception as error:
            self._said.fault("done", error, "the annunciator failed to take what a board answered")

    def _take(self, board: _Board, orders: Sequence[Order], outcome: Outcome) -> None:
        now = self._clock()
        for order in orders:
            output = self._named(board, order.output.name)
            if output is None:
                continue  # the plan changed meanwhile
            output.looked_us = now
            output.shows = outcome.states.get(output.plan.name)
            is_written = output.plan.name in outcome.written
            if output.plan.role == ALIVE:
                if is_written:
                    output.renewed_us, output.confirmed = (now if order.is_on else 0), order.is_on
                continue
            is_right = output.shows is order.is_on
            output.confirmed = order.is_on if is_right else None
            if is_right and order.is_on and not order.is_look:
                output.on_us = now
            if is_right and order.is_on and output.owed_us and outcome.written_us is not None:
                self.switched_us = max(0, outcome.written_us - output.owed_us)
            if is_right:
                output.owed_us = 0
        if outcome.fault:
            self._failed(board, outcome.fault)
            return
        board.pace = board.pace.succeeded()
        if board.fault:
            if board.is_told:
                self._note("annunciator", f"{board.device.id} shows what it should again")
            board.fault, board.is_told = "", False
        self._said.back(board.device.id, "annunciator %s: shows what it should again", board.device.id)

    def _named(self, board: _Board, name: str) -> _Output | None:
        return next((output for output in board.outputs if output.plan.name == name), None)

    def _failed(self, board: _Board, fault: str) -> None:
        board.pace = board.pace.failed(self._clock())
        board.fault = fault
        board.faults += 1
        for output in board.outputs:
            # Whatever it showed: a board that was away may have lost it.
            if output.plan.role != ALIVE:
                output.confirmed = None
        if board.pace.failures < _TOLD_AFTER or board.is_told:
            return
        board.is_told = True
        self._note("annunciator", f"{board.device.id} does not show what it should: {fault}")
        self._said.gone(board.device.id, "annunciator %s does not show what it should: %s", board.device.id, fault)


def _place(board: _Board, output: _Output) -> tuple[object, ...]:
    """Returns what an output is on the line, whatever it is called."""
    return board.port, board.device.unit_id, output.plan.off


def _is_same(before: tuple[_Board, _Output], plan: OutputPlan, board: _Board) -> bool:
    old_board, old = before
    same_place = (old_board.device.id, old_board.device.unit_id, old_board.port) == (
        board.device.id,
        board.device.unit_id,
        board.port,
    )
    return same_place and (old.plan.on, old.plan.off, old.plan.role) == (plan.on, plan.off, plan.role)


def _word(state: bool | None) -> str | None:
    return None if state is None else "on" if state else "off"


def _age_s(at_us: int, now_us: int) -> float | None:
    return None if not at_us else round((now_us - at_us) / 1e6, 1)
