"""Host folders in containers: where inside they may appear, and which of them the operator allows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from marshmallow import ValidationError

from fleet.errors import Forbidden

_CLOSED = ("/app/data", "/proc", "/sys", "/dev")
"""Nothing may be mounted on, above or below these."""

_TAKEN = ("/home/container", "/tmp")  # noqa: S108 (a path in the container)
"""Nothing may be mounted on or above these."""


def checked_inside(text: str) -> str:
    """The normal form of a path in the container that something may be mounted on, or ValidationError."""
    path = _normal(text)
    if any(_is_below(closed, path) or _is_below(path, closed) for closed in _CLOSED):
        raise ValidationError(f"{path} is Lightd's or the kernel's own.")
    if any(_is_below(taken, path) for taken in _TAKEN):
        raise ValidationError(f"{path} would hide the volume or /tmp.")
    return path


def checked_on_host(text: str) -> str:
    """The normal form of a path on the host, or ValidationError; whether it is allowed is another question."""
    return _normal(text)


def require_allowed(host_path: str, allowed: Iterable[str]) -> None:
    """Raise Forbidden unless the operator allows this host folder.

    This looks at the text only; the host resolves symbolic links and looks again.
    """
    if not any(_is_below(host_path, folder) for folder in allowed):
        raise Forbidden(
            f"Mounting {host_path} is not allowed; the operator allows folders in LIGHTD_ALLOWED_MOUNTS.",
            code="mount_not_allowed",
        )


def _normal(text: str) -> str:
    if not text.startswith("/"):
        raise ValidationError("Must be an absolute path.")
    if ".." in text.split("/") or any(ord(character) < 32 or character in ":,\\" for character in text):
        raise ValidationError("Must be a plain path, without `..`, colons, commas, backslashes or control characters.")
    return str(PurePosixPath("/" + text.strip("/")))


def _is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or in it."""
    return PurePosixPath(path).is_relative_to(folder)
