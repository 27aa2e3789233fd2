"""Bodies and headers too big, too small, or lying about themselves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.answers import accepted, refused
from tests.support.raw_http import RawAnswer, chunked, send
from tests.support.servers import Servers
from tests.support.stack import VENDOR_TYPE, Stack

pytestmark = pytest.mark.engine

MEGABYTE = 2**20
HUNDRED = 100


def head(stack: Stack, route: str, *more: str) -> str:
    lines = [
        f"POST {route} HTTP/1.1",
        f"Host: {stack.address}",
        f"Authorization: Bearer {stack.token}",
        f"Accept: {VENDOR_TYPE}",
        "Content-Type: application/json",
        "Connection: close",
        *more,
    ]
    return "\n".join(lines)


def hundred_megabytes() -> Iterator[bytes]:
    """A valid JSON object of 100 MB."""
    yield b'{"path": "big", "content": "'
    for _ in range(HUNDRED):
        yield b"x" * MEGABYTE
    yield b'"}'


def memory_bytes(pid: int) -> int:
    """Resident memory of a process and of its children."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if pid in (int(fields["Pid"]), int(fields["PPid"])):
            total += int(fields.get("VmRSS", "0 kB").split()[0]) * 1024
    return total


def is_refused_as_too_large(answer: RawAnswer) -> None:
    assert answer.status == 413, answer
    body = answer.json()
    assert body["error"]
    assert body["code"]
    assert body["request_id"] == answer.headers["X-Request-ID"]


def has_the_shape_of_all_errors(answer: RawAnswer) -> None:
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error", "code", "request_id"}
    assert body["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("length_is_told", [True, False], ids=["told length", "chunks"])
@pytest.mark.parametrize("route", ["/volumes/{volume}/files", "/containers", "/auth/tokens"])
def test_a_body_of_a_hundred_megabytes_is_413_and_is_not_kept_in_memory(
    stack: Stack, servers: Servers, route: str, length_is_told: bool
) -> None:
    made = servers.volume()
    before = memory_bytes(stack.pid("api"))
    url = route.format(volume=made["volume_id"])
    if length_is_told:
        length = sum(map(len, hundred_megabytes()))
        answer = send(stack.address, head(stack, url, f"Content-Length: {length}"), hundred_megabytes())
    else:
        answer = send(stack.address, head(stack, url, "Transfer-Encoding: chunked"), chunked(hundred_megabytes()))
    is_refused_as_too_large(answer)
    assert memory_bytes(stack.pid("api")) - before < 40 * MEGABYTE
    assert not (Path(made["path"]) / "big").exists()
    accepted(stack.api("GET", "/volumes"))


def test_who_has_no_token_is_told_so_before_sending_it_all(stack: Stack) -> None:
    lines = head(stack, "/containers", "Content-Length: 1000000000").split("\n")
    anonymous = "\n".join(line for line in lines if not line.startswith("Authorization"))
    answer = send(stack.address, anonymous, (b"x" * MEGABYTE for _ in range(HUNDRED)), seconds=5)
    assert answer.status in (401, 413)
    assert answer.sent_bytes < 64 * MEGABYTE


def test_who_goes_on_sending_after_a_refusal_is_cut_off_and_keeps_nobody_waiting(stack: Stack) -> None:
    lines = ["POST /containers HTTP/1.1", f"Host: {stack.address}", f"Content-Length: {1 << 40}", "", ""]
    host, _, port = stack.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode())
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # what is sent until then fits into buffers
            for _ in range(64):
                connection.sendall(bytes(MEGABYTE))
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")
    accepted(stack.api("GET", "/volumes"))


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "18446744073709551617", "5, 6"])
def test_a_length_that_is_no_number_is_refused(stack: Stack, length: str) -> None:
    answer = send(stack.address, head(stack, "/volumes", f"Content-Length: {length}"), [b"{}"], seconds=5)
    assert answer.status in (400, 413)
    accepted(stack.api("GET", "/volumes"))


def test_a_body_that_ends_early_makes_nothing(stack: Stack) -> None:
    before = accepted(stack.api("GET", "/volumes"))
    with pytest.raises(OSError, match="timed out"):
        send(stack.address, head(stack, "/volumes", "Content-Length: 500"), [b'{"size": 16'], seconds=1)
    assert accepted(stack.api("GET", "/volumes")) == before


def test_an_empty_json_body_where_fields_are_needed_is_400(stack: Stack) -> None:
    headers = {"Content-Type": "application/json"}
    for route in ("/containers", "/network/ports", "/auth/tokens"):
        refused(stack.api("POST", route, data=b"", headers=headers), 400)


@pytest.mark.parametrize(
    "line",
    [f"X-Long: {'x' * 100_000}", "X-Bad\x00: 1", "No colon here", "Host: twice\nHost: twice", "Transfer-Encoding: odd"],
    ids=["long", "NUL", "no colon", "host twice", "unknown coding"],
)
def test_broken_headers_are_a_client_error_and_harm_nobody(stack: Stack, line: str) -> None:
    answer = send(stack.address, head(stack, "/volumes", line, "Content-Length: 2"), [b"[]"])
    assert 400 <= answer.status < 500 or answer.status == 501
    has_the_shape_of_all_errors(answer)
    accepted(stack.api("GET", "/volumes"))


def test_a_url_without_end_is_a_client_error(stack: Stack) -> None:
    assert refused(stack.api("GET", "/volumes?cursor=" + "x" * 100_000), 414)["code"] == "uri_too_long"


@pytest.mark.parametrize("line", ["nonsense", "G\x01T / HTTP/1.1", "GET / HTTP/9.9", "GET /x?token={secret} HTTP/x"])
def test_what_is_no_http_is_refused_like_all_else_and_its_url_is_not_logged(stack: Stack, line: str) -> None:
    secret = "lightd_seen-in-a-broken-request"
    answer = send(stack.address, line.format(secret=secret))
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    has_the_shape_of_all_errors(answer)
    assert secret not in answer.body.decode() + (stack.data / "log/api.log").read_text()


@pytest.mark.parametrize("header", ["Authorization", "Accept"])
def test_a_header_of_many_kilobytes_or_odd_bytes_is_no_bug(stack: Stack, header: str) -> None:
    for value in (b"x" * 7000, bytes(range(128, 256)), b"Bearer " + b"lightd_" * 500, b",;=" * 1000):
        answer = stack.api("GET", "/volumes", headers={header: value})  # type: ignore[dict-item]
        assert answer.status_code == (401 if header == "Authorization" else 403)
        refused(answer, answer.status_code)
