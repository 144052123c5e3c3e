"""From the site file's ``[annunciator]`` to the outputs that the daemon drives; refuses what must not be driven.

Part of compiling.  An output that shows an alarm must be one that a person allowed (``allow_write``), that can be
read back, and that is no valve, fan, pump or gate by its profile.  The role "agent alive" is only for an output that
the board itself lets drop: by a timed pulse, or by a watchdog and a safe state.  What a relay really switches no
file can know: ``docs/annunciator.md`` says what may hang there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from drivers.profile import Profile
from drivers.profile_actions import OutputProfile
from edge_agent.config import Device, Site
from edge_agent.plan import BlockPlan
from edge_agent.plan_annunciator import (
    ALIVE,
    BEACON,
    PULSE,
    SOUNDER,
    WATCHDOG,
    AnnunciatorPlan,
    OutputPlan,
    ReadBack,
    WriteStep,
)
from edge_agent.plan_ports import DevicePlan, PortPlan
from edge_agent.site_report import SiteReport

_ON_COIL = 0xFF00


def plan_annunciator(
    site: Site,
    profiles: Mapping[str, Profile],
    ports: Sequence[PortPlan],
    devices: Sequence[DevicePlan],
    blocks: Sequence[BlockPlan],
    report: SiteReport,
) -> AnnunciatorPlan | None:
    """Returns what the site file says of the annunciator; None where it says nothing.

    Args:
        devices: of the plan.
        blocks: that are read.
    """
    said = site.annunciator
    if said is None:
        return None
    numbers = {device.id: place for place, device in enumerate(devices)}
    book = _Outputs(site, profiles, ports, numbers, blocks, report)
    found: list[OutputPlan | None] = []
    for role, names in ((BEACON, said.beacon), (SOUNDER, said.sounder)):
        found += [book.shown(role, f"annunciator.{role}", name) for name in names]
    if said.alive is not None:
        found.append(book.alive(said.alive.output, said.alive.hold_s))
    if said.alive is not None and blocks:
        _check_rows(said.alive.hold_s, blocks, report)
    if not found:
        report.problem("annunciator", 'drives nothing; beacon = ["DEVICE/OUTPUT"] would be right, or leave it out')
    if said.alive is not None and len(found) == 1:
        report.warning("annunciator", "shows that the agent lives and no alarm; a beacon or sounder is not named")
    return AnnunciatorPlan(
        outputs=tuple(output for output in found if output is not None),
        severities=tuple(dict.fromkeys(said.severities)),
        proof_test_days=said.proof_test_days or 0,
    )


def _check_rows(hold_s: float, blocks: Sequence[BlockPlan], report: SiteReport) -> None:
    """What is renewed by judged rows needs rows: two renewals of an alive output may be lost."""
    fastest_s = min(block.interval_ms for block in blocks) / 1000
    if fastest_s > hold_s / 3:
        report.problem(
            "annunciator.alive.hold_s",
            f"{hold_s:g} s: rows come every {fastest_s:g} s, and each third of it one has to come; "
            f"at least {3 * fastest_s:g} s, or a shorter interval_s, would be right",
        )


class _Outputs:
    """Finds outputs by name and says what is wrong with them."""

    def __init__(
        self,
        site: Site,
        profiles: Mapping[str, Profile],
        ports: Sequence[PortPlan],
        numbers: Mapping[str, int],
        blocks: Sequence[BlockPlan],
        report: SiteReport,
    ) -> None:
        self._devices = {device.id: device for device in site.device}
        self._profiles = profiles
        self._ports = {port.id: port for port in ports}
        self._numbers = numbers
        self._blocks = blocks
        self._report = report
        self._taken: dict[str, str] = {}

    def shown(self, role: str, key: str, name: str) -> OutputPlan | None:
        """Returns an output that shows alarms, or None where it must not be driven."""
        found = self._find(key, name)
        if found is None:
            return None
        device, profile, output = found
        readback = self._readback(device, profile, output)
        if readback is None:
            why = "cannot be read back by its profile" if output.readback is None else "is not read back here"
            cure = (
                "an output whose state can be read would be right"
                if output.readback is None
                else f"device[{device.id}].points.{output.readback}.read = true would be right"
            )
            self._report.problem(key, f"{name} {why}, so nobody would know whether it shows an alarm; {cure}")
            return None
        if profile.watchdog is not None:
            note = output.note or profile.watchdog.note
            self._report.warning(
                key,
                f"{name}: the board has a watchdog, which may change this output when the agent dies; set the board "
                f"so that it keeps its state{f' ({note})' if note else ''}",
            )
        return self._plan(name, role, device, output, readback)

    def alive(self, name: str, hold_s: float) -> OutputPlan | None:
        """Returns the output of the role "agent alive", or None where the board would not let it drop."""
        key = "annunciator.alive.output"
        found = self._find(key, name)
        if found is None:
            return None
        device, profile, output = found
        if not any(block.device == self._numbers[device.id] for block in self._blocks):
            message = f"nothing of {device.id} is read, so its line may not be asked on; a point with read = true"
            self._report.problem(key, f"{name}: {message} would be right")
            return None
        pulse = output.pulse
        if pulse is not None:
            count = math.ceil(hold_s * 1000 / pulse.count_ms)
            if count > pulse.most:
                longest = pulse.most * pulse.count_ms / 1000
                self._report.problem(
                    "annunciator.alive.hold_s",
                    f"{hold_s:g} s is more than the board's pulse can last; up to {longest:g} s would be right",
                )
                return None
            step = WriteStep(function=pulse.function, address=pulse.address, values=(*pulse.before, pulse.add + count))
            return self._plan(name, ALIVE, device, output, None, on=step, drops_by=PULSE, hold_s=hold_s)
        if profile.watchdog is not None and output.safe is not None:
            self._report.warning(
                key,
                f"{name} drops by the board's watchdog only if the board is set so: {hold_s:g} s in "
                f"{_register(profile)}, and its safe state off in {output.safe.table} {output.safe.address}"
                f"{f' ({output.note})' if output.note else ''}; prove it by stopping the agent",
            )
            readback = self._readback(device, profile, output)
            return self._plan(name, ALIVE, device, output, readback, drops_by=WATCHDOG, hold_s=hold_s)
        fit = ", ".join(_that_drop(profile)) or f"none of profile {profile.id}"
        self._report.problem(
            key,
            f"{name} stays on when the agent dies: its profile knows neither a timed pulse of it nor a watchdog with a "
            f"safe state; an output that the board lets drop by itself would be right ({fit})",
        )
        return None

    def _find(self, key: str, name: str) -> tuple[Device, Profile, OutputProfile] | None:
        """Returns the output that a name means; None, and a problem, where it must not be driven at all."""
        id, _, local = name.partition("/")
        device = self._devices.get(id)
        if device is None:
            self._report.problem(key, f"there is no device {id!r}; there are {', '.join(self._devices)}")
            return None
        profile = self._profiles.get(device.profile)
        if profile is None or device.id not in self._numbers:
            return None  # reported where the device stands
        output = profile.outputs.get(local)
        if output is None:
            known = ", ".join(f"{id}/{other}" for other in profile.outputs) or "a relay board's"
            self._report.problem(key, f"profile {profile.id!r} has no output {local!r}; {known} would be right")
            return None
        refusal = self._refusal(name, device, output)
        if refusal:
            self._report.problem(key, refusal)
            return None
        self._taken[name] = key
        return device, profile, output

    def _refusal(self, name: str, device: Device, output: OutputProfile) -> str:
        """Returns why an output must not be driven; empty where it may."""
        if output.drives:
            return (
                f"{name} drives a {output.drives} by its profile; only beacons and sounders may be driven, never a "
                "valve, fan, pump or gate"
            )
        if self._ports[device.port].listen_only:
            return f"{name}: port {device.port} is only listened to; a line of the agent's own would be right"
        if not device.allow_write:
            return (
                f"{name}: nothing may be written to {device.id}; device[{device.id}].allow_write = true would be right"
            )
        if name in self._taken:
            return f"{name} stands in {self._taken[name]} already; one role per output would be right"
        return ""

    def _readback(self, device: Device, profile: Profile, output: OutputProfile) -> ReadBack | None:
        """Returns where an output's state is read: in the request that polls its point, as some boards want it."""
        number = self._numbers[device.id]
        for block in self._blocks:
            if block.device != number:
                continue
            for step in block.read.points:
                if step.name != output.readback:
                    continue
                is_bit = step.data_type.startswith("bit")
                if not is_bit and step.data_type != "u16":
                    return None
                read = block.read
                is_bits = read.table in ("coil", "discrete")
                return ReadBack(
                    table=read.table,
                    address=read.address,
                    count=read.count,
                    offset=step.offset,
                    bit=int(step.data_type[3:]) if is_bit and not is_bits else -1,
                    on=(1,) if is_bit else tuple(dict.fromkeys((1, output.on))),
                    off=(0,) if is_bit else tuple(dict.fromkeys(word for word in (0, output.off) if word != output.on)),
                )
        return None

    def _plan(
        self,
        name: str,
        role: str,
        device: Device,
        output: OutputProfile,
        readback: ReadBack | None,
        *,
        on: WriteStep | None = None,
        drops_by: str = "",
        hold_s: float = 0.0,
    ) -> OutputPlan:
        return OutputPlan(
            name=name,
            role=role,
            device=self._numbers[device.id],
            on=on or _write(output, output.on),
            off=_write(output, output.off),
            readback=readback,
            drops_by=drops_by,
            hold_s=float(hold_s),
        )


def _write(output: OutputProfile, value: int) -> WriteStep:
    function = output.write_function
    word = (_ON_COIL if value else 0) if function == 5 else value
    return WriteStep(function=function, address=output.address, values=(word,))


def _register(profile: Profile) -> str:
    assert profile.watchdog is not None
    return f"{profile.watchdog.table} {profile.watchdog.address}"


def _that_drop(profile: Profile) -> Iterator[str]:
    for name, output in profile.outputs.items():
        if output.pulse is not None or (profile.watchdog is not None and output.safe is not None):
            yield name
