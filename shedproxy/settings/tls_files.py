"""Whether TLS can use the files that are named: asked before anything is started or replaced."""

from __future__ import annotations

import ssl

__all__ = ["fault_of_authorities", "fault_of_pair"]

_REASONS = {
    "KEY_VALUES_MISMATCH": "the key is not the one of this certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in it",
}


class _EncryptedError(Exception):
    """The key asks for a password. Nobody is there to type one."""


def fault_of_pair(cert: str, key: str) -> str:
    """What is wrong with a certificate chain and its key, in a sentence; "" when it can be used."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=_no_password)
    except _EncryptedError:
        return "the key is encrypted; shedproxy has no password for it"
    except OSError as error:
        return _say(error)
    return ""


def fault_of_authorities(file: str) -> str:
    """What is wrong with a file of authorities, in a sentence; "" when it can be used."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError as error:
        return _say(error)
    return ""


def _no_password() -> str:
    raise _EncryptedError


def _say(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason
        if not reason:
            return "it is no PEM text, or of something else"
        return _REASONS.get(reason) or reason.lower().replace("_", " ")
    return f"cannot read it: {error.strerror}"
