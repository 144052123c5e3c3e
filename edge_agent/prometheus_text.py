"""Health records as Prometheus text.  Pure: records in, text out.

The form is the text exposition format, version 0.0.4 (prometheus.io, "Exposition formats"): HELP and TYPE
once for each metric, label values escaped, base units (seconds, bytes, ratios), counters end in ``_total``.
Every number of the health records is there; a fact that this table does not know becomes
``qianshao_SUBJECT_FACT``, a word becomes a gauge of 1 with the word as a label.  What is not known is
left out, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.batch import HealthRecord

_PLAIN = re.compile(r"[^a-z0-9_]")
#: ends of names, what they become, and by what the number is multiplied
_UNITS = (("_ms", "_seconds", 1e-3), ("_us", "_seconds", 1e-6), ("_s", "_seconds", 1.0), ("_kb", "_bytes", 1024.0))
_QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
#: facts that only grow while the agent runs
_COUNTERS = frozenset(
    {
        "requests",
        "good",
        "retries",
        "not_asked",
        "missed_ticks",
        "faults",
        "jobs",
        "probes_s",
        "cpu_s",
        "written_bytes",
        "readings_lost",
        "port_restarts",
        "sealed_batches",
        "sealed_readings",
        "sealed_bytes",
        "link_sent",
        "link_resent",
        "link_receipts",
        "link_receipts_ignored",
        "link_connects",
        "link_bytes_sent",
    }
)
#: facts that end like a unit and have none
_NO_UNIT = frozenset({"good_per_s"})
_HELP = {
    "requests": "Requests that were sent.",
    "good": "Requests that were answered with values.",
    "good_per_s": "Answered requests a second, over the last one to two minutes.",
    "failed": "Requests that gave no values, by cause.",
    "retries": "Second attempts.",
    "not_asked": "Ticks that were not asked because the device is silent.",
    "missed_ticks": "Ticks that nobody had time for.",
    "bus_load": "Part of the time in which a request was under way.",
    "late_worst_ms": "Longest time from a tick to its request, over the last one to two minutes.",
    "latency": "Answer time of the device, without the time of the frames, over the last one to two minutes.",
    "receipt_latency": "Time from sending a batch to its receipt, over the last one to two minutes.",
    "oldest_unsent_s": "How long the oldest batch waits for its receipt, in running time of the agent.",
    "spool_bytes": "Size of the spool.",
    "backlog_data_batches": "Data batches without a receipt.",
    "backlog_alarm_batches": "Alarm batches without a receipt.",
    "readings_lost": "Readings that could not be kept.",
    "written_bytes": "Bytes that the agent caused to be written to storage.",
    "written_bytes_day": "The same for a day, at the rate of the last one to two days.",
    "card_written_bytes_day": "Bytes written to the whole device in a day, by everybody.",
    "card_life_days": "Days that the card lasts at that rate, by the endurance that the site file states.",
    "clock_uncertainty_ms": "How wrong the clock may be.",
    "cpu_s": "Processor time of the agent.",
    "cpu_percent": "Processor time of the agent over the last one to two minutes, percent of one core.",
    "pss_kb": "Proportional memory of the agent.",
    "rss_kb": "Resident memory of the agent.",
    "temperature_cel": "Hottest zone of the processor, degrees Celsius.",
    "undervoltage": "Whether the supply is too low now.",
    "last_reboot": "Why the machine started.",
    "last_stop": "How the agent ended last time.",
    "reload": "Where the newest reload of the configuration stands.",
}


@dataclass(frozen=True, slots=True)
class _Sample:
    metric: str
    kind: str
    help: str
    labels: tuple[tuple[str, str], ...]
    value: float | int


def metrics_text(records: Iterable[HealthRecord]) -> str:
    """Returns every fact of the records as one text; a metric's samples stand together."""
    found: dict[str, list[_Sample]] = {}
    for record in records:
        subject, _, name = record.subject.partition("/")
        own = ((subject, name),) if name else ()
        for fact, value in record.facts:
            if value is None:
                continue
            sample = _sample(_PLAIN.sub("_", subject), fact, value, own)
            found.setdefault(sample.metric, []).append(sample)
    lines = []
    for metric, samples in found.items():
        lines += [f"# HELP {metric} {_escaped_help(samples[0].help)}", f"# TYPE {metric} {samples[0].kind}"]
        lines += [f"{metric}{_labels(sample.labels)} {_number(sample.value)}" for sample in samples]
    return "\n".join(lines) + "\n" if lines else "\n"


def _sample(subject: str, fact: str, value: float | str, own: tuple[tuple[str, str], ...]) -> _Sample:
    prefix = "qianshao" if subject == "agent" else f"qianshao_{subject}"
    if isinstance(value, str):
        word = _PLAIN.sub("_", fact)
        return _Sample(f"{prefix}_{word}_info", "gauge", _help(fact, fact), (*own, (word, value)), 1)
    if fact.startswith("failed_"):
        labels = (*own, ("cause", fact.removeprefix("failed_")))
        return _Sample(f"{prefix}_failed_total", "counter", _HELP["failed"], labels, value)
    base, _, end = fact.removesuffix("_ms").rpartition("_")
    if fact.endswith("_ms") and end in _QUANTILES:
        labels = (*own, ("quantile", _QUANTILES[end]))
        return _Sample(f"{prefix}_{base}_seconds", "gauge", _help(base, fact), labels, value / 1000)
    name, scale = fact, 1.0
    for suffix, unit, factor in _UNITS:
        if fact.endswith(suffix) and fact not in _NO_UNIT:
            name, scale = fact.removesuffix(suffix) + unit, factor
            break
    is_counter = fact in _COUNTERS
    metric = f"{prefix}_{_PLAIN.sub('_', name.lower())}{'_total' if is_counter else ''}"
    number = value if scale == 1.0 else value * scale
    return _Sample(metric, "counter" if is_counter else "gauge", _help(fact, fact), own, number)


def _help(fact: str, name: str) -> str:
    return _HELP.get(fact, f"The fact {name} of the health records.")


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _labels(labels: Sequence[tuple[str, str]]) -> str:
    if not labels:
        return ""
    parts = []
    for name, value in labels:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        parts.append(f'{_PLAIN.sub("_", name)}="{escaped}"')
    return "{" + ",".join(parts) + "}"


def _number(value: float | int) -> str:
    return str(value) if isinstance(value, int) else repr(round(value, 9))
