"""Error codes travel in receipts: they are stable and never shared."""

from __future__ import annotations

from contracts import errors

FAMILY = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.ContractError)]


def test_every_error_has_its_own_code() -> None:
    assert {item.__name__: item.code for item in FAMILY} == {
        "ContractError": "contract",
        "TooLargeError": "too_large",
        "EnvelopeError": "envelope",
        "UnknownKeyError": "unknown_key",
        "SignatureError": "signature",
        "PayloadError": "payload",
        "CatalogueMissingError": "catalogue_missing",
    }


def test_a_code_fits_a_receipt() -> None:
    assert all(len(item.code) <= 32 for item in FAMILY)
    assert all(issubclass(item, ValueError) for item in FAMILY)
