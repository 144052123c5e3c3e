"""TLS to the broker: a pinned certificate file, the host name, and dates that a lost clock can be judged by.

Only the certificates of ``uplink.tls_ca`` are trusted; the file is read again at every connect, so that a
new one counts from then on.  OpenSSL checks dates by the system clock.  That is right only while
something disciplines it; a gateway that wakes in 1970, or that the collector gave the time, would lock
itself out.  Then OpenSSL leaves the dates (X509_V_FLAG_NO_CHECK_TIME, x509_vfy.h; the chain and the name
stay pinned), and after the handshake, before a word is sent, the dates of the broker's certificate
and of its issuer in the file are compared with what is known of the time:

    it ended before the earliest time that it can be now         refused: expired
    it begins after the latest time that it can be now           refused: not yet valid
    nothing says how late it may be                              no beginning is too late

No socket is opened here.  Errors become sentences for a log: what is wrong, and with what.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Any

from edge_agent.clock import TimeBounds
from edge_agent.errors import TlsError

#: X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h; Python has no name for it
NO_CHECK_TIME = 0x200000


class _Context(ssl.SSLContext):
    """A context that knows the time as well as this gateway does."""

    bounds: TimeBounds


class _DatedSocket(ssl.SSLSocket):
    """Judges the dates before anything is said on the connection."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        context: Any = self.context
        certificate = self.getpeercert() or {}
        issuers = [item for item in context.get_ca_certs() if item.get("subject") == certificate.get("issuer")]
        for what, one in (("certificate", certificate), *(("certificate's issuer", item) for item in issuers[:1])):
            reason = wrong_dates(one, context.bounds)
            if reason is not None:
                raise TlsError(f"the broker's {what} {reason}")


def make_context(ca_file: str, bounds: TimeBounds) -> ssl.SSLContext:
    """Returns the context for one connect: pinned to a file and to the host name.

    Args:
        ca_file: PEM; the authorities, or the one certificate, that are trusted.
        bounds: what is known of the time now.

    Raises:
        TlsError: the file cannot be read or holds no certificate.
    """
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)  # verifies the chain and the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError as error:
        what = "holds no certificate; the PEM file of the broker's authority would be right"
        raise TlsError(f"uplink.tls_ca: {ca_file} {what}") from error
    except OSError as error:
        raise TlsError(f"uplink.tls_ca: {ca_file}: {error.strerror}") from error
    context.bounds = bounds
    if not bounds.is_system_clock_set:
        context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
        context.sslsocket_class = _DatedSocket
    return context


def wrong_dates(certificate: Any, bounds: TimeBounds) -> str | None:
    """Returns what is wrong with the dates of a certificate (as Python's ssl describes it), or None."""
    begins, ends = certificate.get("notBefore"), certificate.get("notAfter")
    if begins is None or ends is None:
        return "states no dates"
    if ssl.cert_time_to_seconds(ends) * 1_000_000 < bounds.earliest_us:
        return f"expired on {ends}; by what this gateway knows it is {_day(bounds.earliest_us)} or later"
    if bounds.latest_us is not None and ssl.cert_time_to_seconds(begins) * 1_000_000 > bounds.latest_us:
        return f"is valid from {begins}; by what this gateway knows it is {_day(bounds.latest_us)} at most"
    return None


def why_refused(error: Exception, *, host: str, ca_file: str) -> str:
    """Returns in words why a connect failed; what is not of TLS as it is."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = _VERDICTS.get(error.verify_code, "the broker's certificate is refused: {said}")
        return words.format(host=host, ca=ca_file, said=error.verify_message)
    if isinstance(error, ssl.SSLError):
        if error.reason in _NO_TLS:
            return "what answers there does not speak TLS: another port, or something in between"
        return f"TLS failed: {error.reason or error}"
    return str(error)


def _day(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).date().isoformat()


#: what OpenSSL says of plain text where a handshake should be
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
#: verify codes of OpenSSL's x509_vfy.h
_UNKNOWN = "the broker's certificate is not signed by any in {ca}: wrong authority, or another server in between"
_VERDICTS = {
    7: "the broker's certificate is not signed by the one in {ca} that has its issuer's name",
    9: "the broker's certificate is not valid yet, by a clock that is synchronised",
    10: "the broker's certificate, or its issuer's, has expired",
    18: "the broker's certificate is signed by itself and is not the one in {ca}",
    19: _UNKNOWN,
    20: _UNKNOWN,
    21: _UNKNOWN,
    62: "the broker's certificate is for another name than {host}",
    64: "the broker's certificate is for another address than {host}",
}
