"""Tokens: the master token and those issued by it. The store holds only SHA-256 digests of secrets."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.errors import Invalid, NotFound
from fleet.keys import key
from fleet.models import Token
from fleet.scopes import Scope
from fleet.store import Client

PREFIX = "lightd_"
MIN_LENGTH = 20
_PLAIN = re.compile("[!-~]+")  # what a header can carry


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the master token, or an issued one."""

    token: Token | None
    digest: str

    @property
    def is_master(self) -> bool:
        """Whether this is the master token."""
        return self.token is None

    @property
    def has_expired(self) -> bool:
        """Whether the time of an issued token is over."""
        return self.token is not None and self.token.expires_at <= time.time()

    @property
    def name(self) -> str:
        """What histories call the caller: `master`, or the id of the issued token."""
        return self.token.id if self.token else "master"

    @property
    def is_narrowed(self) -> bool:
        """Whether there is anything but making tokens that this caller may not do."""
        return self.token is not None and bool(self.token.scopes or self.token.containers)

    @property
    def containers(self) -> tuple[str, ...]:
        """The containers that the caller is limited to; empty for no limit."""
        return self.token.containers if self.token else ()

    def may(self, *scopes: Scope) -> bool:
        """Whether the caller has one of these scopes."""
        held = self.token.scopes if self.token else ()
        return not held or Scope.ADMIN in held or any(scope in held for scope in scopes)

    def reaches(self, container_id: str) -> bool:
        """Whether this container is not beyond the caller's limit."""
        return not self.containers or container_id in self.containers


class TokenRepository:
    """The master token and all issued tokens."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    def set_master(self, secret: str) -> None:
        """Make `secret` the master token; the old one is dead at once. Raises Invalid for a weak form."""
        if not secret.startswith(PREFIX) or len(secret) < MIN_LENGTH or not _PLAIN.fullmatch(secret):
            raise Invalid(f"A master token starts with {PREFIX} and has at least {MIN_LENGTH} plain characters.")
        self._redis.set(key("master"), digest_of(secret))

    def is_master(self, secret: str) -> bool:
        """Whether `secret` is the master token now."""
        return _equal(self._redis.get(key("master")), digest_of(secret))

    def has_master(self) -> bool:
        """Whether a master token was ever set in this store."""
        return bool(self._redis.exists(key("master")))

    def authenticate(self, secret: str) -> Principal | None:
        """Whose token this is; None for nobody's. A single-use token is consumed: of two calls one wins."""
        digest = digest_of(secret)
        if _equal(self._redis.get(key("master")), digest):
            return Principal(None, digest)
        return self.authenticate_issued(secret)

    def authenticate_issued(self, secret: str) -> Principal | None:
        """The same for issued tokens alone."""
        digest = digest_of(secret)
        fields = self._redis.hgetall(key("token", digest))
        if not fields or int(fields["expires_at"]) <= time.time():
            return None
        token = _from_fields(fields)
        if token.remove_on_use and not self._use_up(token.id, digest):
            return None
        return Principal(token, digest)

    def is_live(self, principal: Principal) -> bool:
        """Whether one authenticated caller may go on."""
        return principal.digest in self.live([principal])

    def live(self, principals: Sequence[Principal]) -> set[str]:
        """The digests of those authenticated callers who may go on: for sockets, which outlive their first check."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(key("master"))
            for principal in principals:
                pipe.exists(key("token_digest", principal.token.id if principal.token else ""))
            master, *kept = pipe.execute()
        return {
            principal.digest
            for principal, found in zip(principals, kept, strict=True)
            if (found and not principal.has_expired) or (principal.is_master and _equal(master, principal.digest))
        }

    def issue(
        self,
        ttl_seconds: int,
        *,
        remove_on_use: bool = False,
        scopes: Sequence[str] = (),
        containers: Sequence[str] = (),
    ) -> tuple[str, Token]:
        """Make a token; answers its secret, which is kept nowhere, and its record."""
        secret = PREFIX + secrets.token_urlsafe(32)
        expires_at = int(time.time()) + ttl_seconds
        token = Token(secrets.token_hex(8), expires_at, remove_on_use, tuple(scopes), tuple(containers))
        digest = digest_of(secret)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key("token", digest), mapping=_fields(token))
            pipe.expireat(key("token", digest), expires_at)
            pipe.set(key("token_digest", token.id), digest, exat=expires_at)
            pipe.zadd(key("tokens"), {token.id: expires_at})
            pipe.zremrangebyscore(key("tokens"), "-inf", time.time())
            pipe.execute()
        return secret, token

    def is_issued(self, token_id: str) -> bool:
        """Whether an issued token is neither revoked nor expired; also one for a single use that was used."""
        return bool(self._redis.exists(key("token_digest", token_id)))

    def every(self) -> list[Token]:
        """All tokens that are good now, the first to expire first."""
        names = self._redis.zrangebyscore(key("tokens"), time.time(), "+inf")
        digests = self._redis.mget([key("token_digest", name) for name in names]) if names else []
        with self._redis.pipeline(transaction=False) as pipe:
            for digest in digests:
                if digest:
                    pipe.hgetall(key("token", digest))
            return [_from_fields(fields) for fields in pipe.execute() if fields]

    def revoke(self, token_id: str) -> None:
        """End a token at once, also one for a single use whose socket lives on. Raises NotFound."""
        digest = self._redis.get(key("token_digest", token_id))
        if digest is None:
            raise _not_found()
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(key("token_digest", token_id))
            pipe.delete(key("token", digest))
            pipe.zrem(key("tokens"), token_id)
            if not pipe.execute()[0]:
                raise _not_found()

    def _use_up(self, token_id: str, digest: str) -> bool:
        """Let nobody in with a token any more; whether it was this call that did. Its id is kept for `revoke`."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(key("token", digest))
            pipe.zrem(key("tokens"), token_id)
            return bool(pipe.execute()[0])


def new_master_secret() -> str:
    """A fresh secret that may serve as the master token."""
    return PREFIX + secrets.token_urlsafe(32)


def _equal(kept: str | None, digest: str) -> bool:
    return hmac.compare_digest(kept or "", digest)


def _not_found() -> NotFound:
    return NotFound("Token not found", code="token_not_found")


def digest_of(secret: str) -> str:
    """What the store knows of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _fields(token: Token) -> dict[str, str]:
    return {
        "id": token.id,
        "expires_at": str(token.expires_at),
        "remove_on_use": "1" if token.remove_on_use else "0",
        "scopes": json.dumps(token.scopes),
        "containers": json.dumps(token.containers),
    }


def _from_fields(fields: dict[str, str]) -> Token:
    return Token(
        id=fields["id"],
        expires_at=int(fields["expires_at"]),
        remove_on_use=fields["remove_on_use"] == "1",
        scopes=tuple(json.loads(fields["scopes"])),
        containers=tuple(json.loads(fields["containers"])),
    )
