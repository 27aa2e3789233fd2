"""Crowds without any business with a files process that listens for everybody: they hold none of its threads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from tests.storage.conftest import host_settings
from tests.storage.files_process import FilesProcess, running_files_process
from tests.support.ports import free_port

# So many that nobody would be served for minutes if each held a thread for seconds.
CROWD = 200
CROWDS = {
    "say nothing": b"",
    "begin a request": b"GET /healthz HT",
    "begin a request and hang up": b"GET /healthz HT",
    "send an unsigned body without end": b"POST /volumes/x/files HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n{",
    "send an unsigned body of unknown length": b"PUT /links/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na",
    "send a body to where nothing is": b"POST /links/x HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n{",
    "send a body that nobody reads": b"GET /healthz HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n{",
}


@pytest.fixture(scope="module")
def files_process() -> Iterator[FilesProcess]:
    """A files process of four threads on a TCP port."""
    with host_settings() as settings:
        url = f"http://127.0.0.1:{free_port()}"
        with running_files_process(replace(settings, files_threads=4, files_url=url)) as process:
            yield process


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_crowd_keeps_nobody_from_being_served(files_process: FilesProcess, crowd: str) -> None:
    address = urlsplit(files_process.settings.files_url)
    with ExitStack() as held:
        for _ in range(CROWD):
            connection = held.enter_context(socket.create_connection((address.hostname, address.port), timeout=60))
            connection.sendall(CROWDS[crowd])
            if crowd.endswith("hang up"):
                connection.shutdown(socket.SHUT_WR)
        assert files_process.call("GET", "/healthz").status == 200


def test_a_head_that_comes_in_pieces_is_a_request_too(files_process: FilesProcess) -> None:
    address = urlsplit(files_process.settings.files_url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
        for _ in range(2):
            for number in range(len(request)):
                connection.sendall(request[number : number + 1])
            answer = b""
            while not answer.endswith(b"}\n"):
                piece = connection.recv(4096)
                assert piece, answer
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200")
        connection.sendall(request[:-2] + b"Connection: close\r\n" + request[-2:])
        assert b"".join(iter(lambda: connection.recv(4096), b"")).startswith(b"HTTP/1.1 200")


def test_requests_that_come_at_once_are_answered_in_turn(files_process: FilesProcess) -> None:
    address = urlsplit(files_process.settings.files_url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n" * 5 + b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answers.count(b"HTTP/1.1 200") == 6


def test_a_head_without_end_is_cut_off(files_process: FilesProcess) -> None:
    address = urlsplit(files_process.settings.files_url)
    with (
        socket.create_connection((address.hostname, address.port), timeout=60) as connection,
        pytest.raises((BrokenPipeError, ConnectionResetError)),
    ):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        while True:
            connection.sendall(b"x" * 65536)
