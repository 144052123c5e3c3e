"""Counters in the Prometheus text format, version 0.0.4.  Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from collector.views import AlarmCounts, GatewayView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value:.17g}" if inside else f"{name} {value:.17g}"


def _family(name: str, lines: Sequence[tuple[Mapping[str, str], float]]) -> list[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    return [f"# TYPE {name} {kind}", *(_line(name, labels, value) for labels, value in lines)]


def metrics_text(
    counters: Mapping[str, float],
    gateways: Sequence[GatewayView],
    alarms: AlarmCounts,
    *,
    version: str,
    up_s: float,
) -> str:
    """Returns all counters and the state of the gateways; names ending in ``_total`` only ever grow.

    Args:
        counters: name (without ``qianshao_``) -> value; characters that no name may have become ``_``.
        gateways: for liveness, backlog and silent points.
        alarms: how many stand, and how many are to be reviewed.
        version: of this collector.
        up_s: seconds since it started.
    """
    lines = _family("qianshao_build_info", [({"version": version}, 1)])
    lines += _family("qianshao_up_seconds", [({}, up_s)])
    for name in sorted(counters):
        lines += _family(f"qianshao_{_NOT_A_NAME.sub('_', name)}", [({}, counters[name])])
    states = Counter(gateway.liveness for gateway in gateways)
    words = ("online", "degraded", "silent", "never")
    lines += _family("qianshao_gateways", [({"liveness": word}, states[word]) for word in words])
    grades = dict(alarms.standing)
    colours = ("red", "orange", "yellow", "blue", "info")
    lines += _family("qianshao_alarms_standing", [({"severity": word}, grades.get(word, 0)) for word in colours])
    lines += _family("qianshao_alarms_unacknowledged", [({}, alarms.unacknowledged)])
    lines += _family("qianshao_alarms_to_review", [({}, alarms.to_review)])
    of_gateway: dict[str, list[tuple[Mapping[str, str], float]]] = {"backlog_batches": [], "points_silent": []}
    for gateway in gateways:
        of_gateway["backlog_batches"].append(({"gateway": gateway.id}, gateway.backlog_batches))
        of_gateway["points_silent"].append(({"gateway": gateway.id}, gateway.points_silent))
    for name, found in of_gateway.items():
        if found:
            lines += _family(f"qianshao_gateway_{name}", found)
    return "\n".join(lines) + "\n"
