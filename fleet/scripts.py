"""The Lua scripts: each one atomic change of a store, loaded once by content."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from fleet.errors import StillRunning
from fleet.keys import lua_functions
from fleet.store import Client

_SHARED = ("prelude", "ports", "restarts")


@cache
def source(name: str) -> str:
    """The Lua text of one script of the record store, with key names and shared functions in front."""
    folder = resources.files("fleet") / "lua"
    parts = [(folder / f"{part}.lua").read_text() for part in (*_SHARED, name)]
    return "\n".join([lua_functions(), *parts])


@cache
def plain_source(name: str) -> str:
    """The Lua text of a script that takes KEYS and ARGV only."""
    return (resources.files("fleet") / "lua" / f"{name}.lua").read_text()


class Scripts:
    """The record store's scripts, each called with one request document."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._loaded: dict[str, Any] = {}

    def run(self, name: str, request: dict[str, Any]) -> list[str]:
        """Run script `name`; returns `["ok", …]` or `["refused", reason, …]`. None values are left out.

        Raises StillRunning when it was to do what the same call, under its idempotency key, was refused meanwhile.
        """
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._redis.register_script(source(name))
        answer: list[str] = script(args=[json.dumps(without_none(request))])
        if answer[:2] == ["refused", "answered"]:
            raise StillRunning("Another try of this call, under the same Idempotency-Key, was answered; send it again.")
        return answer


def without_none(value: Any) -> Any:
    """The same document without None values: for Lua, absent means absent."""
    if isinstance(value, dict):
        return {name: without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    return value
