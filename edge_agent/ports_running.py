"""The ports that are polled now: started, restarted when they fail, and on reload only touched where they differ.

A poller that ends by itself is a defect; it is reported and started again, because a port that
nobody polls looks like a silent street.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from contracts.batch import HealthRecord
from drivers.port import BusPort
from edge_agent.bus.budget import port_budget
from edge_agent.bus.identity_guard import IdentityGuard
from edge_agent.bus.lending import JOB_SHARE
from edge_agent.bus.poller import Codes, Poller, Row, blocks_of_port
from edge_agent.errors import ControlError
from edge_agent.plan import BlockPlan, DevicePlan, Plan, PortPlan
from edge_agent.ports import PortMaker, make_port

if TYPE_CHECKING:
    from edge_agent.bus.listener import Listener

_LOG = logging.getLogger(__name__)
#: pause before a poller that ended by itself is started again
_RESTART_S = 5.0
#: a request under way is bounded by its port; a port that takes longer is left behind
_STOP_LIMIT_S = 4.0

#: block number of the plan that runs, monotonic us, values, codes, monotonic us of the reply
Take = Callable[[int, int, Row, Codes, int], None]
T = TypeVar("T")
#: old block number -> new one
Numbers = dict[int, int]


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

    def start(self, plan: Plan, names: Collection[str] | None = None) -> list[str]:
        """Starts the ports of a plan that do not run yet; returns the ids of those that have something to ask."""
        started = []
        for number, port in enumerate(plan.ports):
            if port.id in self._ports or (names is not None and port.id not in names):
                continue
            blocks = blocks_of_port(plan, number)
            if blocks:
                self._start(port, plan.devices, blocks)
                started.append(port.id)
        return started

    def _start(self, port: PortPlan, devices: tuple[DevicePlan, ...], blocks: dict[int, BlockPlan]) -> None:
        numbers = {block: block for block in blocks}

        async def borrow(job: Callable[[BusPort], Awaitable[T]], seconds: float) -> T:
            return await running.poller.borrow(job, seconds=seconds)

        guard = IdentityGuard(devices, {} if port.listen_only else blocks, self._sink(numbers), borrow)
        sink = guard.take

        def make() -> Poller | Listener:
            if port.listen_only:
                from edge_agent.listening import make_listener

                return make_listener(port, devices, blocks, sink)
            bus = self._make(port)
            return Poller(
                port_id=port.id,
                port=bus,
                devices=devices,
                blocks=blocks,
                sink=sink,
                at_once=True,
                in_flight=port.in_flight,
                line=port,
                budget=port_budget(port, devices, blocks),
            )

        running = _Running(port.id, make, make(), numbers, guard)
        running.task = asyncio.get_running_loop().create_task(self._poll(running))
        self._ports[port.id] = running

    def _sink(self, numbers: Numbers) -> Take:
        def take(block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
            self._take(numbers[block], sampled_us, row, codes, replied_us)

        return take

    async def _poll(self, running: _Running) -> None:
        while True:
            try:
                await running.poller.run()
                if running.is_stopping:
                    return
                _LOG.error("port %s: polling ended by itself", running.id)
            except Exception:
                # The outermost loop of a port: a defect must not leave it silent.
                _LOG.exception("port %s: polling failed", running.id)
            self.restarts += 1
            await asyncio.sleep(_RESTART_S)
            running.poller = running.make()

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

    async def stop(self, names: Iterable[str]) -> None:
        """Stops ports, all at once; one that does not end in time is left behind, and reported."""
        stopping = [self._ports.pop(name) for name in names]
        for running in stopping:
            running.is_stopping = True
            running.guard.stop()
            running.poller.stop()
        tasks = {running.task: running.id for running in stopping if running.task is not None}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=_STOP_LIMIT_S)
        for task in late:
            _LOG.error("port %s did not end in time", tasks[task])
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)

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


def unchanged_ports(old: Plan, new: Plan) -> dict[str, Numbers]:
    """Returns the ports that both plans read alike, with their old block numbers and the new ones."""
    found = {}
    for place, port in enumerate(old.ports):
        mapping = _same_port(old, new, place, port)
        if mapping is not None:
            found[port.id] = mapping
    return found


def _same_port(old: Plan, new: Plan, place: int, port: PortPlan) -> Numbers | None:
    new_place = next((i for i, other in enumerate(new.ports) if other.id == port.id), None)
    if new_place is None or port != new.ports[new_place]:
        return None
    old_blocks, new_blocks = blocks_of_port(old, place), blocks_of_port(new, new_place)
    if len(old_blocks) != len(new_blocks):
        return None
    mapping = {}
    for (number, block), (new_number, new_block) in zip(old_blocks.items(), new_blocks.items(), strict=True):
        if _as_read(old, block) != _as_read(new, new_block):
            return None
        mapping[number] = new_number
    return mapping


def _as_read(plan: Plan, block: BlockPlan) -> tuple[object, ...]:
    """Returns all that a poller goes by; places in the plan's lists are no part of it."""
    return (
        replace(plan.devices[block.device], port=0),
        block.read,
        block.interval_ms,
        block.phase_ms,
        block.is_alarm,
        block.deadline_ms,
        [
            (plan.points[number].key, plan.points[number].kind, plan.points[number].resolution)
            for number in block.points
        ],
    )
