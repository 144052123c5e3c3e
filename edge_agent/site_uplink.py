"""The uplink and spool of a site: defaults filled in, key files read, paths made absolute.

Part of compiling.  Nothing is resolved or connected here.
"""

from __future__ import annotations

from contracts.errors import ContractError
from contracts.keys import parse_key_line
from edge_agent.config import Spool, Uplink
from edge_agent.link_plan import LinkPlan
from edge_agent.plan import SpoolPlan, UplinkPlan
from edge_agent.site_report import SiteReport

#: seconds between two seals of ordinary readings, and on a link that is paid by volume
SEAL_INTERVAL_S = 2.0
METERED_SEAL_INTERVAL_S = 60.0
_MB = 1_000_000
_KEY_WORD = "qianshao-key"


def plan_uplink(link: Uplink | None, report: SiteReport) -> UplinkPlan:
    """Returns where sealed batches go; without a link the host is empty."""
    if link is None:
        report.warning("uplink", "there is none; readings stay in the spool of this gateway")
        link, host, port = Uplink(host="none"), "", 0
    else:
        host, port = link.host, link.port
        if not link.collector_key:
            report.warning("uplink.collector_key", "there is none; nothing is sent until a collector's key stands here")
    interval_s = link.seal_interval_s or (METERED_SEAL_INTERVAL_S if link.metered else SEAL_INTERVAL_S)
    return UplinkPlan(
        host=host,
        port=port,
        tls_ca=_file("uplink.tls_ca", link.tls_ca, report),
        username=link.username,
        password_file=_file("uplink.password_file", link.password_file, report),
        seal_interval_s=float(interval_s),
        metered=link.metered,
        collector_keys=_collector_keys(link, report),
        backlog_share=float(link.backlog_share),
        link=_link(link, float(interval_s)),
    )


def _link(link: Uplink, interval_s: float) -> LinkPlan:
    return LinkPlan(
        live_interval_s=min(SEAL_INTERVAL_S, interval_s),
        allowance_bytes=(link.allowance_mb or 0) * _MB,
        billing_day=link.billing_day,
        warn_at=tuple(sorted(map(float, link.allowance_warn))),
        thin_from=float(link.allowance_thin),
        max_bytes_per_s=link.max_bytes_per_s or 0,
        interface=link.interface,
        first_spread_s=float(link.first_connect_spread_s),
        reconnect_most_s=float(link.reconnect_most_s),
    )


def plan_spool(spool: Spool, report: SiteReport) -> SpoolPlan:
    """Returns how much the spool may keep."""
    if spool.reserve_mb >= spool.quota_mb:
        message = f"{spool.reserve_mb} is not below quota_mb {spool.quota_mb}; a part of the quota would be right"
        report.problem("spool.reserve_mb", message)
    return SpoolPlan(
        quota_bytes=spool.quota_mb * _MB, reserve_bytes=spool.reserve_mb * _MB, retention_days=spool.retention_days
    )


def _file(key: str, name: str, report: SiteReport) -> str:
    if not name:
        return ""
    path = report.folder / name
    if not path.is_file():
        report.problem(key, f"{name!r} is no file; one that is there would be right")
    return str(path)


def _collector_keys(link: Uplink, report: SiteReport) -> tuple[str, ...]:
    named = [link.collector_key] if isinstance(link.collector_key, str) else link.collector_key
    lines: list[str] = []
    for text in named:
        source = report.where("uplink.collector_key")
        if not text.lstrip().startswith(_KEY_WORD):
            path = report.folder / text
            report.add_input(path)
            source = f"{source}: {path}"
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
                report.add_problems([f"{source}: cannot be read: {reason}; give a key file or a key line"])
                continue
        try:
            lines.append(parse_key_line(text, source).line())
        except ContractError as error:
            report.add_problems([str(error)])
    return tuple(dict.fromkeys(lines))
