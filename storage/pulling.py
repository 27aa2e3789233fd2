"""Fetching a file from the web into a volume, without becoming a way into the host's own networks.

Names are resolved once, the resolved address is checked, and that very address is connected to. So neither a name
that resolves differently the second time nor a redirect leads anywhere that was not checked.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from fleet.errors import Forbidden, Invalid, NodeTimeout, QuotaExceeded, Unavailable
from storage.beneath import Root
from storage.connection import Patience, connected
from storage.writing import write_stream

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_CHUNK_BYTES = 256 * 1024
_LONGEST_URL = 4096

# Special by IANA's registries, yet global for some releases of `ipaddress`.
_ALSO_NOT_PUBLIC = [ipaddress.ip_network(network) for network in ("192.0.0.0/24", "64:ff9b:1::/48", "5f00::/16")]

Report = Callable[[int, int], None]
"""Told how many bytes have come and how many there will be (0 when unknown), every second at least while the other
side is waited for; may raise to cancel."""


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
    deadline = time.monotonic() + limits.longest_seconds
    progress = _Progress(report)
    for _ in range(_MOST_REDIRECTS + 1):
        with _answer(url, limits, progress) as response:
            if response.status in _REDIRECTS:
                url = urljoin(url, response.headers.get("Location", ""))
                continue
            if response.status != 200:
                raise Invalid(f"The other side answered with status {response.status}.", code="pull_failed")
            return write_stream(root, path, _body(response, limits, deadline, progress))
    raise Invalid(f"The URL leads through more than {_MOST_REDIRECTS} redirects.", code="pull_failed")


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


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 address is public, looking through forms that carry an IPv4 address inside."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = _ipv4_inside(parsed)
        if inner is not None:
            return is_public(str(inner))
    if any(parsed in network for network in _ALSO_NOT_PUBLIC):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _ipv4_inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if int(address) >> 32 == 0:  # ::a.b.c.d, long out of use, and ::1
        return ipaddress.IPv4Address(0)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or _nat64(address)


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address behind a NAT64 gateway's well-known prefix (RFC 6052)."""
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


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
    if parts.scheme not in ("http", "https") or not host or unsafe or parts.username is not None:
        raise _bad_url()
    return parts, host, port or (443 if parts.scheme == "https" else 80)


def _bad_url() -> Invalid:
    problem = "Must be an http or https URL without a password, percent-encoded."
    return Invalid("The request is not valid.", fields={"url": [problem]})


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


def _body(
    response: http.client.HTTPResponse, limits: PullLimits, deadline: float, progress: _Progress
) -> Iterator[bytes]:
    progress.expected = response.length
    while chunk := _next_chunk(response):
        progress.done += len(chunk)
        if progress.done > limits.largest_bytes:
            raise QuotaExceeded("The file is larger than a pull may be; nothing of it was kept.")
        if time.monotonic() > deadline:
            raise NodeTimeout("The pull took too long; nothing of it was kept.")
        yield chunk
        progress.tell()
    if progress.expected is not None and progress.done != progress.expected:
        raise Unavailable("The other side broke off; nothing was kept.", code="pull_failed")


def _next_chunk(response: http.client.HTTPResponse) -> bytes:
    with _network_errors():
        return response.read1(_CHUNK_BYTES)


class _Progress:
    """How much has come, told whenever more has and every second while nothing does."""

    def __init__(self, report: Report | None) -> None:
        self._report = report
        self.done = 0
        self.expected: int | None = None

    def tell(self) -> None:
        if self._report:
            self._report(self.done, self.expected or 0)
