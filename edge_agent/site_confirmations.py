"""What needs all points of a site at once: pairs that name each other, and confirmed limits.

Part of compiling; the last step before the plan.  A confirmation is a letter: who, when, which
file, and for which points.  The file's SHA-256 goes into the plan, so that the letter cannot be
exchanged later.  Limits of points that no letter names are on trial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from edge_agent.config_rules import Confirmed
from edge_agent.plan import PointPlan
from edge_agent.site_report import SiteReport
from rules.confirmation import Confirmation
from rules.pair import PairRule
from rules.point_state import PointRules

#: a letter of this size can still be attached at the centre
_MOST_BYTES = 8 * 1024 * 1024


def finish_rules(
    points: Sequence[PointPlan], confirmations: Sequence[Confirmed], report: SiteReport
) -> tuple[PointPlan, ...]:
    """Returns the points with their pairs checked and their confirmations; what is wrong goes to the report."""
    done = _pair(points, report)
    for index, one in enumerate(confirmations):
        done = _confirm(done, one, f"confirmation[{index}]", report)
    _warn_of_trial(done, report)
    return done


def rule_ids(rules: PointRules) -> tuple[str, ...]:
    """Returns the ids of the rules of a point that a pair can name."""
    return (*(rule.id for rule in rules.limits), *(rule.id for rule in rules.watches))


def named(ids: Iterable[str], name: str) -> list[str]:
    """Returns the ids that a name means: the id itself, or those that end with it."""
    return [id for id in ids if name in (id, id.rpartition("/")[2])]


def _pair(points: Sequence[PointPlan], report: SiteReport) -> tuple[PointPlan, ...]:
    known = {point.key: point for point in points}
    done = []
    for point in points:
        pairs = tuple(_with_other(rule, point, known, report) for rule in point.rules.pairs)
        done.append(point if pairs == point.rules.pairs else replace(point, rules=replace(point.rules, pairs=pairs)))
    return tuple(done)


def _with_other(rule: PairRule, point: PointPlan, known: dict[str, PointPlan], report: SiteReport) -> PairRule:
    """A pair with the full id of the other point's rule."""
    key = f"{point.key}: {rule.id}"
    if rule.point not in known:
        near = ", ".join(sorted(known)[:20])
        report.problem(f"{key}.point", f"there is no point {rule.point!r} on this gateway; there are {near}")
        return rule
    if rule.point == point.key:
        report.problem(f"{key}.point", "is this point itself; name another one")
    ids = rule_ids(known[rule.point].rules)
    found = named(ids, rule.other)
    if len(found) != 1:
        has = ", ".join(ids) or "no rules"
        report.problem(f"{key}.rule", f"{rule.other!r} is not one rule of {rule.point}; it has {has}")
        return rule
    return replace(rule, other=found[0])


def _confirm(points: tuple[PointPlan, ...], one: Confirmed, key: str, report: SiteReport) -> tuple[PointPlan, ...]:
    path = report.folder / one.document
    report.add_input(path)
    try:
        content = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else None
    except OSError as error:
        report.problem(f"{key}.document", f"{one.document!r} cannot be read: {error.strerror or error}")
        return points
    if content is None:
        report.problem(f"{key}.document", f"{one.document!r} is larger than {_MOST_BYTES} bytes")
        return points
    digest = hashlib.sha256(content).digest()
    confirmation = Confirmation(by=one.by, at=one.at, document=path.name, digest=digest)
    for pattern in one.points:
        if not any(fnmatchcase(point.key, pattern) for point in points):
            report.problem(f"{key}.points", f"{pattern!r} is no point here; a key such as {points[0].key!r} would be")
    shared: dict[int, PointRules] = {}
    done = []
    for point in points:
        rules = point.rules
        if any(fnmatchcase(point.key, pattern) for pattern in one.points):
            for changed in _changed_later(rules, one.at):
                report.problem(f"{key}.at", f"{changed} of {point.key} was set after {one.at}; confirm it again")
            rules = shared.setdefault(id(rules), replace(rules, confirmed=confirmation))
        done.append(point if rules is point.rules else replace(point, rules=rules))
    return tuple(done)


def _changed_later(rules: PointRules, at: str) -> list[str]:
    limits = [*rules.limits, *(watch.limit for watch in rules.watches), *(pair.limit for pair in rules.pairs)]
    return [limit.id for limit in limits if limit.set_at > at]


def _warn_of_trial(points: Sequence[PointPlan], report: SiteReport) -> None:
    on_trial = [point.key for point in points if rule_ids(point.rules) and point.rules.confirmed is None]
    if on_trial:
        shown = ", ".join(on_trial[:5]) + (", ..." if len(on_trial) > 5 else "")
        message = f"no letter confirms the limits of {len(on_trial)} points: their alarms are marked trial ({shown})"
        report.warning("confirmation", message)
