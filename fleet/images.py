"""Names of images, by the grammar of the engine: `[domain[:port]/]path[:tag][@digest]`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from fleet.errors import Forbidden

LONGEST = 255
HUB = "docker.io"
"""The registry that is meant where a name has none."""

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?/)"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})"
_DIGEST = r"(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,128})"
_REFERENCE = re.compile(f"{_DOMAIN}?{_COMPONENT}(?:/{_COMPONENT})*{_TAG}?{_DIGEST}?")
_ID = re.compile(r"sha256:[0-9a-fA-F]+|[0-9a-fA-F]{64}")
_PRIVATE = f"{HUB}/lightd/"


def is_image_name(text: str) -> bool:
    """Whether the engine would take `text` as the name of an image; an id is none."""
    return len(text) <= LONGEST and _REFERENCE.fullmatch(text) is not None and not is_image_id(text)


def is_image_id(text: str) -> bool:
    """Whether `text` is the id of an image, which the engine takes for whatever image has it."""
    return _ID.fullmatch(text) is not None


def is_private(text: str) -> bool:
    """Whether `text` names what the install of some container left: nobody else's to see or to hold."""
    return full_name(text).startswith(_PRIVATE)


def full_name(name: str) -> str:
    """The name with everything that may be left out: `debian` is `docker.io/library/debian:latest`.

    Of a name with tag and digest the engine looks at the digest alone. A full name can never be taken for the
    beginning of an id, as `deadbeef` could.
    """
    repository, tag, digest = _parts(name)
    return f"{repository}@{digest}" if digest else f"{repository}:{tag or 'latest'}"


def registry_of(name: str) -> str:
    """Host, and port if any, of the registry that an image is pulled from."""
    return full_name(name).partition("/")[0]


def require_image_allowed(name: str, patterns: Iterable[str]) -> None:
    """Raise Forbidden unless the full name fits one of the operator's patterns; without any, every image is allowed.

    `*` stands for any characters. A pattern without a tag fits every tag and digest, one without a registry is of
    the Docker Hub.
    """
    patterns = tuple(patterns)
    names = (full_name(name), _parts(name)[0])
    if patterns and not any(fnmatchcase(known, _full_pattern(pattern)) for pattern in patterns for known in names):
        raise Forbidden(
            f"The operator does not allow the image {names[0]}; see LIGHTD_IMAGES_ALLOWED.", code="image_not_allowed"
        )


def _parts(name: str) -> tuple[str, str, str]:
    """Repository with its registry, tag, digest; the last two may be empty."""
    rest, _, digest = name.partition("@")
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag = rest, ""
    return _with_registry(path), tag, digest


def _full_pattern(pattern: str) -> str:
    return pattern if pattern.startswith("*") else _with_registry(pattern)


def _with_registry(path: str) -> str:
    """The engine's own rule: what stands before the first slash is a registry if it looks like a host."""
    first, slash, rest = path.partition("/")
    if not slash:
        return f"{HUB}/library/{path}"
    if not (set(first) & set(".:*") or first == "localhost" or first != first.lower()):
        return f"{HUB}/{path}"
    domain = HUB if first == "index.docker.io" else first
    if domain == HUB and "/" not in rest:
        rest = f"library/{rest}"
    return f"{domain}/{rest}"
