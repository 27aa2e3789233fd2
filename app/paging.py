"""Lists in pages: `?limit=` and `?cursor=` in, `next_cursor` out where there is more."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from marshmallow import Schema, fields, post_load, validate

from fleet.errors import invalid_field

Item = TypeVar("Item")

Read = Callable[[str, int], tuple[Sequence[Item], str | None]]
"""Answers up to so many items after a name, and the name to go on from, None at the end."""

_FEWEST_READ = 200


class PageQuery(Schema):
    """Which part of a list."""

    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000))
    cursor = fields.String(metadata={"description": "`next_cursor` of the page before."})

    @post_load
    def _decode(self, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        values["after"] = _decoded(values.pop("cursor", ""))
        return values


def page_of(
    listed: str,
    read: Read[Item],
    name_of: Callable[[Item], str],
    query: dict[str, Any],
    *,
    show: Callable[[Item], Any],
    keep: Callable[[Item], bool] = lambda _: True,
) -> dict[str, Any]:
    """One page as `{listed: […]}` with `next_cursor` only where more follows; `keep` filters, `show` makes JSON."""
    limit: int = query["limit"]
    after: str | None = query["after"]
    found: list[Item] = []
    while after is not None and len(found) <= limit:
        items, after = read(after, max(limit + 1, _FEWEST_READ))
        found += [item for item in items if keep(item)]
    page: dict[str, Any] = {listed: [show(item) for item in found[:limit]]}
    if len(found) > limit:
        page["next_cursor"] = _encoded(name_of(found[limit - 1]))
    return page


def whole_list(items: Sequence[Item], name_of: Callable[[Item], str]) -> Read[Item]:
    """A `Read` of a short list that is known as a whole and ordered by name."""

    def read(after: str, limit: int) -> tuple[Sequence[Item], str | None]:
        rest = [item for item in items if name_of(item) > after]
        return rest[:limit], name_of(rest[limit - 1]) if len(rest) > limit else None

    return read


def _encoded(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise invalid_field("cursor", "Not a cursor of this list.") from error
