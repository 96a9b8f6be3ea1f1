"""The bench of `harness/wire_bench.py`: a proxy and scripted upstreams in this process."""

from __future__ import annotations

import pytest
import trustme
from harness.wire_bench import answering, anyio_backend, bench

__all__ = ["answering", "anyio_backend", "bench"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """A certificate of "localhost", its key and who vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    cert = ca.issue_cert("localhost", "127.0.0.1")
    names = {name: str(folder / name) for name in ("ca", "cert", "key")}
    ca.cert_pem.write_to_path(names["ca"])
    cert.private_key_pem.write_to_path(names["key"])
    with open(names["cert"], "wb") as file:
        file.write(b"".join(blob.bytes() for blob in cert.cert_chain_pems))
    return names
