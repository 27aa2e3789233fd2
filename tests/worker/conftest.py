"""Fixtures of the worker's tests."""

from __future__ import annotations

from tests.worker.engine_bench import engine_bench

__all__ = ["engine_bench"]
