"""Where a request comes from, and which address it asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from flask import Request


def client_address(req: Request, trusted_proxies: Iterable[str]) -> str:
    """The address of the client; what `X-Forwarded-For` says counts only as far as trusted proxies wrote it.

    Each proxy adds the address that it saw at the end of the header, so it is read from there.
    """
    trusted = [ipaddress.ip_network(proxy) for proxy in trusted_proxies]
    address = req.remote_addr or ""
    said = [part.strip() for part in req.headers.get("X-Forwarded-For", "").split(",")]
    while said and _is_among(address, trusted) and _is_address(said[-1]):
        address = said.pop()
    return address


def asked_host(req: Request, trusted_proxies: Iterable[str]) -> str:
    """The host, with its port if any, that the client asked for; a trusted proxy may have been asked in its place."""
    return _forwarded(req, "X-Forwarded-Host", trusted_proxies) or req.host


def asked_address(req: Request, trusted_proxies: Iterable[str]) -> str:
    """Like `asked_host`, with the scheme before it: `https://files.example.com`."""
    scheme = _forwarded(req, "X-Forwarded-Proto", trusted_proxies).lower()
    return f"{scheme if scheme in ('http', 'https') else req.scheme}://{asked_host(req, trusted_proxies)}"


def _forwarded(req: Request, header: str, trusted_proxies: Iterable[str]) -> str:
    """What the nearest proxy says in a header; nothing for one that is not trusted."""
    trusted = [ipaddress.ip_network(proxy) for proxy in trusted_proxies]
    said = req.headers.get(header, "").rpartition(",")[2].strip()
    return said if _is_among(req.remote_addr or "", trusted) else ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_among(address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in network for network in networks)
