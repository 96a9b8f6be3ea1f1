from __future__ import annotations

import ssl

import pytest
import trustme

from shedproxy.dataplane.wire.tls import client_context, server_context
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
