"""Tokens open what they should, once or until they end, and the store never holds a secret."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from fleet.errors import Invalid, NotFound
from fleet.repositories.tokens import TokenRepository, new_master_secret
from fleet.store import Client


@pytest.fixture
def tokens(store: Client) -> TokenRepository:
    return TokenRepository(store)


def test_a_new_master_token_ends_the_old_one_at_once(tokens: TokenRepository) -> None:
    old, new = new_master_secret(), new_master_secret()
    tokens.set_master(old)
    tokens.set_master(new)
    assert tokens.authenticate(old) is None
    caller = tokens.authenticate(new)
    assert caller is not None
    assert caller.is_master


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "lightd_short",
        "other_0123456789012345",
        "lightd_ä123456789012345",
        "lightd_0 1234567890123",
        "lightd_0\t1234567890123",
        "lightd_01234567890123\n",
    ],
)
def test_a_weak_master_token_is_refused(tokens: TokenRepository, secret: str) -> None:
    with pytest.raises(Invalid):
        tokens.set_master(secret)


def test_of_two_uses_of_a_single_use_token_one_wins(tokens: TokenRepository) -> None:
    secret, _ = tokens.issue(60, remove_on_use=True)
    with ThreadPoolExecutor(16) as pool:
        callers = list(pool.map(tokens.authenticate, [secret] * 16))
    assert sum(caller is not None for caller in callers) == 1
    assert tokens.every() == []


def test_a_revoked_token_is_dead_for_calls_and_for_sockets(tokens: TokenRepository) -> None:
    secret, token = tokens.issue(60)
    caller = tokens.authenticate(secret)
    assert caller is not None
    assert tokens.is_live(caller)
    tokens.revoke(token.id)
    assert tokens.authenticate(secret) is None
    assert not tokens.is_live(caller)
    with pytest.raises(NotFound):
        tokens.revoke(token.id)


def test_a_single_use_token_can_be_revoked_once_it_was_used(tokens: TokenRepository) -> None:
    secret, token = tokens.issue(60, remove_on_use=True)
    caller = tokens.authenticate(secret)
    assert caller is not None
    assert tokens.is_live(caller)
    tokens.revoke(token.id)
    assert not tokens.is_live(caller)
    with pytest.raises(NotFound):
        tokens.revoke(token.id)


def test_the_store_never_holds_a_secret(tokens: TokenRepository, store: Client) -> None:
    master = new_master_secret()
    tokens.set_master(master)
    secret, _ = tokens.issue(60)
    for name in store.keys("*"):
        dumped = name + str(store.dump(name) if store.type(name) != "hash" else store.hgetall(name))
        assert secret[7:] not in dumped
        assert master[7:] not in dumped


@pytest.mark.parametrize("secret", ["", "lightd_", "lightd_nobody", "lightd_\udcff", "lightd_" + "x" * 10_000])
def test_nonsense_is_nobody(tokens: TokenRepository, secret: str) -> None:
    assert tokens.authenticate(secret) is None
