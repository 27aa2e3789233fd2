"""Failed logins, counted per address in the store: so the limit holds over any number of API processes.

From an address that reached the limit, only two kinds of token are still looked at: those that were good at that
address a short while ago, and issued ones, whose 256 random bits cannot be guessed in any number of tries. So nobody
who shares an address with an attacker is locked out of what they are doing, and the master token, which an operator
may have chosen badly, cannot be guessed.
"""

from __future__ import annotations

import ipaddress
import time

from fleet.errors import TooMany
from fleet.keys import key
from fleet.repositories.tokens import Principal, TokenRepository, digest_of
from fleet.store import Client

_WINDOW_SECONDS = 60
_KNOWN_SECONDS = 3600
_RENEW_SECONDS = 600
_MOST_REMEMBERED = 10_000
_IPV6_PREFIX = 64


class Logins:
    """The way in for every secret that a caller brings."""

    def __init__(self, redis: Client, tokens: TokenRepository, failures_per_minute: int) -> None:
        self._redis = redis
        self._tokens = tokens
        self._limit = failures_per_minute
        self._remembered: dict[tuple[str, str], float] = {}

    def log_in(self, secret: str, address: str) -> Principal | None:
        """Whose token this is; None for nobody's. A single-use token is consumed: of two calls one wins.

        Raises TooMany when the address has failed too often and the token is none of those that are still looked at.
        """
        group, digest = _group(address), digest_of(secret)
        wait_seconds = 0 if self._is_remembered(group, digest) else self._blocked_seconds(group, digest)
        principal = self._tokens.authenticate_issued(secret) if wait_seconds else self._tokens.authenticate(secret)
        if principal is None:
            self._remembered.pop((group, digest), None)
            self._count(group)
            if wait_seconds:
                raise TooMany("Too many failed logins from this address; wait.", retry_after_seconds=wait_seconds)
        elif principal.token is None or not principal.token.remove_on_use:
            self._remember(group, digest)
        return principal

    def _blocked_seconds(self, group: str, digest: str) -> int:
        """How long this address must wait with this token; 0 when it need not."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(key("failed_logins", group))
            pipe.ttl(key("failed_logins", group))
            pipe.exists(key("known_login", group, digest))
            failures, seconds, known = pipe.execute()
        return 0 if known or int(failures or 0) < self._limit else max(int(seconds), 1)

    def _count(self, group: str) -> None:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(key("failed_logins", group), 0, ex=_WINDOW_SECONDS, nx=True)
            pipe.incr(key("failed_logins", group))
            pipe.execute()

    def _is_remembered(self, group: str, digest: str) -> bool:
        return self._remembered.get((group, digest), 0) > time.monotonic()

    def _remember(self, group: str, digest: str) -> None:
        """Note a good token at its address, in the store only now and then."""
        if self._is_remembered(group, digest):
            return
        self._redis.set(key("known_login", group, digest), "1", ex=_KNOWN_SECONDS)
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[group, digest] = time.monotonic() + _RENEW_SECONDS


def _group(address: str) -> str:
    """What counts as one address: of IPv6 the network that a host may choose freely from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "local"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), _IPV6_PREFIX), strict=False).network_address)
    return str(parsed)
