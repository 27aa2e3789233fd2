"""Fixtures of these tests."""

from __future__ import annotations

from tests.support.servers import servers

__all__ = ["servers"]
