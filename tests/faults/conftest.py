"""Fixtures of these tests, and the check that no fault leaves anything behind."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from tests.support.answers import accepted
from tests.support.leftovers import leftovers
from tests.support.servers import servers
from tests.support.stack import Stack, eventually_nothing

__all__ = ["servers"]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_over(stack: Stack, engine: docker.DockerClient) -> Iterator[None]:
    """Neither the record nor the host holds anything more than before, once a module's tests are over.

    That no job is left unfinished is seen to by the fixture `servers`.
    """
    before = set(leftovers(engine, stack.node, stack.data))
    yield
    stack.wait_ready()
    for path, name in (("/containers", "containers"), ("/volumes", "volumes"), ("/network/ports", "ports")):
        assert accepted(stack.api("GET", path))[name] == []
    found = set(eventually_nothing(engine, stack)) - before
    assert not found, found
