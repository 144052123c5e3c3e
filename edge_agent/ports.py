"""From a port's plan to a bus port; nothing is opened.

Adapters are imported when the first port needs them: a gateway with one serial line never
loads what TCP needs.  DTUs that dial in share listening addresses, which belong to the process
and so to the one maker here; a port joins its address when it opens and leaves it when it closes.
"""

from __future__ import annotations

import weakref
from dataclasses import asdict
from typing import TYPE_CHECKING

from contracts.batch import HealthRecord
from drivers.port import BusPort, monotonic_us
from edge_agent.plan_ports import PortPlan

if TYPE_CHECKING:
    from drivers.dial_in_listener import DialIns
    from drivers.exchange import LineCounters
    from drivers.tcp import TcpCounters


#: counted by the poller too
_PLAIN = frozenset({"requests", "good", "exceptions", "timeouts"})


class PortMaker:
    """Makes ports, and owns what several of them share."""

    def __init__(self) -> None:
        self._dial_ins: DialIns | None = None
        #: the newest port of each id, while somebody holds it
        self._made: dict[str, weakref.ref[BusPort]] = {}

    def __call__(self, plan: PortPlan) -> BusPort:
        """Returns the port that a plan describes, closed."""
        port = self._make(plan)
        self._made[plan.id] = weakref.ref(port)
        return port

    def _make(self, plan: PortPlan) -> BusPort:
        if plan.kind == "tcp":
            from drivers.tcp import TcpPort

            return TcpPort(plan.host, plan.port, in_flight=plan.in_flight, gateway_timeout_s=plan.gateway_timeout_s)
        if plan.kind == "rtu-tcp":
            from drivers.socket_line import dialling_line

            return dialling_line(
                plan.host,
                plan.port,
                baud=plan.baud,
                gap_s=plan.gap_ms / 1000,
                network_delay_s=plan.network_delay_s,
            )
        if plan.kind == "dtu":
            return self._dtu(plan)
        from drivers.line import SerialLine
        from drivers.serial_wire import LineSettings

        settings = LineSettings(
            path=plan.device, baud=plan.baud, parity=plan.parity, stop_bits=plan.stop_bits, rs485=plan.rs485
        )
        return SerialLine(settings)

    def health(self) -> list[HealthRecord]:
        """Returns what links have counted beyond good replies, and what is known of each address that DTUs dial.

        A link without anything to tell has no record: there can be hundreds.
        """
        now = monotonic_us()
        records = []
        for id, held in tuple(self._made.items()):
            port = held()
            if port is None:
                del self._made[id]
                continue
            report = getattr(port, "electronics", None)
            facts = (*_telling(getattr(port, "counters", None)), *(report().facts() if report is not None else ()))
            if facts:
                records.append(HealthRecord(subject=f"link/{id}", mono_us=now, facts=facts))
        listeners = () if self._dial_ins is None else self._dial_ins.listeners()
        return records + [
            HealthRecord(subject=f"dial-in/{listener.name}", mono_us=now, facts=listener.counters.facts())
            for listener in listeners
        ]

    def _dtu(self, plan: PortPlan) -> BusPort:
        from drivers.dial_in import DtuForm, PacketForm
        from drivers.dial_in_listener import DialIns
        from drivers.socket_line import DialInLine

        if self._dial_ins is None:
            self._dial_ins = DialIns()
        assert plan.registration is not None  # the site file asks for it
        form = DtuForm(
            registration=PacketForm(plan.registration),
            heartbeat=None if plan.heartbeat is None else PacketForm(plan.heartbeat),
        )
        return DialInLine(
            plan.id,
            (plan.host, plan.port),
            form,
            self._dial_ins,
            baud=plan.baud,
            gap_s=plan.gap_ms / 1000,
            network_delay_s=plan.network_delay_s,
            registration_timeout_s=plan.registration_timeout_s,
        )


def _telling(counters: TcpCounters | LineCounters | None) -> tuple[tuple[str, int], ...]:
    """Returns the counters that are not 0 and that the poller does not have; none where all is well."""
    counted = {} if counters is None else asdict(counters)
    facts = tuple((name, number) for name, number in counted.items() if number and name not in _PLAIN)
    return () if facts == (("connects", 1),) else facts


#: the maker of this process
make_port = PortMaker()
