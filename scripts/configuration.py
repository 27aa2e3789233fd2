"""The settings as a command needs them: read, and fit for this host."""

from __future__ import annotations

from fleet.settings import Settings, SettingsError, read_settings
from scripts.failure import SettingsFailure

_SOCKET_PATH_BYTES = 107
"""Longest path of a Unix socket on Linux (unix(7): 108 with the closing zero byte)."""


def configured() -> Settings:
    """The settings from the environment. A value that cannot be used ends the command with exit code 2."""
    try:
        settings = read_settings()
    except SettingsError as error:
        raise SettingsFailure(str(error)) from error
    if not settings.data.is_absolute():
        raise SettingsFailure(f"LIGHTD_DATA must be an absolute path, not {settings.data}.")
    longest = len(str(settings.run_folder / "stream.sock").encode())
    if longest > _SOCKET_PATH_BYTES:
        room = _SOCKET_PATH_BYTES - longest + len(str(settings.data).encode())
        raise SettingsFailure(f"LIGHTD_DATA must be at most {room} bytes long, for the sockets in it.")
    return settings
