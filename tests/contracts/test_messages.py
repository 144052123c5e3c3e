"""Ask, status and time: identity, and hostile bodies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError, PayloadError
from contracts.fields import pack, unpack
from contracts.messages import Ask, Command, Status, Time
from tests.contracts.examples import ASK, COMMAND, STATUS, TIME
from tests.contracts.strategies import asks, commands, damaged, mutated, statuses, times

EXAMPLES: dict[Any, Any] = {Ask: ASK, Command: COMMAND, Status: STATUS, Time: TIME}


@given(asks | times | commands | statuses)
def test_decode_after_encode_is_identity(message: Ask | Time | Command | Status) -> None:
    assert type(message).from_body(message.to_body()) == message


@pytest.mark.parametrize("kind", [Ask, Command, Status, Time])
@given(data=st.data())
def test_a_mutated_body_is_read_or_refused(kind: Any, data: st.DataObject) -> None:
    body = EXAMPLES[kind].to_body()
    mutant = pack(data.draw(mutated(unpack(body)))) if data.draw(st.booleans()) else data.draw(damaged(body))
    try:
        kind.from_body(mutant)
    except ContractError:
        pass


@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    for kind in (Ask, Command, Status, Time):
        try:
            kind.from_body(body)
        except ContractError:
            pass


@pytest.mark.parametrize(
    ("kind", "index", "value", "named"),
    [
        (Ask, 0, "x", "ask.gateway"),
        (Ask, 1, b"", "ask.epoch"),
        (Ask, 2, bytes(8), "ask.boot_id"),
        (Ask, 3, -1, "ask.boot_counter"),
        (Ask, 4, bytes(15), "ask.nonce"),
        (Ask, 5, None, "anchor"),
        (Ask, 6, [5, b""], "head.digest"),
        (Ask, 8, [bytes(8)] * 65, "ask.unreceipted"),
        (Ask, 8, [bytes(9)], "ask.unreceipted.epoch"),
        (Ask, 9, [0], "statement"),
        (Ask, 10, "x" * 65, "ask.version"),
        (Status, 0, "g-aaaaaaaaaaa", "status.gateway"),
        (Status, 2, True, "status.session"),
        (Status, 3, 1, "status.online"),
        (Status, 3, None, "status.online"),
        (Time, 1, b"", "time.nonce"),
        (Time, 2, 1.0, "time.wall_us"),
        (Time, 2, 2**63, "time.wall_us"),
        (Command, 1, bytes(15), "command.boot_id"),
        (Command, 2, -1, "command.serial"),
        (Command, 3, True, "command.until_us"),
        (Command, 4, None, "command.word"),
        (Command, 5, "x" * 129, "command.by"),
    ],
)
def test_a_wrong_field_is_refused_by_name(kind: Any, index: int, value: Any, named: str) -> None:
    fields = unpack(EXAMPLES[kind].to_body())
    fields[index] = value
    with pytest.raises(PayloadError, match=named.replace(".", r"\.")):
        kind.from_body(pack(fields))
    for wrong in (fields[:-1], [*fields, None]):
        with pytest.raises(PayloadError, match="fields"):
            kind.from_body(pack(wrong))
