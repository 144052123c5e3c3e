"""The ports that are polled now: started, restarted when they fail, and on reload only touched where they differ.

A poller that ends by itself is a defect; it is reported and started again, because a port that
nobody polls looks like a silent street.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from contracts.batch import HealthRecord
from drivers.port import BusPort
from edge_agent.bus.budget import port_budget
from edge_agent.bus.handover import Estate
from edge_agent.bus.identity_guard import IdentityGuard
from edge_agent.bus.lending import JOB_SHARE
from edge_agent.bus.poller import Codes, Poller, Row, blocks_of_port
from edge_agent.errors import ControlError
from edge_agent.logged_once import LoggedOnce
from edge_agent.plan import BlockPlan, Plan
from edge_agent.plan_ports import DevicePlan, PortPlan
from edge_agent.ports import PortMaker, make_port

if TYPE_CHECKING:
    from edge_agent.bus.listener import Listener
    from edge_agent.plan_annunciator import OutputPlan

_LOG = logging.getLogger(__name__)
#: pause before a poller that ended by itself is started again
_RESTART_S = 5.0
#: a request under way is bounded by its port; a port that takes longer is left behind
_STOP_LIMIT_S = 4.0

#: block number of the plan that runs, monotonic us, values, codes, monotonic us of the reply
Take = Callable[[int, int, Row, Codes, int], None]
T = TypeVar("T")


class Left(NamedTuple):
    """What ``hand_over`` leaves of one port."""

    estate: Estate
    guard: IdentityGuard


#: old block number -> new one
Numbers = dict[int, int]
_NONE: Mapping[str, Left] = MappingProxyType({})


@dataclass(slots=True)
class _Running:
    id: str
    make: Callable[[], Poller | Listener]
    poller: Poller | Listener
    #: block number in the poller -> number in the plan that runs now
    numbers: Numbers
    guard: IdentityGuard
    task: asyncio.Task[None] | None = None
    is_stopping: bool = False


class RunningPorts:
    """Every port that is polled, by its id."""

    def __init__(self, take: Take, make: Callable[[PortPlan], BusPort] = make_port) -> None:
        """Takes where rows go; starts nothing."""
        self._take = take
        self._make = make
        self._ports: dict[str, _Running] = {}
        #: how often a poller had to be started again
        self.restarts = 0

    def __contains__(self, name: str) -> bool:
        return name in self._ports

    def __len__(self) -> int:
        return len(self._ports)

    def start(self, plan: Plan, names: Collection[str] | None = None, left: Mapping[str, Left] = _NONE) -> list[str]:
        """Starts the ports of a plan that do not run yet; returns the ids of those that have something to ask.

        Args:
            names: of those to start; None: all.
            left: what ``hand_over`` gave, by port.
        """
        started = []
        for number, port in enumerate(plan.ports):
            if port.id in self._ports or (names is not None and port.id not in names):
                continue
            blocks = blocks_of_port(plan, number)
            if blocks:
                outputs = () if plan.annunciator is None else plan.annunciator.outputs
                self._start(port, plan.devices, blocks, left.get(port.id), outputs)
                started.append(port.id)
        return started

    def _start(
        self,
        port: PortPlan,
        devices: tuple[DevicePlan, ...],
        blocks: dict[int, BlockPlan],
        left: Left | None,
        outputs: Sequence[OutputPlan],
    ) -> None:
        numbers = {block: block for block in blocks}

        async def borrow(job: Callable[[BusPort], Awaitable[T]], seconds: float) -> T:
            return await running.poller.borrow(job, seconds=seconds)

        guard = IdentityGuard(devices, {} if port.listen_only else blocks, self._sink(numbers), borrow)
        if left is not None:
            guard.inherit(left.guard)
        sink = guard.take

        def make(estate: Estate | None = None) -> Poller | Listener:
            if port.listen_only:
                from edge_agent.listening import make_listener

                return make_listener(port, devices, blocks, sink)
            return Poller(
                port_id=port.id,
                port=self._make(port) if estate is None else estate.port,
                devices=devices,
                blocks=blocks,
                sink=sink,
                at_once=True,
                in_flight=port.in_flight,
                line=port,
                budget=port_budget(port, devices, blocks, outputs),
                estate=estate,
            )

        running = _Running(port.id, make, make(None if left is None else left.estate), numbers, guard)
        running.task = asyncio.get_running_loop().create_task(self._poll(running))
        self._ports[port.id] = running

    def _sink(self, numbers: Numbers) -> Take:
        def take(block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
            self._take(numbers[block], sampled_us, row, codes, replied_us)

        return take

    async def _poll(self, running: _Running) -> None:
        said, is_first = LoggedOnce(_LOG), True
        while True:
            try:
                if not is_first:
                    running.poller = running.make()
                is_first = False
                await running.poller.run()
                if running.is_stopping:
                    return
                said.gone("ended", "port %s: polling ended by itself", running.id)
            except Exception as error:
                # The outermost loop of a port: a defect must not leave it silent.
                said.fault("failed", error, "port %s: polling failed", running.id)
            self.restarts += 1
            await asyncio.sleep(_RESTART_S)
            if running.is_stopping:
                return

    async def borrow(
        self,
        port_id: str,
        job: Callable[[BusPort], Awaitable[T]],
        *,
        seconds: float = 1.0,
        share: float = JOB_SHARE,
    ) -> T:
        """Runs a job on a port that is polled, as one slot of its schedule; see ``Poller.borrow``.

        Raises:
            ControlError: there is no such port, or it lends no slot.
        """
        running = self._ports.get(port_id)
        if running is None:
            known = ", ".join(sorted(self._ports)) or "none"
            raise ControlError(f"there is no port {port_id!r} that is polled; there are {known}", exit_status=2)
        return await running.poller.borrow(job, seconds=seconds, share=share)

    def ask(
        self, port_id: str, job: Callable[[BusPort], Awaitable[T]], *, seconds: float, share: float
    ) -> asyncio.Future[T]:
        """As ``borrow``, and the job waits for its slot when this returns; see ``Poller.ask``.

        Raises:
            ControlError: there is no such port, or nothing is ever asked on it.
        """
        running = self._ports.get(port_id)
        if running is None or not isinstance(running.poller, Poller):
            raise ControlError(f"port {port_id} is not polled now")
        return running.poller.ask(job, seconds=seconds, share=share)

    async def stop(self, names: Iterable[str]) -> None:
        """Stops ports, all at once; one that does not end in time is left behind, and reported."""
        stopping = [self._ports.pop(name) for name in names]
        for running in stopping:
            running.is_stopping = True
            running.guard.stop()
            running.poller.stop()
        await self._ended(stopping)

    async def hand_over(self, names: Iterable[str]) -> dict[str, Left]:
        """Ends the polling of ports after the request under way and leaves them open for ``start``.

        Returns:
            What is left, by port.  One that does not end in time, or that listens only, is closed and not among them.
        """
        handing = [self._ports.pop(name) for name in names]
        for running in handing:
            running.is_stopping = True
            running.guard.stop()
            poller = running.poller
            if isinstance(poller, Poller):
                poller.hand_over()
            else:
                poller.stop()
        await self._ended(handing)
        return {
            running.id: Left(estate, running.guard)
            for running in handing
            if isinstance(running.poller, Poller) and (estate := running.poller.estate) is not None
        }

    async def _ended(self, stopping: Iterable[_Running]) -> None:
        """Waits until polling has ended; one that does not end in time is closed."""
        tasks = {running.task: running for running in stopping if running.task is not None}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=_STOP_LIMIT_S)
        for task in late:
            _LOG.error("port %s did not end in time", tasks[task].id)
            tasks[task].poller.stop()
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    async def stop_all(self) -> None:
        """Stops every port."""
        await self.stop(list(self._ports))

    def renumber(self, mappings: dict[str, Numbers]) -> None:
        """Lets the ports that go on under another plan name their blocks as that plan does."""
        for name, running in self._ports.items():
            mapping = mappings[name]
            running.numbers.update({block: mapping[number] for block, number in running.numbers.items()})

    def health(self) -> list[HealthRecord]:
        """Returns what is known of every port, of the devices on it, and of the addresses that DTUs dial in to."""
        running = self._ports.values()
        records = [record for one in running for record in one.guard.health(one.poller.health())]
        return [*records, *self._make.health()] if isinstance(self._make, PortMaker) else records
