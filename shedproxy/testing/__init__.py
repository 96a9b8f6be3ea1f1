"""Helpers for tests of services that use shedproxy, and for our own."""

from shedproxy.testing.eventually import eventually, eventually_async

__all__ = ["eventually", "eventually_async"]
