"""Names of images, by the grammar of the engine: `[domain[:port]/]path[:tag][@digest]`."""

from __future__ import annotations

import re

LONGEST = 255

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?/)"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})"
_DIGEST = r"(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,128})"
_PRIVATE = re.compile(r"(?:(?:index\.)?docker\.io/)?lightd/")
_REFERENCE = re.compile(f"{_DOMAIN}?{_COMPONENT}(?:/{_COMPONENT})*{_TAG}?{_DIGEST}?")


def is_image_name(text: str) -> bool:
    """Whether the engine would take `text` as the name of an image."""
    return len(text) <= LONGEST and _REFERENCE.fullmatch(text) is not None


def is_private(text: str) -> bool:
    """Whether `text` names what the install of some container left: nobody else's to see or to hold."""
    return _PRIVATE.match(text) is not None
