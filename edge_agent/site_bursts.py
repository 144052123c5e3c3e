"""The bursts of a site's devices: which points, how fast, and the points that are computed of them.

Part of compiling; not for the daemon.  What is computed and how is ``edge_agent.vibration``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from fractions import Fraction

from contracts.quantities import QUANTITIES
from drivers.build import PointChoice, plan_device
from drivers.errors import ProfileError
from drivers.plan import BlockRead
from drivers.profile import Profile
from edge_agent.bus.request_time import read_bytes, wire_s
from edge_agent.config import Burst, Device, FeatureChange, Names, Point, Site, device_key
from edge_agent.plan import PointPlan
from edge_agent.plan_ports import DevicePlan, PortPlan
from edge_agent.site_points import SitePoints
from edge_agent.site_report import SiteReport
from edge_agent.site_rules import RuleBook
from edge_agent.vibration.burst import LEAST_ROWS
from edge_agent.vibration.records import CHANNEL_FEATURES, BurstPlan, Feature, FeatureBlock

#: rows of one burst, at most: what is kept in memory of each device
_MOST_ROWS = 20_000
#: from the end of one burst to the beginning of the next, at least this part of a burst
_REST_SHARE = 0.5
_SILENT_INTERVALS = 3
_AXES = ("x", "y", "z")
_DEFAULT = ("rms", "peak", "frequency")
_WORDS = {
    "mean": ("mean", "均值"),
    "rms": ("RMS", "有效值"),
    "peak": ("peak", "峰值"),
    "p2p": ("peak to peak", "峰峰值"),
    "frequency": ("dominant frequency", "主频"),
    "tilt": ("tilt from gravity", "重力倾角"),
    "drift": ("tilt drift", "倾角漂移"),
}


class SiteBursts:
    """Makes the burst plans, and adds the points that they compute behind those that are read."""

    def __init__(self, found: SitePoints, book: RuleBook, report: SiteReport) -> None:
        self._found = found
        self._book = book
        self._report = report

    def plan(
        self,
        site: Site,
        profiles: Mapping[str, Profile],
        ports: Sequence[PortPlan],
        devices: Sequence[DevicePlan],
    ) -> tuple[BurstPlan, ...]:
        """Returns the bursts of all devices; what is wrong goes to the report."""
        numbers = {device.id: number for number, device in enumerate(devices)}
        plans: list[BurstPlan] = []
        for index, device in enumerate(site.device):
            number, profile = numbers.get(device.id), profiles.get(device.profile)
            if device.burst is None or number is None or profile is None:
                continue
            where = f"{device_key(index, device.id)}.burst"
            if importlib.util.find_spec("numpy") is None:
                self._report.problem(where, "needs numpy; install qianshao with the extra vibration")
            plan = self._one(device, device.burst, profile, devices[number], number, len(plans), where)
            if plan is not None:
                self._check_line(plan, device.burst, ports[devices[number].port], devices[number], where)
                plans.append(plan)
        return tuple(plans)

    def _one(
        self,
        device: Device,
        burst: Burst,
        profile: Profile,
        planned: DevicePlan,
        number: int,
        turn: int,
        where: str,
    ) -> BurstPlan | None:
        names = burst.points or [
            name
            for name, point in profile.all_points.items()
            if point.quantity == "acceleration" and name in self._read_names(number)
        ]
        read = self._read(device, profile, names, number, where)
        if read is None:
            return None
        channels = [self._read_names(number)[step.name] for step in read.points]
        suffixes = [profile.all_points[step.name].suffix for step in read.points]
        features = self._features(burst, [self._found.points[channel] for channel in channels], suffixes, where)
        length_ms, interval_ms = round(burst.length_s * 1000), round(burst.every_s * 1000)
        self._check_times(burst, where)
        first = len(self._found.points)
        known = {self._name(feature, suffixes): feature for feature in features}
        for name in burst.feature:
            if name not in known:
                message = f"this burst computes no such feature; it computes {', '.join(known)}"
                self._report.problem(f"{where}.feature.{name}", message)
        for name, feature in known.items():
            own = burst.feature.get(name, FeatureChange())
            key = f"{where}.feature.{name}"
            self._found.points.append(self._point(device, burst, own, feature, name, channels, suffixes, key))
        points = range(first, len(self._found.points))
        return BurstPlan(
            device=number,
            read=read,
            channels=tuple(channels),
            step_us=round(1_000_000 / burst.rate_hz),
            length_ms=length_ms,
            features=tuple(known.values()),
            block=FeatureBlock(
                points=tuple(points),
                interval_ms=interval_ms,
                phase_ms=turn * (length_ms + length_ms // 2) % interval_ms,
                is_alarm=any(self._found.points[point].rules.limits for point in points),
            ),
            upright=None if burst.upright is None else (burst.upright[0], burst.upright[1], burst.upright[2]),
            keeps_waveform=burst.waveform,
        )

    # -- what is read ----------------------------------------------------------------

    def _read_names(self, number: int) -> dict[str, int]:
        """Names of the points that are read of a device, and their numbers."""
        return {
            step.name: point
            for block in self._found.blocks
            if block.device == number
            for step, point in zip(block.read.points, block.points, strict=True)
        }

    def _read(
        self, device: Device, profile: Profile, names: Sequence[str], number: int, where: str
    ) -> BlockRead | None:
        known = self._read_names(number)
        wrong = [name for name in names if name not in known]
        if wrong or not names:
            message = f"{', '.join(wrong) or 'no acceleration'} is not read of this device; points that are: "
            self._report.problem(f"{where}.points", message + ", ".join(known))
            return None
        interval_ms = max(1, round(1000 / device.burst.rate_hz)) if device.burst is not None else 1
        choices = {
            name: PointChoice(unit=device.points.get(name, Point()).unit, interval_ms=interval_ms) for name in names
        }
        try:
            reads = plan_device(profile, choices)
        except ProfileError as error:
            for problem in error.problems:
                self._report.problem(f"{where}.points", problem.message)
            return None
        if len(reads) != 1 or reads[0].trigger is not None or len(names) > 16:
            message = "a burst is one read of at most 16 points without a trigger, again and again"
            self._report.problem(f"{where}.points", f"{message}; {len(reads)} reads would be needed for these points")
            return None
        return reads[0]

    # -- what is computed ------------------------------------------------------------

    def _features(
        self, burst: Burst, points: Sequence[PointPlan], suffixes: Sequence[str | None], where: str
    ) -> list[Feature]:
        has_axes = tuple(suffixes[:3]) == _AXES and len({point.unit for point in points[:3]}) == 1
        has_axes = has_axes and all(point.quantity == "acceleration" for point in points[:3])
        wanted: Sequence[str] = burst.features
        if not wanted:
            wanted = [*_DEFAULT, *(["tilt"] if has_axes else []), *(["drift"] if burst.upright is not None else [])]
        if not has_axes and ("tilt" in wanted or "drift" in wanted):
            message = "tilt and drift need the accelerations x, y and z, in this order and one unit, first"
            self._report.problem(f"{where}.features", message)
        if "drift" in wanted and burst.upright is None:
            message = 'drift is the angle to "upright"; give the means of x, y and z of the day when it was zero'
            self._report.problem(f"{where}.upright", message)
        if burst.upright is not None and not any(burst.upright):
            self._report.problem(f"{where}.upright", "0, 0, 0 has no direction; the means of x, y and z would be right")
        found: list[Feature] = []
        for channel in range(len(points)):
            for kind in dict.fromkeys(kind for kind in wanted if kind in CHANNEL_FEATURES):
                ranks = burst.frequencies if kind == "frequency" else 1
                found += [Feature(kind=kind, channel=channel, rank=rank) for rank in range(ranks)]
        if has_axes and "tilt" in wanted:
            # Of the third axis the tilt says what those of the other two say.
            found += [Feature(kind="tilt", channel=channel) for channel in range(2)]
        if has_axes and "drift" in wanted:
            found.append(Feature(kind="drift", channel=0))
        return found

    def _name(self, feature: Feature, suffixes: Sequence[str | None]) -> str:
        """What a feature is called in the site file."""
        if feature.kind == "drift":
            return "drift"
        place = suffixes[feature.channel] or str(feature.channel + 1)
        if feature.kind == "tilt":
            return f"tilt-{place}"
        return f"{place}-{feature.kind}" + (f"-{feature.rank + 1}" if feature.kind == "frequency" else "")

    def _point(
        self,
        device: Device,
        burst: Burst,
        own: FeatureChange,
        feature: Feature,
        name: str,
        channels: Sequence[int],
        suffixes: Sequence[str | None],
        key: str,
    ) -> PointPlan:
        source = self._found.points[channels[feature.channel]]
        place = suffixes[feature.channel] or str(feature.channel + 1)
        quantity, unit, suffix = source.quantity, source.unit, name
        if feature.kind == "frequency":
            quantity, unit, suffix = "frequency", QUANTITIES["frequency"].unit, f"{place}-{feature.rank + 1}"
        elif feature.kind in ("tilt", "drift"):
            quantity, unit = "tilt", QUANTITIES["tilt"].unit
            suffix = "drift" if feature.kind == "drift" else f"gravity-{place}"
        silence_s = own.longest_silence_s or _SILENT_INTERVALS * burst.every_s
        rules = self._book.rules_of(
            Point(rules=own.rules, limits=own.limits),
            quantity=quantity,
            unit=unit,
            silence_after_s=silence_s,
            key=key,
            report=self._report,
        )
        en, zh = _names(own.name, device, source, feature)
        return PointPlan(
            key=self._found.take_key(device, quantity, suffix, key),
            quantity=quantity,
            unit=unit,
            kind="f32",
            resolution=Fraction(1),
            low=source.low if feature.kind == "mean" else None,
            high=source.high if feature.kind == "mean" else None,
            longest_silence_ms=round(silence_s * 1000),
            device=source.device,
            en=en,
            zh=zh,
            rules=rules,
        )

    # -- whether it can be -----------------------------------------------------------

    def _check_times(self, burst: Burst, where: str) -> None:
        rows = burst.rate_hz * burst.length_s
        if not LEAST_ROWS <= rows <= _MOST_ROWS:
            message = f"{rows:.0f} reads in a burst; {LEAST_ROWS} to {_MOST_ROWS} would be right"
            self._report.problem(f"{where}.length_s", message)
        least_s = burst.length_s * (1 + _REST_SHARE)
        if burst.every_s < least_s:
            message = f"a burst of {burst.length_s:g} s every {burst.every_s:g} s leaves no room; "
            self._report.problem(f"{where}.every_s", f"{message}{least_s:g} s or more would be right")

    def _check_line(self, plan: BurstPlan, burst: Burst, port: PortPlan, device: DevicePlan, where: str) -> None:
        if port.listen_only:
            message = f"port {port.id!r} is only listened to, and a burst asks; a line of its own would be right"
            self._report.problem(where, message)
        step_s = plan.step_us / 1_000_000
        gap_s = device.min_request_gap_ms / 1000
        if port.baud:
            gap_s += wire_s(port, read_bytes(plan.read))
        if gap_s > step_s:
            message = (
                f"{burst.rate_hz:g} Hz is faster than the line and the device allow: "
                f"one read needs {gap_s * 1000:.1f} ms, frames and silences alone; "
                f"below {1 / gap_s:.0f} Hz would be right"
            )
            self._report.problem(f"{where}.rate_hz", message)
        elif gap_s > 0.5 * step_s:
            message = (
                f"the reads take {gap_s / step_s:.0%} of the line's time and the device's answers the rest: "
                "the true rate may be lower, and is shown"
            )
            self._report.warning(f"{where}.rate_hz", message)


def _names(own: Names | None, device: Device, source: PointPlan, feature: Feature) -> tuple[str, str]:
    if own is not None:
        return own.en, own.zh
    en, zh = _WORDS[feature.kind]
    if feature.kind == "frequency":
        en, zh = f"{en} {feature.rank + 1}", f"{zh} {feature.rank + 1}"
    if feature.kind == "drift":
        # Of the device, not of one axis: the source's name up to its own part.
        return f"{source.en.rpartition(' · ')[0] or device.id} · {en}", f"{source.zh.rpartition(' · ')[0]} · {zh}"
    return _short(f"{source.en}, {en}"), _short(f"{source.zh}{zh}")


def _short(name: str) -> str:
    """The catalogue takes 256 bytes; the device and the axis stand first."""
    return name.encode()[:256].decode(errors="ignore")
