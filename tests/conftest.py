"""Fixtures for all tests; each is described where it is made, in `tests/support/`."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.support.engine import engine
from tests.support.images import busybox_image, debian_image
from tests.support.registry import guarded_registry, registry
from tests.support.stack import Stack, stack
from tests.support.stores import store, store_url

__all__ = ["busybox_image", "debian_image", "engine", "guarded_registry", "registry", "stack", "store", "store_url"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the running Lightd with a test that failed against it."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(running, Stack):
        report.sections.append(("logs of the processes", running.log_tails()))
    return report
