"""TLS contexts from documents: HTTP/1.1 only, TLS 1.2 or newer, names checked unless told no."""

from __future__ import annotations

import ssl

from shedproxy.snapshot import TlsDocument

__all__ = ["client_context", "renew", "server_context"]


def server_context(document: TlsDocument) -> ssl.SSLContext:
    """What the listener presents. With `ca`, clients must show a certificate signed by it.

    Raises:
        OSError: a file cannot be read, or key and certificate do not match (ssl.SSLError).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(document.cert, document.key or None)
    context.set_alpn_protocols(["http/1.1"])
    if document.ca:
        context.load_verify_locations(document.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def renew(context: ssl.SSLContext, document: TlsDocument) -> None:
    """Present what the files hold now, from the next handshake on, instead of what they held.

    Loaded into the same context a pair replaces one with the same kind of key only: a former one
    with another kind would still be shown, to whoever prefers it.

    Raises:
        OSError: they cannot be used; nothing has changed.
    """
    fresh = server_context(document)

    def present(sock: ssl.SSLObject, _name: str | None, _former: ssl.SSLContext) -> None:
        sock.context = fresh

    context.sni_callback = present  # called without a name too


def client_context(document: TlsDocument) -> ssl.SSLContext:
    """What an `https://` upstream is asked for, and what is shown to it.

    Raises:
        OSError: a file cannot be read, or is no certificate (ssl.SSLError).
    """
    context = ssl.create_default_context(cafile=document.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if document.cert:
        context.load_cert_chain(document.cert, document.key or None)
    if not document.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
