"""A store that took the connection and then fell silent, as behind a broken network."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from redis.exceptions import TimeoutError as StoreSilent

from fleet import store
from fleet.orders import Orders
from fleet.settings import Settings


def test_nobody_waits_for_ever_for_a_store_that_fell_silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "BLOCKING_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        stores = store.connect(Settings(data=tmp_path, redis_url=url))
        with pytest.raises(StoreSilent):
            Orders(stores.record, stores.blocking).next("n1", 0.1)


def test_a_blocking_read_outlasts_every_wait_of_ours(tmp_path: Path) -> None:
    longest_wait_seconds = 25  # how long a request waits for the end of its job
    stores = store.connect(Settings(data=tmp_path, redis_url="redis://127.0.0.1:1"))
    assert stores.blocking.connection_pool.connection_kwargs["socket_timeout"] > longest_wait_seconds + 5
