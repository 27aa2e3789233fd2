"""Fetching a file from the web into a volume, without becoming a way into the host's own networks.

Names are resolved once, the resolved address is checked, and that very address is connected to. So neither a name
that resolves differently the second time nor a redirect leads anywhere that was not checked.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from fleet.errors import Forbidden, Invalid, NodeTimeout, QuotaExceeded, Unavailable, invalid_field
from storage.beneath import Root
from storage.connection import Patience, connected
from storage.public_address import is_public
from storage.writing import write_stream

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_CHUNK_BYTES = 256 * 1024
_LONGEST_URL = 4096
_DEFAULT_PORTS = {"http": 80, "https": 443}


Report = Callable[[int, int], None]
"""Told how many bytes have come and how many there will be (0 when unknown), before every wait for the other side and
every second of it; may raise to cancel."""


@dataclass(frozen=True, slots=True)
class PullLimits:
    """What a pull may take. `allow_private` lets it reach addresses that are not public."""

    largest_bytes: int = 64 * 1024**3
    longest_seconds: float = 3600
    silence_seconds: float = 30
    allow_private: bool = False


def pull(root: Root, url: str, path: bytes, limits: PullLimits, report: Report | None = None) -> int:
    """Fetch `url` (http or https) into `path` and return its size in bytes; the file appears when it is complete.

    Raises Invalid for a bad URL or answer, Forbidden for an address that is not public, QuotaExceeded,
    NodeTimeout, Unavailable when the other side cannot be reached.
    """
    progress = _Progress(report, time.monotonic() + limits.longest_seconds)
    for _ in range(_MOST_REDIRECTS + 1):
        with _answer(url, limits, progress) as response:
            if response.status in _REDIRECTS:
                url = _redirected(url, response.headers.get("Location", ""))
                continue
            if response.status != 200:
                raise Invalid(f"The other side answered with status {response.status}.", code="pull_failed")
            return write_stream(root, path, _body(response, limits, progress))
    raise Invalid(f"The URL leads through more than {_MOST_REDIRECTS} redirects.", code="pull_failed")


def _redirected(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise Invalid("The other side redirects to what is no URL.", code="pull_failed") from error


def checked_address(host: str, port: int, *, allow_private: bool) -> tuple[socket.AddressFamily, str]:
    """The first address of `host`, when all of them are public; raises Forbidden, Invalid for an unknown name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Invalid("The URL's host name cannot be resolved.", code="pull_failed") from error
    addresses = [(family, str(address[0])) for family, _, _, _, address in found]
    for _, address in addresses:
        if not allow_private and not is_public(address):
            raise Forbidden("The URL's host is not on the public internet.", code="address_not_public")
    return addresses[0]


@contextmanager
def _answer(url: str, limits: PullLimits, progress: _Progress) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET, over a connection to the checked address, so that nothing resolves the name again."""
    parts, host, port = _split(url)
    family, address = checked_address(host, port, allow_private=limits.allow_private)
    patience = Patience(limits.silence_seconds, progress.tell)
    with ExitStack() as held:
        with _network_errors():
            tls_name = host if parts.scheme == "https" else None
            line = held.enter_context(connected(family, (address, port), tls_name, patience))
            connection = http.client.HTTPConnection(host, port)
            connection.default_port = _DEFAULT_PORTS[parts.scheme]  # goes without saying in the Host header
            connection.sock = line
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"User-Agent": "lightd", "Accept-Encoding": "identity"})
            response = connection.getresponse()
        yield response


def _split(url: str) -> tuple[SplitResult, str, int]:
    try:
        url.encode("ascii")
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _bad_url() from error
    unsafe = len(url) > _LONGEST_URL or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url)
    if parts.scheme not in _DEFAULT_PORTS or not host or unsafe or parts.username is not None:
        raise _bad_url()
    return parts, host, port or _DEFAULT_PORTS[parts.scheme]


def _bad_url() -> Invalid:
    return invalid_field("url", "Must be an http or https URL without a password, percent-encoded.")


@contextmanager
def _network_errors() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise NodeTimeout("The other side did not answer in time.") from error
    except ssl.SSLCertVerificationError as error:
        raise Invalid("The other side's certificate is not valid.", code="pull_failed") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable("The other side cannot be reached or broke off.", code="pull_failed") from error


def _body(response: http.client.HTTPResponse, limits: PullLimits, progress: _Progress) -> Iterator[bytes]:
    progress.expected = response.length
    while chunk := _next_chunk(response):
        progress.done += len(chunk)
        if progress.done > limits.largest_bytes:
            raise QuotaExceeded("The file is larger than a pull may be; nothing of it was kept.")
        yield chunk
        progress.tell()
    if progress.expected is not None and progress.done != progress.expected:
        raise Unavailable("The other side broke off; nothing was kept.", code="pull_failed")


def _next_chunk(response: http.client.HTTPResponse) -> bytes:
    with _network_errors():
        return response.read1(_CHUNK_BYTES)


class _Progress:
    """How much has come, told until the time for all of it is over."""

    def __init__(self, report: Report | None, deadline: float) -> None:
        self._report = report
        self._deadline = deadline
        self.done = 0
        self.expected: int | None = None

    def tell(self) -> None:
        if time.monotonic() > self._deadline:
            raise NodeTimeout("The pull took too long; nothing of it was kept.")
        if self._report:
            self._report(self.done, self.expected or 0)
