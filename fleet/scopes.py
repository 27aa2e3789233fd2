"""What an issued token may do; one that names no scopes may do everything but make tokens."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """One kind of permission."""

    READ = "read"
    CONSOLE = "console"
    COMMAND = "command"
    POWER = "power"
    FILES = "files"
    ADMIN = "admin"
    """All of the others, and everything that changes more than whether a container runs or what its files are."""
