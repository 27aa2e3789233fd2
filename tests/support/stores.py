"""A real store: the Valkey that ships with Lightd, on a Unix socket of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from fleet.store import Client
from tests.support.own_store import OwnStore


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    """URL of a Valkey that lives as long as the test run; it keeps nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="lightd-test-store-") as folder:
        store = OwnStore(Path(folder) / "store")
        try:
            store.start()
            yield store.url
        finally:
            store.stop()


@pytest.fixture
def store(store_url: str) -> Iterator[Client]:
    """A client with text answers of an empty database; its URL is the fixture `store_url`."""
    client = redis.Redis.from_url(store_url, decode_responses=True)
    client.flushall()
    yield client
    client.close()
