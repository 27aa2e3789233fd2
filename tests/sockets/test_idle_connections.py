"""Connections on which nobody asks for anything keep nobody else from being answered, however many they are."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.sockets.conftest import Api, running_api
from tests.support.deadline import PATIENCE

MORE_THAN_THE_API_TAKES = 2200
ROUNDS, NEW_IN_A_ROUND = 10, 50
# Less than an idle connection lasts by itself.
DEADLINE_SECONDS = 15 * PATIENCE
HEAD = b"GET /healthz HTTP/1.1\r\nHost: lightd\r\n"
BEGINNINGS = {"nothing": b"", "half a head": HEAD, "a request before": HEAD + b"\r\n"}


class Crowd:
    """Connections of somebody without a token; all begin with the same bytes."""

    def __init__(self, api: Api, beginning: bytes) -> None:
        host, _, port = api.address.partition(":")
        self._address, self._beginning = (host, int(port)), beginning
        self._connections: list[socket.socket] = []

    def grow(self, count: int) -> None:
        """Open some more; they wait for an answer to no request."""
        for _ in range(count):
            connection = socket.create_connection(self._address, timeout=DEADLINE_SECONDS)
            self._connections.append(connection)
            connection.sendall(self._beginning)

    def trickle(self) -> None:
        """Send a byte of a head over each."""
        for connection in self._connections:
            with suppress(OSError):  # the API may have closed it
                connection.sendall(b"x")

    def leave(self) -> None:
        """Close all."""
        for connection in self._connections:
            connection.close()


@pytest.fixture(scope="module")
def small_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API that takes 2,001 connections, started where a process may open 1,024 files unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        for api in running_api(Path(tmp_path_factory.mktemp("a")), LIGHTD_SOCKET_LIMIT="1"):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
            yield api
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_connections_that_ask_for_nothing_keep_nobody_waiting(small_api: Api, name: str, beginning: bytes) -> None:
    small_api.create(name)
    ping = f"http://{small_api.address}/healthz"
    crowd = Crowd(small_api, beginning)
    try:
        with small_api.socket(name) as events, requests.Session() as kept:
            events.wait_for_state("running")
            kept.get(ping, timeout=DEADLINE_SECONDS)
            crowd.grow(MORE_THAN_THE_API_TAKES)
            for _ in range(ROUNDS):
                assert requests.get(ping, timeout=DEADLINE_SECONDS).ok
                assert kept.get(ping, timeout=DEADLINE_SECONDS).ok
                crowd.grow(NEW_IN_A_ROUND)
                crowd.trickle()
            seq = small_api.print(name, "still watched")
            events.wait_for(lambda event: event.get("seq") == seq)
        assert "Traceback" not in small_api.log()
    finally:
        crowd.leave()
