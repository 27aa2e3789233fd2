"""The master token: shown, replaced, set. The store knows only its digest; its text is in a file of the owner's."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from fleet.errors import LightdError
from fleet.repositories.tokens import TokenRepository, new_master_secret
from fleet.settings import Settings
from fleet.store import connect, store_errors
from scripts.failure import Failure


def current(settings: Settings) -> str:
    """The master token that is good now, made when the store has none.

    Raises Failure when this host doesn't know it or the store is away.
    """
    tokens, known = _tokens(settings), _read(settings)
    try:
        with store_errors():
            if not tokens.has_master():
                return replace(settings, known or new_master_secret())
            if known and tokens.is_master(known):
                return known
    except LightdError as error:
        raise _store_away() from error
    raise Failure("This host does not know the master token; `./lightd token reset` makes a new one.")


def replace(settings: Settings, secret: str | None = None) -> str:
    """Make `secret`, or a new one, the master token; the old one is dead at once. Raises Failure."""
    chosen = secret or new_master_secret()
    try:
        with store_errors():
            _tokens(settings).set_master(chosen)
    except LightdError as error:
        raise (_store_away() if error.code == "store_unavailable" else Failure(error.message)) from error
    _write(_path(settings), chosen)
    return chosen


def _tokens(settings: Settings) -> TokenRepository:
    return TokenRepository(connect(settings).record)


def _store_away() -> Failure:
    return Failure("The store does not answer; start Lightd with `./lightd up` and try again.")


def _path(settings: Settings) -> Path:
    return settings.data / "token"


def _read(settings: Settings) -> str:
    try:
        return _path(settings).read_text().strip()
    except FileNotFoundError:
        return ""
    except PermissionError as error:
        raise Failure(f"Only the owner of {settings.data} may read the token; run as that user.") from error


def _write(path: Path, secret: str) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secret}\n")
    fresh.replace(path)
