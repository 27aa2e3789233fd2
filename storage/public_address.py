"""Which addresses belong to the public internet, by IANA's special-purpose registries (RFC 6890 and what followed).

`ipaddress` knows most of them, but each release of Python a little less or more; what it may miss stands here.
"""

from __future__ import annotations

import ipaddress

_ALSO_NOT_PUBLIC = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # once 6to4's relays (RFC 7526)
        "64:ff9b:1::/48",  # NAT64 into whatever network there is (RFC 8215)
        "100::/64",  # discard
        "100:0:0:1::/64",  # a prefix that leads nowhere (RFC 9780)
        "2001::/23",  # protocol assignments; Teredo, which carries two IPv4 addresses, and ORCHIDs
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address that any relay goes to
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local, long out of use, yet routed where it was set up
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 address is public, looking through forms that carry an IPv4 address inside."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = _ipv4_inside(parsed)
    if inner is not None:
        return is_public(str(inner))
    if any(parsed in network for network in _ALSO_NOT_PUBLIC):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _ipv4_inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to an IPv6 one end up at: mapped ones, and NAT64's own prefix (RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
