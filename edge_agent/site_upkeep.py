"""What a site file says of bump tests, calibrations and streets, turned into the plan's form.

Part of compiling.  A default of a device counts for its points that measure something (calibration) and for its gas
points (bump test); heartbeats, status words and the like are nobody's to calibrate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from contracts.quantities import GASES
from contracts.upkeep import is_date_or_empty
from edge_agent.config import Device, Point, Site
from edge_agent.plan_upkeep import UpkeepPlan, Watched
from edge_agent.replacements import Replacement
from edge_agent.site_report import SiteReport

#: what an instrument tells of itself; nobody calibrates it
_OWN_WORDS = frozenset(
    {
        "days-to-calibration",
        "time-to-replacement",
        "sensor-life",
        "heartbeat",
        "status",
        "liquid",
        "echo",
        "input",
        "output",
        "pulses",
        "data-age",
        "own-alarm",
        "own-warning",
        "own-fault",
        "raw",
    }
)
#: points that one hint names
_NAMED = 3


class SiteUpkeep:
    """Collects the jobs of points as they are numbered."""

    def __init__(self, report: SiteReport) -> None:
        self._report = report
        self._watched: list[Watched] = []
        self._unwatched: list[str] = []

    def add_point(self, key: str, quantity: str, device: Device, own: Point, where: str) -> None:
        """Adds what is said of one point.

        Args:
            key: of the point.
            quantity: that it measures.
            own: what the site says of this point.
            where: of the point in the site file.
        """
        is_gas, is_measured = quantity in GASES, quantity not in _OWN_WORDS
        if own.bump_days and not is_gas:
            message = f"{key} measures {quantity}; a bump test is done with gas, at a gas point"
            self._report.problem(f"{where}.bump_days", message)
        if own.calibration_days and not is_measured:
            message = f"{key} is {quantity}, which the instrument tells of itself; a measured value would be right"
            self._report.problem(f"{where}.calibration_days", message)
        bump = device.bump_days if own.bump_days is None else own.bump_days
        calibration = device.calibration_days if own.calibration_days is None else own.calibration_days
        jobs = (("bump", bump, is_gas), ("calibration", calibration, is_measured))
        self._watched += [Watched(point=key, job=job, days=days) for job, days, fits in jobs if days and fits]
        if is_gas and bump is None and calibration is None:
            self._unwatched.append(key)

    def plan(self, site: Site, devices: Iterable[str], replacements: Sequence[Replacement]) -> UpkeepPlan:
        """Returns the plan's form of it, and hints at gas points that nobody watches.

        Args:
            devices: ids of the devices that are in the plan, in its order.
            replacements: of units, oldest first.
        """
        said = {device.id: device for device in site.device}
        names = list(devices)
        streets = [said[name].street or site.gateway.street for name in names]
        if self._unwatched:
            some = ", ".join(self._unwatched[:_NAMED])
            more = f" and {len(self._unwatched) - _NAMED} more" if len(self._unwatched) > _NAMED else ""
            message = (
                f"{some}{more}: gas points without bump_days and calibration_days; nobody is told when they are due"
            )
            self._report.warning("device", message)
        return UpkeepPlan(
            watched=tuple(self._watched),
            streets=tuple(streets) if any(streets) else (),
            calibrated=tuple(self._calibrated(said, names, replacements)),
            grace_days=site.gateway.grace_days,
        )

    def _calibrated(
        self, said: Mapping[str, Device], names: Iterable[str], replacements: Sequence[Replacement]
    ) -> Iterable[tuple[str, str]]:
        """Yields the calibration day of each device whose unit of now was accepted with one."""
        for name in names:
            serial, day = said[name].serial, ""
            for one in replacements:
                if one.device == name and one.old == serial:
                    serial, day = one.new, one.calibrated
            if not is_date_or_empty(day):
                # Older versions took such a day; a plan that holds one could not be read again.
                message = f"{serial} was accepted as calibrated on {day}, which is no day; it counts as not known"
                self._report.warning(f"device[{name}].serial", message)
            elif day:
                yield name, day
