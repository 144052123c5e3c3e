"""Parts that most gateways have none of: bursts, the annunciator, figures served to monitoring.

Each is imported when a plan names it for the first time, so that nobody else's agent is larger for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from contracts.batch import HealthRecord
from edge_agent.clock import monotonic_us
from edge_agent.judge import Judge
from edge_agent.plan import Plan
from edge_agent.plan_own import OwnPlan
from edge_agent.ports_running import RunningPorts
from edge_agent.row_path import RowPath
from edge_agent.sealer import Sealer

if TYPE_CHECKING:
    from edge_agent.annunciator import Annunciator
    from edge_agent.metrics_server import MetricsServer
    from edge_agent.vibration.bursts import Bursts


class OptionalParts:
    """Starts what the plan names, and lets it follow the plan."""

    def __init__(
        self,
        *,
        gateway: str,
        boot_id: bytes,
        ports: RunningPorts,
        rows: RowPath,
        judge: Judge,
        sealer: Sealer,
        health: Callable[[], tuple[HealthRecord, ...]],
        watch_over: Callable[[str, Coroutine[Any, Any, None]], None],
    ) -> None:
        """Takes what the parts need; starts none.

        Args:
            health: all that monitoring is told.
            watch_over: runs something named that never ends by itself.
        """
        self._gateway, self._boot_id = gateway, boot_id
        self._ports, self._rows, self._judge, self._sealer = ports, rows, judge, sealer
        self._health = health
        self._watch_over = watch_over
        self._bursts: Bursts | None = None
        self._metrics: MetricsServer | None = None
        #: there where the plan that runs, or one before it, has one
        self.annunciator: Annunciator | None = None

    def start_bursts(self, plan: Plan) -> None:
        """Starts the bursts of the plan that runs, where it has any."""
        if not plan.bursts:
            return
        from edge_agent.vibration.bursts import Bursts
        from edge_agent.vibration.slots import Slots

        self._bursts = Bursts(
            gateway=self._gateway,
            boot_id=self._boot_id,
            read=Slots(self._ports.borrow, monotonic_us).read,
            take=self._rows.take,
            keep=self._sealer.take_waveforms,
            clock=monotonic_us,
        )
        self._rows.on_events = self._bursts.take_events
        self._bursts.start(plan)

    async def stop_bursts(self) -> None:
        """Stops them; safe to call twice."""
        bursts, self._bursts = self._bursts, None
        self._rows.on_events = None
        if bursts is not None:
            await bursts.stop()

    def start_annunciator(self, plan: Plan) -> None:
        """Lets the annunciator follow the plan that runs now, where one has or had any."""
        if self.annunciator is not None:
            self.annunciator.take_plan(plan)
        elif plan.annunciator is not None:
            from edge_agent.annunciator import Annunciator

            self.annunciator = Annunciator(
                plan=plan, ports=self._ports, judge=self._judge, clock=monotonic_us, note=self._sealer.note
            )
            self._sealer.on_events = self.annunciator.take_events
            self._rows.on_judged = self.annunciator.judged
            self._watch_over("the annunciator", self.annunciator.run())

    async def serve_metrics(self, own: OwnPlan) -> None:
        """Listens for monitoring where the plan says, or nowhere."""
        if self._metrics is None and not own.metrics_host:
            return
        if self._metrics is None:
            from edge_agent.metrics_server import MetricsServer
            from edge_agent.prometheus_text import metrics_text

            self._metrics = MetricsServer(lambda: metrics_text(self._health()))
        await self._metrics.serve(own.metrics_host, own.metrics_port)

    async def stop(self) -> None:
        """Ends what listens and what reads; the annunciator ends with its task."""
        if self._metrics is not None:
            await self._metrics.close()
        await self.stop_bursts()

    def health(self) -> tuple[HealthRecord, ...]:
        """Returns what is known of bursts and annunciator."""
        bursts = () if self._bursts is None else self._bursts.health()
        annunciator = () if self.annunciator is None else self.annunciator.health()
        return (*bursts, *annunciator)
