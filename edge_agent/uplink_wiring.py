"""From the plan of the uplink to its link and the keys that are believed; nothing is connected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.keys import Verifier, parse_key_line
from contracts.topics import Channel, topic
from edge_agent.backoff import Backoff
from edge_agent.clock import AnchorClock
from edge_agent.errors import ConfigError
from edge_agent.mqtt_link import KEEPALIVE_S, METERED_KEEPALIVE_S, MqttLink
from edge_agent.plan import UplinkPlan


def collector_keys(wanted: UplinkPlan) -> dict[bytes, Verifier]:
    """Returns the collectors whose receipts are believed, by key id."""
    keys = (parse_key_line(line, "uplink.collector_key") for line in wanted.collector_keys)
    return {key.key_id: Verifier(key) for key in keys}


def make_link(
    wanted: UplinkPlan,
    *,
    gateway: str,
    clock: AnchorClock,
    will: Callable[[], bytes],
    is_urgent: Callable[[], bool],
) -> MqttLink:
    """Returns the link to the broker, not connected.

    Args:
        will: returns the signed last will of the next session.
        is_urgent: whether alarms wait, so that it is tried again sooner.
    """
    return MqttLink(
        client_id=gateway,
        host=wanted.host,
        port=wanted.port,
        subscribe=topic(gateway, Channel.RECEIPT).rsplit("/", 1)[0] + "/+",
        will=(topic(gateway, Channel.STATUS), will),
        username=wanted.username,
        password=lambda: _password(wanted.password_file),
        tls_ca=wanted.tls_ca,
        time_bounds=clock.bounds,
        keepalive_s=METERED_KEEPALIVE_S if wanted.metered else KEEPALIVE_S,
        backoff=Backoff(most_s=wanted.link.reconnect_most_s),
        first_spread_s=wanted.link.first_spread_s,
        is_urgent=is_urgent,
    )


def _password(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError([f"uplink.password_file: {path}: {reason}"]) from error
