"""Topics: built and taken apart; another form or another shard is refused."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import Type
from contracts.errors import ContractError
from contracts.topics import SHARDS, TYPES, Channel, Topic, parse, shard_of, subscription, topic
from tests.contracts.strategies import gateways

GATEWAY = "g-aaaaaaaaaaaa"


@given(gateways, st.sampled_from(Channel))
def test_parse_after_topic_is_identity(gateway: str, channel: Channel) -> None:
    assert parse(topic(gateway, channel)) == Topic(shard_of(gateway), gateway, channel)


@given(gateways)
def test_the_shard_is_six_bits_of_the_hash(gateway: str) -> None:
    assert shard_of(gateway) == hashlib.sha256(gateway.encode()).digest()[0] % 64
    assert 0 <= shard_of(gateway) < SHARDS


def test_every_channel_implies_one_type() -> None:
    assert set(TYPES) == set(Channel)
    assert len(set(TYPES.values())) == len(TYPES)
    assert set(Type) - set(TYPES.values()) == {Type.CHECKPOINT}


def test_a_worked_example() -> None:
    assert topic(GATEWAY, Channel.ALARM) == f"qianshao/v1/{shard_of(GATEWAY)}/{GATEWAY}/up/alarm"
    assert subscription(Channel.DATA) == "qianshao/v1/+/+/up/data"
    assert subscription(Channel.RECEIPT, 7) == "qianshao/v1/7/+/down/receipt"


_shard = shard_of(GATEWAY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "qianshao/v1",
        f"qianshao/v1/{_shard}/{GATEWAY}",
        f"qianshao/v1/{_shard}/{GATEWAY}/",
        f"qianshao/v1/{_shard}/{GATEWAY}/up",
        f"qianshao/v1/{_shard}/{GATEWAY}/up/alarm/",
        f"qianshao/v1/{_shard}/{GATEWAY}/up/alarm/x",
        f"qianshao/v1/{_shard}/{GATEWAY}/up/config",
        f"qianshao/v1/{_shard}/{GATEWAY}/UP/ALARM",
        f"/qianshao/v1/{_shard}/{GATEWAY}/up/alarm",
        f"qianshao/v2/{_shard}/{GATEWAY}/up/alarm",
        f"other/v1/{_shard}/{GATEWAY}/up/alarm",
        f"qianshao/v1/{(_shard + 1) % SHARDS}/{GATEWAY}/up/alarm",
        f"qianshao/v1/{_shard + SHARDS}/{GATEWAY}/up/alarm",
        f"qianshao/v1/0{_shard}/{GATEWAY}/up/alarm",
        f"qianshao/v1/ {_shard}/{GATEWAY}/up/alarm",
        f"qianshao/v1/+/{GATEWAY}/up/alarm",
        f"qianshao/v1/{_shard}/+/up/alarm",
        f"qianshao/v1/{_shard}/{GATEWAY.upper()}/up/alarm",
        f"qianshao/v1/{_shard}/{GATEWAY}a/up/alarm",
        f"qianshao/v1/{_shard}/{GATEWAY[:-1]}1/up/alarm",
        f"qianshao/v1/{_shard}/{GATEWAY}\n/up/alarm",
        f"qianshao/v1/{_shard}/../up/alarm",
        "x" * 70_000,
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(text)
    assert len(str(caught.value)) < 400


@given(st.text(max_size=60))
def test_any_text_is_a_topic_or_a_contract_error(text: str) -> None:
    try:
        assert parse(text)
    except ContractError:
        pass
