"""Names of things: what they look like and how new ones are made."""

from __future__ import annotations

import re
import secrets
import uuid

CONTAINER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
NODE_NAME = CONTAINER_ID
VOLUME_PREFIX = re.compile(r"[0-9a-f]{8}([0-9a-f]{0,24}|[0-9a-f-]{0,28})")
_DASHES_BEFORE = (8, 12, 16, 20)


def new_volume_id() -> str:
    """A random UUID."""
    return str(uuid.uuid4())


def new_job_id() -> str:
    """A random id that sorts nowhere and fits into a URL."""
    return secrets.token_hex(12)


def is_container_id(text: str) -> bool:
    """Whether `text` may be a container's `internal_id`."""
    return CONTAINER_ID.fullmatch(text) is not None


def volume_prefix(text: str) -> str | None:
    """The normal form of a volume id or of its first 8 or more digits, with or without dashes; None when it is none."""
    lowered = text.lower()
    if not VOLUME_PREFIX.fullmatch(lowered):
        return None
    if "-" in lowered:
        return lowered
    return "".join(f"-{digit}" if place in _DASHES_BEFORE else digit for place, digit in enumerate(lowered))
