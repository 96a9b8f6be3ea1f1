"""What TLS will not take is said before it is asked."""

from __future__ import annotations

import pytest

from shedproxy.settings.tls_files import fault_of_authorities, fault_of_pair


@pytest.fixture
def junk(tmp_path):
    file = tmp_path / "junk.pem"
    file.write_text("no certificate")
    return str(file)


def test_a_pair_that_fits_has_no_fault(own_certificate):
    assert fault_of_pair(str(own_certificate), str(own_certificate)) == ""


def test_a_key_of_another_certificate(own_certificate, authority, tmp_path):
    other = tmp_path / "other.pem"
    authority.issue_cert("other").private_key_pem.write_to_path(str(other))
    fault = fault_of_pair(str(own_certificate), str(other))
    assert fault == "the key is not the one of this certificate"


def test_what_is_no_pem_or_not_there(own_certificate, junk):
    assert "no PEM text" in fault_of_pair(str(own_certificate), junk)
    assert "no PEM text" in fault_of_pair(junk, str(own_certificate))
    assert fault_of_pair(str(own_certificate), junk + "x").startswith("cannot read it: ")


def test_an_encrypted_key_asks_nobody(own_certificate, tmp_path):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(own_certificate.read_bytes(), None)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    fault = fault_of_pair(str(own_certificate), str(encrypted))
    assert fault == "the key is encrypted; shedproxy has no password for it"


def test_authorities(authority, junk, tmp_path):
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    assert fault_of_authorities(str(file)) == ""
    assert fault_of_authorities(junk) == "there is no certificate in it"
