"""The receipt: identity, and ranges that make sense."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError, PayloadError
from contracts.fields import pack, unpack
from contracts.receipt import Receipt
from tests.contracts.examples import RECEIPT
from tests.contracts.strategies import damaged, mutated, receipts


@given(receipts())
def test_decode_after_encode_is_identity(receipt: Receipt) -> None:
    assert Receipt.from_body(receipt.to_body()) == receipt


@given(st.data())
def test_a_mutated_receipt_is_read_or_refused(data: st.DataObject) -> None:
    body = data.draw(receipts()).to_body()
    mutant = pack(data.draw(mutated(unpack(body)))) if data.draw(st.booleans()) else data.draw(damaged(body))
    try:
        receipt = Receipt.from_body(mutant)
    except ContractError:
        return
    ends = [receipt.contiguous, *(n for item in receipt.also for n in (item.first, item.last))]
    assert ends == sorted(ends)


HASH = bytes(32)


@pytest.mark.parametrize(
    ("index", "value", "named"),
    [
        (0, "gateway", "receipt.gateway"),
        (1, bytes(7), "receipt.collector_epoch"),
        (2, -1, "receipt.collector_since_us"),
        (3, 0, "receipt.serial"),
        (5, 2, "receipt.lane"),
        (6, 0, "receipt.digest"),
        (6, 2**32, "receipt.contiguous"),
        (7, b"", "receipt.digest"),
        (8, [[1, 5, HASH]], "receipt.also"),
        (8, [[42, 50, HASH]], "receipt.also"),
        (8, [[43, 50, HASH]], "receipt.also"),
        (8, [[50, 49, HASH]], "receipt.also.last"),
        (8, [[50, 60, HASH], [61, 62, HASH]], "receipt.also"),
        (8, [[50, 60, HASH], [55, 70, HASH]], "receipt.also"),
        (8, [[80, 90, HASH], [50, 60, HASH]], "receipt.also"),
        (8, [[50, 60, b""]], "receipt.also.digest"),
        (8, [[50 + 2 * n, 50 + 2 * n, HASH] for n in range(17)], "receipt.also"),
        (9, [[1, HASH]], "receipt.refused"),
        (9, [[0, HASH, "payload"]], "receipt.refused.seq"),
        (9, [[1, HASH, "x" * 33]], "receipt.refused.code"),
        (9, [[1, HASH, "payload"]] * 65, "receipt.refused"),
        (10, [bytes(31)], "receipt.wanted"),
        (10, ["x" * 32], "receipt.wanted"),
        (10, [HASH] * 17, "receipt.wanted"),
        (11, None, "receipt.issued_us"),
    ],
)
def test_a_wrong_field_is_refused_by_name(index: int, value: Any, named: str) -> None:
    assert RECEIPT.contiguous == 42
    fields = unpack(RECEIPT.to_body())
    fields[index] = value
    with pytest.raises(PayloadError, match=named.replace(".", r"\.")):
        Receipt.from_body(pack(fields))
