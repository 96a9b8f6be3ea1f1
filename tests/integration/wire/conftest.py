"""The bench of `harness/wire_bench.py`: a proxy and scripted upstreams in this process."""

from harness.wire_bench import answering, anyio_backend, bench

__all__ = ["answering", "anyio_backend", "bench"]
