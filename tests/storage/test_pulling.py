"""Pulling files from the web, with real servers on the loopback, and every way of naming an address."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleet.errors import Forbidden, Invalid, LightdError, NodeTimeout, QuotaExceeded, Unavailable
from storage.beneath import Root
from storage.public_address import is_public
from storage.pulling import _DEFAULT_PORTS, PullLimits, checked_address, pull

LOCAL = PullLimits(allow_private=True, silence_seconds=2)
CONTENT = os.urandom(3_000_000)


class Web(BaseHTTPRequestHandler):
    """A server whose paths say how it behaves."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        getattr(self, "_" + self.path.strip("/").replace("-", "_").partition("?")[0])()

    def _file(self) -> None:
        self._send(200, {"Content-Length": str(len(CONTENT))}, CONTENT)

    def _chunked(self) -> None:
        self._send(200, {"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n")

    def _cut_off(self) -> None:
        self._send(200, {"Content-Length": "100000"}, b"x" * 500)
        self.close_connection = True

    def _cut_chunks(self) -> None:
        self._send(200, {"Transfer-Encoding": "chunked"}, b"5000\r\nhello")
        self.close_connection = True

    def _silent(self) -> None:
        self._send(200, {"Content-Length": "100000"}, b"x" * 500)
        self.server.held.wait(30)  # type: ignore[attr-defined]
        self.close_connection = True

    def _missing(self) -> None:
        self._send(404, {"Content-Length": "0"}, b"")

    def _moved(self) -> None:
        self._send(302, {"Location": "/file", "Content-Length": "0"}, b"")

    def _circle(self) -> None:
        self._send(302, {"Location": "/circle", "Content-Length": "0"}, b"")

    def _elsewhere(self) -> None:
        self._send(302, {"Location": "file:///etc/passwd", "Content-Length": "0"}, b"")

    def _nowhere(self) -> None:
        self._send(302, {"Location": "http://[::1/file", "Content-Length": "0"}, b"")

    def _asked_for(self) -> None:
        host = self.headers["Host"].encode()
        self._send(200, {"Content-Length": str(len(host))}, host)

    def _endless(self) -> None:
        self._send(200, {"Connection": "close"}, b"")
        self.close_connection = True
        try:
            while True:
                self.wfile.write(b"x" * 100_000)
        except OSError:
            return

    def _slow_head(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self._go_on_with(b"x" * 10, every_seconds=0.02)

    def _not_yet(self) -> None:
        self._go_on_with(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    def _trailers(self) -> None:
        self._send(200, {"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n")
        self._go_on_with(b"X: y\r\n" * 100)

    def _go_on_with(self, data: bytes, every_seconds: float = 0) -> None:
        self.close_connection = True
        try:
            while not self.server.held.wait(every_seconds):  # type: ignore[attr-defined]
                self.wfile.write(data)
        except OSError:
            return

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def served(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.held = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.held.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web() -> Iterator[str]:
    """The address of that server."""
    with served() as address:
        yield address


def test_a_file_is_pulled_whole(root: Root, folder: Path, web: str) -> None:
    told: list[tuple[int, int]] = []
    size = pull(root, web + "/file?x=1", b"mods/a.jar", LOCAL, lambda done, total: told.append((done, total)))
    assert size == len(CONTENT) and (folder / "mods/a.jar").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert pull(root, web + "/chunked", b"b", LOCAL) == 5
    assert pull(root, web + "/moved", b"c", LOCAL) == len(CONTENT)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/cut-off", Unavailable),
        ("/cut-chunks", Unavailable),
        ("/silent", NodeTimeout),
        ("/missing", Invalid),
        ("/circle", Invalid),
        ("/elsewhere", Invalid),
        ("/nowhere", Invalid),
    ],
)
def test_a_failed_pull_keeps_the_old_file(
    root: Root, folder: Path, web: str, path: str, error: type[LightdError]
) -> None:
    (folder / "a").write_text("old")
    with pytest.raises(error):
        pull(root, web + path, b"a", LOCAL)
    assert os.listdir(folder) == ["a"] and (folder / "a").read_text() == "old"


def test_size_and_time_are_limited(root: Root, folder: Path, web: str) -> None:
    with pytest.raises(QuotaExceeded):
        pull(root, web + "/endless", b"a", PullLimits(allow_private=True, largest_bytes=1_000_000))
    with pytest.raises(NodeTimeout):
        pull(root, web + "/endless", b"a", PullLimits(allow_private=True, longest_seconds=0.2))
    assert os.listdir(folder) == []


class CancelledError(Exception):
    """What a job's progress report raises when it shall end."""


@pytest.mark.parametrize("url", ["http://{web}/silent", "http://{mute}/", "https://{mute}/", "http://{full}/"])
def test_a_pull_is_given_up_while_the_other_side_is_silent(
    root: Root, folder: Path, web: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a file, before an answer, before a TLS session, before a connection."""
    monkeypatch.setattr("storage.connection._LOOK_UP_SECONDS", 0.02)
    limits = PullLimits(allow_private=True, silence_seconds=3600)
    told: list[int] = []

    def report(done: int, _total: int) -> None:
        told.append(done)
        if len(told) == 20:  # more often than anything is awaited before the silence begins
            raise CancelledError

    with socket.create_server(("127.0.0.1", 0)) as mute, full_server() as full:
        addresses = {"web": web.removeprefix("http://"), "mute": f"127.0.0.1:{mute.getsockname()[1]}", "full": full}
        with pytest.raises(CancelledError):
            pull(root, url.format(**addresses), b"a", limits, report)
    assert os.listdir(folder) == []


ENDLESS = ["/slow-head", "/not-yet", "/trailers"]
"""What comes there is no part of a file: a head that never ends, answers that are none yet, trailers."""


@pytest.mark.parametrize("path", ENDLESS)
def test_what_comes_around_the_body_is_limited_in_time(root: Root, folder: Path, web: str, path: str) -> None:
    with pytest.raises(NodeTimeout, match="took too long"):
        pull(root, web + path, b"a", PullLimits(allow_private=True, longest_seconds=0.3))
    assert os.listdir(folder) == []


@pytest.mark.parametrize("path", [*ENDLESS, "/endless"])
def test_a_pull_is_given_up_while_something_comes(root: Root, folder: Path, web: str, path: str) -> None:
    told: list[int] = []

    def report(done: int, _total: int) -> None:
        told.append(done)
        if len(told) == 20:
            raise CancelledError

    with pytest.raises(CancelledError):
        pull(root, web + path, b"a", PullLimits(allow_private=True), report)
    assert os.listdir(folder) == []


@contextmanager
def full_server() -> Iterator[str]:
    """The address of a server that takes no more connections, and does not say so."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as held:
        for _ in range(3):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def secure_web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of that server behind TLS, and the certificate it shows."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with served(context) as address:
        yield address.replace("http://127.0.0.1", "https://localhost"), certificate


def test_a_file_comes_over_tls_from_whom_its_certificate_names(
    root: Root, folder: Path, secure_web: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, certificate = secure_web
    with pytest.raises(Invalid, match="certificate"):
        pull(root, address + "/file", b"a", LOCAL)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert pull(root, address + "/file", b"a", LOCAL) == len(CONTENT)
    with pytest.raises(Invalid, match="certificate"):
        pull(root, address.replace("localhost", "127.0.0.1") + "/file", b"b", LOCAL)
    assert (folder / "a").read_bytes() == CONTENT


def test_a_host_is_named_without_the_port_that_goes_without_saying(
    root: Root, folder: Path, secure_web: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed URLs of object stores are not valid otherwise."""
    address, certificate = secure_web
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    port = address.rpartition(":")[2]
    for usual_port, host in ((1, f"localhost:{port}"), (int(port), "localhost")):
        monkeypatch.setitem(_DEFAULT_PORTS, "https", usual_port)
        pull(root, address + "/asked-for", b"a", LOCAL)
        assert (folder / "a").read_text() == host


def test_many_open_files_keep_nobody_from_pulling(root: Root, web: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    try:
        with ExitStack() as held:
            for _ in range(1100):
                held.enter_context(Path("/dev/null").open("rb"))
            assert pull(root, web + "/file", b"a", LOCAL) == len(CONTENT)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_name_is_resolved_once_and_that_very_address_is_asked(
    root: Root, folder: Path, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["127.0.0.1", "10.0.0.1"]

    def resolve(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr("storage.pulling.is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr("storage.pulling.socket.getaddrinfo", resolve)
    url = web.replace("127.0.0.1", "rebinding.example") + "/file"
    assert pull(root, url, b"a", PullLimits(silence_seconds=2)) == len(CONTENT)
    with pytest.raises(Forbidden):
        pull(root, url, b"b", PullLimits(silence_seconds=2))
    assert os.listdir(folder) == ["a"]


def test_nothing_listens_is_said_clearly(root: Root) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable):
            pull(root, f"http://127.0.0.1:{unused.getsockname()[1]}/", b"a", LOCAL)


NOT_PUBLIC = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.17.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "198.51.100.1",
    "203.0.113.1",
    "100.127.255.254",
    "198.18.0.1",
    "198.19.255.254",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::808:808",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b::192.168.1.1",
    "64:ff9b::100.64.0.1",
    "64:ff9b::192.88.99.1",
    "64:ff9b::224.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:0:7f00:1:8000:63bf:f7f7:f7f7",
    "2001:0:808:808:8000:63bf:f7f7:f7f7",
    "2001:1::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:30::1",
    "::ffff:0:127.0.0.1",
    "::ffff:192.88.99.1",
    "100::1",
    "100:0:0:1::1",
    "3fff::1",
    "3fff:fff::1",
    "5f00::1",
    "fec0::1",
    "fec0::1%lo",
    "feff::1",
    "ff05::2",
    "ff0e::1",
    "4000::1",
    "fe80::1",
    "fe80::1%lo",
    "fc00::1",
    "fd12::1",
    "ff02::1",
    "2001:db8::1",
    "not an address",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_public_address_is_known(address: str) -> None:
    assert is_public(address)


SPELLINGS = [
    "localhost",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "127.0.0.1.",
    "LOCALHOST.",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_every_spelling_of_the_loopback_is_refused(root: Root, folder: Path, web: str, host: str) -> None:
    port = web.rpartition(":")[2]
    with pytest.raises((Forbidden, Invalid)):
        pull(root, f"http://{host}:{port}/file", b"a", PullLimits(silence_seconds=2))
    assert os.listdir(folder) == []


def test_a_redirect_to_a_private_address_is_refused(root: Root, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr("storage.pulling.is_public", lambda _address: len(asked) == 1)
    monkeypatch.setattr("storage.pulling.socket.getaddrinfo", resolve)
    with pytest.raises(Forbidden):
        pull(root, web.replace("127.0.0.1", "first.example") + "/moved", b"a", PullLimits(silence_seconds=2))
    assert asked == ["first.example", "first.example"]


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr("storage.pulling.socket.getaddrinfo", lambda *_, **__: both)
    with pytest.raises(Forbidden):
        checked_address("mixed.example", 80, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "gopher://x/",
        "//example.org/a",
        "example.org/a",
        "http://",
        "http:///a",
        "http://user:password@example.org/",
        "http://user@example.org/",
        "http://example.org:99999/",
        "http://example.org:x/",
        "http://example.org/a b",
        "http://example.org/a\r\nX: y",
        "http://ex\tample.org/",
        "http://example.org/ü",
        "http://[::1/",
        "http://" + "a" * 5000,
    ],
)
def test_odd_urls_are_refused(root: Root, url: str) -> None:
    with pytest.raises(Invalid):
        pull(root, url, b"a", PullLimits())
