"""MQTT topics: ``qianshao/v1/{shard}/{gateway}/...``; the topic implies the payload's type."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from contracts.envelope import Type
from contracts.errors import ContractError
from contracts.keys import GATEWAY_ID

ROOT = "qianshao/v1"
SHARDS = 64


class Channel(StrEnum):
    """The part behind the gateway id."""

    ALARM = "up/alarm"
    DATA = "up/data"
    CATALOGUE = "up/catalogue"
    ASK = "up/ask"
    STATUS = "status"
    RECEIPT = "down/receipt"
    TIME = "down/time"
    COMMAND = "down/command"


#: what a payload on a channel must have been signed as
TYPES: dict[Channel, Type] = {
    Channel.ALARM: Type.ALARM_BATCH,
    Channel.DATA: Type.DATA_BATCH,
    Channel.CATALOGUE: Type.CATALOGUE,
    Channel.ASK: Type.ASK,
    Channel.STATUS: Type.STATUS,
    Channel.RECEIPT: Type.RECEIPT,
    Channel.TIME: Type.TIME,
    Channel.COMMAND: Type.COMMAND,
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic taken apart."""

    shard: int
    gateway: str
    channel: Channel


def shard_of(gateway: str) -> int:
    """Returns the shard (0..63) of a gateway: the low six bits of the first byte of SHA-256."""
    return hashlib.sha256(gateway.encode()).digest()[0] & (SHARDS - 1)


def topic(gateway: str, channel: Channel) -> str:
    """Returns the topic of one channel of one gateway."""
    return f"{ROOT}/{shard_of(gateway)}/{gateway}/{channel}"


def subscription(channel: Channel, shard: int | None = None) -> str:
    """Returns the filter for one channel of all gateways, or of one shard."""
    return f"{ROOT}/{'+' if shard is None else shard}/+/{channel}"


def parse(text: str) -> Topic:
    """Takes a topic apart.

    Raises:
        ContractError: another form, a gateway id of another form, or a shard that is not
            this gateway's.
    """
    parts = text.split("/", 4)
    if len(parts) != 5 or "/".join(parts[:2]) != ROOT:
        raise ContractError(f"topic {text[:120]!r} is not {ROOT}/SHARD/GATEWAY/...")
    shard, gateway, rest = parts[2], parts[3], parts[4]
    if not GATEWAY_ID.fullmatch(gateway):
        raise ContractError(f"topic {text[:120]!r}: {gateway[:32]!r} is no gateway id")
    if shard != str(shard_of(gateway)):
        raise ContractError(f"topic {text[:120]!r}: the shard of {gateway} is {shard_of(gateway)}")
    try:
        return Topic(int(shard), gateway, Channel(rest))
    except ValueError:
        raise ContractError(f"topic {text[:120]!r}: channel {rest[:40]!r} is not known") from None
