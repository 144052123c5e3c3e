"""What can be wrong with something that crossed the wire.

The sender is at fault in every class here except ``ContractError`` itself, which is also
raised to a caller of ours that hands in something impossible.  None of them can be cured by
trying the same bytes again.  The stable ``code`` goes into receipts, counters and pages.
"""

from __future__ import annotations


class ContractError(ValueError):
    """Something does not keep the contract."""

    code = "contract"


class TooLargeError(ContractError):
    """A size, depth or count is beyond the fixed limit; nothing was decoded."""

    code = "too_large"


class EnvelopeError(ContractError):
    """The bytes are not an envelope of a version that we know."""

    code = "envelope"


class UnknownKeyError(ContractError):
    """The envelope names a key that is not registered for this sender."""

    code = "unknown_key"


class SignatureError(ContractError):
    """The signature does not fit the bytes, the type or the key."""

    code = "signature"


class PayloadError(ContractError):
    """The signature is right and the content is not what its type promises."""

    code = "payload"


class CatalogueMissingError(ContractError):
    """The batch is fine, but the catalogue that explains it has not arrived."""

    code = "catalogue_missing"
