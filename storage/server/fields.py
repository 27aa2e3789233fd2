"""Reading fields out of a call. The API has validated them; here they must only never crash anything."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import parse_qsl

from flask import request

from fleet.errors import Invalid, invalid_field

_YES = frozenset({"true", "1", "yes"})


class Body:
    """The JSON object of a call, read field by field; each method raises Invalid naming the field."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def raw(self, name: str) -> Any:
        """The field as it came, None when missing: for paths, whose check is its own."""
        return self._values.get(name)

    def whole_number(self, name: str) -> int:
        """An integer that must be there."""
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid_field(name, "Not a valid integer.")
        return value

    def time(self, name: str) -> float | None:
        """Unix seconds, None when missing."""
        value = self._values.get(name)
        if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
            raise invalid_field(name, "Not a valid time.")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A boolean."""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise invalid_field(name, "Not a valid boolean.")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A string; must be there when there is no default."""
        value = self._values.get(name, default)
        if not isinstance(value, str):
            raise invalid_field(name, "Not a valid string.")
        return value

    def items(self, name: str, *, required: bool = True) -> list[Any]:
        """A list, with something in it when it is required."""
        value = self._values.get(name, [])
        if not isinstance(value, list) or (required and not value):
            raise invalid_field(name, "Not a valid list.")
        return value

    def content(self) -> bytes:
        """The bytes that `content` and `encoding` (`text` or `base64`) stand for."""
        text = self.text("content")
        encoding = self.text("encoding", "text")
        if encoding == "text":
            try:
                return text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                raise invalid_field("content", "Not valid text.") from error
        if encoding != "base64":
            raise invalid_field("encoding", "Must be one of: text, base64.")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid_field("content", "Not valid base64.") from error


def body() -> Body:
    """The call's JSON object."""
    values = request.get_json(force=True, silent=True)
    if not isinstance(values, dict):
        raise Invalid("The body must be a JSON object.")
    return Body(values)


def query(name: str, default: str | None = None) -> str | None:
    """A parameter of the query; bytes that are not UTF-8 survive as lone surrogates, as in `storage.paths`."""
    pairs = parse_qsl(
        request.query_string.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="surrogateescape"
    )
    return next((value for key, value in pairs if key == name), default)


def query_flag(name: str) -> bool:
    """Whether a parameter says yes."""
    return (query(name) or "").lower() in _YES


def query_number(name: str, default: int, *, largest: int) -> int:
    """A number from 1 to `largest` in the query."""
    text = query(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= largest):
        raise invalid_field(name, f"Must be between 1 and {largest}.")
    return int(text)
