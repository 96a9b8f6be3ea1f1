from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
import trustme

from shedproxy.dataplane.wire.tls import client_context, renew, server_context
from shedproxy.snapshot import TlsDocument


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    names = {name: str(folder / name) for name in ("ca", "cert", "key", "other")}
    ca = trustme.CA()
    cert = ca.issue_cert("localhost")
    ca.cert_pem.write_to_path(names["ca"])
    cert.cert_chain_pems[0].write_to_path(names["cert"])
    cert.private_key_pem.write_to_path(names["key"])
    ca.issue_cert("other").private_key_pem.write_to_path(names["other"])
    return names


def test_a_listener_speaks_modern_tls_only(files) -> None:
    context = server_context(TlsDocument(cert=files["cert"], key=files["key"]))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE


def test_a_listener_with_a_ca_wants_certificates_of_clients(files) -> None:
    context = server_context(TlsDocument(cert=files["cert"], key=files["key"], ca=files["ca"]))
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_an_upstream_is_checked_unless_told_otherwise(files) -> None:
    checked = client_context(TlsDocument(ca=files["ca"]))
    assert (checked.check_hostname, checked.verify_mode) == (True, ssl.CERT_REQUIRED)
    blind = client_context(TlsDocument(verify=False, cert=files["cert"], key=files["key"]))
    assert (blind.check_hostname, blind.verify_mode) == (False, ssl.CERT_NONE)


def test_a_key_that_does_not_fit_or_a_missing_file_is_an_os_error(files) -> None:
    """K13: so that a reload can refuse it and keep the old pair."""
    with pytest.raises(OSError):
        server_context(TlsDocument(cert=files["cert"], key=files["other"]))
    with pytest.raises(OSError):
        client_context(TlsDocument(ca="/nowhere/ca.pem"))


@pytest.mark.parametrize("kinds", [("ECDSA", "RSA"), ("RSA", "ECDSA")])
def test_a_renewed_certificate_replaces_one_with_another_kind_of_key(kinds, tmp_path) -> None:
    """K13: clients that prefer the former kind are not shown the former certificate."""
    ca = trustme.CA()
    documents = []
    for kind in kinds:
        file = tmp_path / kind
        pair = ca.issue_cert("localhost", key_type=trustme.KeyType[kind])
        pair.private_key_and_cert_chain_pem.write_to_path(str(file))
        documents.append(TlsDocument(cert=str(file)))
    former, fresh = documents
    context = server_context(former)
    assert _shown_by(context) == _certificate_in(former)
    with pytest.raises(OSError):
        renew(context, TlsDocument(cert="/nowhere/cert.pem"))
    assert _shown_by(context) == _certificate_in(former)
    renew(context, fresh)
    assert _shown_by(context) == _certificate_in(fresh)
    assert _shown_by(context, name=None) == _certificate_in(fresh)
    renew(context, former)
    assert _shown_by(context) == _certificate_in(former)


def _certificate_in(document: TlsDocument) -> bytes:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = Path(document.cert).read_text()
    return ssl.PEM_cert_to_DER_cert(begin + text.split(begin)[1].split(end)[0] + end)


def _shown_by(context: ssl.SSLContext, *, name: str | None = "localhost") -> bytes | None:
    """The certificate that a client with the usual preferences gets."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
    plain.set_alpn_protocols(["h2", "http/1.1"])
    client = plain.wrap_bio(to_client, to_server, server_hostname=name)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert client.selected_alpn_protocol() == "http/1.1"
    return client.getpeercert(binary_form=True)
