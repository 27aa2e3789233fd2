"""What a container's things are called in the engine."""

from __future__ import annotations

import hashlib
import re

_PLAIN = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_UNSAFE = re.compile(r"[^a-z0-9]+")


def server_name(container_id: str) -> str:
    """The container that runs the server."""
    return f"lightd-{container_id}"


def install_name(container_id: str) -> str:
    """The container that runs the install script."""
    return f"lightd-{container_id}-install"


def next_name(container_id: str) -> str:
    """The container that is about to take the server's place. No server can have this name."""
    return f"lightd.next-{container_id}"


def probe_name(container_id: str) -> str:
    """The container that tries whether ports can be had. No server can have this name."""
    return f"lightd.probe-{container_id}"


def private_image(container_id: str) -> str:
    """The image that an install script left; two containers never share one.

    Ids that the engine's rules for names forbid get a hash, in a folder of their own that no plain id can name.
    """
    if _PLAIN.fullmatch(container_id):
        return f"lightd/{container_id}"
    digest = hashlib.sha256(container_id.encode()).hexdigest()[:16]
    return f"lightd/named/{_UNSAFE.sub('-', container_id.lower()).strip('-')}-{digest}"
