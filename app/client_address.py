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
    said = req.headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip()
    trusted = [ipaddress.ip_network(proxy) for proxy in trusted_proxies]
    return said if said and _is_among(req.remote_addr or "", trusted) else req.host


def asked_address(req: Request, trusted_proxies: Iterable[str]) -> str:
    """Like `asked_host`, with the scheme before it: `https://files.example.com`."""
    said = req.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    trusted = [ipaddress.ip_network(proxy) for proxy in trusted_proxies]
    believed = said in ("http", "https") and _is_among(req.remote_addr or "", trusted)
    return f"{said if believed else req.scheme}://{asked_host(req, trusted_proxies)}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_among(address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in network for network in networks)
