"""Addresses of the pool: one spelling for each, so that a port is one member however it is written."""

from __future__ import annotations

import ipaddress

from marshmallow import ValidationError

PROTOCOLS = ("tcp", "udp")
HIGHEST_PORT = 65535


def normal_ip(text: str) -> str:
    """The one spelling of an IP address; raises ValidationError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise ValidationError("Not an IP address.") from error
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise ValidationError("Not a plain IP address: without zone, and IPv4 in its own form.")
    return address.compressed
