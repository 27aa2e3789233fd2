"""Fields of JSON bodies, strict about types: a number in quotes is not a number, true is not 1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError, fields

_LIFETIME = re.compile(r"([0-9]{1,9})([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_TEXTS_BYTES = 1024 * 1024
"""Half of what a kernel gives a process at its start, environment and command line together."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Text(fields.String):
    """Text without lone surrogates, and without NUL unless `nul`, of at most `max_bytes` in UTF-8."""

    def __init__(self, *, max_bytes: int = 1000, empty: bool = True, nul: bool = False, **more: Any) -> None:
        super().__init__(**more)
        self.max_bytes = max_bytes
        self.empty = empty
        self.nul = nul

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **more)
        return checked_text(text, max_bytes=self.max_bytes, empty=self.empty, nul=self.nul)


class Matching(Text):
    """Text that `pattern` fits as a whole; `problem` says what it must be."""

    def __init__(self, *, pattern: re.Pattern[str], problem: str = "", **more: Any) -> None:
        more["metadata"] = {"pattern": f"^{pattern.pattern}$", **more.get("metadata", {})}
        super().__init__(**more)
        self.pattern = pattern
        self.problem = problem or f"Must match {pattern.pattern}"

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str:
        text = super()._deserialize(value, attr, data, **more)
        if not self.pattern.fullmatch(text):
            raise ValidationError(self.problem)
        return text


class Whole(fields.Integer):
    """A whole number from `low` to `high`."""

    def __init__(self, *, low: int, high: int, **more: Any) -> None:
        more["metadata"] = {"minimum": low, "maximum": high, **more.get("metadata", {})}
        super().__init__(strict=True, **more)
        self.low = low
        self.high = high

    def _validated(self, value: Any) -> int:
        number = super()._validated(value)
        if not self.low <= number <= self.high:
            raise ValidationError(f"Must be from {self.low} to {self.high}.")
        return number


class Real(fields.Float):
    """A number from `low` to `high`."""

    def __init__(self, *, low: float, high: float, **more: Any) -> None:
        more["metadata"] = {"minimum": low, "maximum": high, **more.get("metadata", {})}
        super().__init__(**more)
        self.low = low
        self.high = high

    def _validated(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Not a valid number.")
        if not self.low <= value <= self.high:
            raise ValidationError(f"Must be from {self.low:g} to {self.high:g}.")
        return float(value)


class Flag(fields.Boolean):
    """true or false, nothing that looks like it."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return bool(super()._deserialize(value, attr, data, **more))


class Lifetime(fields.String):
    """A time as a number and a unit, from 1 s on, at most `longest`; it is loaded as seconds."""

    def __init__(self, *, longest: str, **more: Any) -> None:
        super().__init__(**more)
        self.longest = longest

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> Any:
        seconds = _seconds(super()._deserialize(value, attr, data, **more))
        if not 1 <= seconds <= _seconds(self.longest):
            raise ValidationError(f"Must be a number and s, m, h or d, from 1s to {self.longest}.")
        return seconds


class TextMap(fields.Dict):
    """An object of texts, with names that match `names`; at most `max_entries`, and 1 MiB in all."""

    def __init__(self, *, names: str, max_entries: int, max_bytes: int, **more: Any) -> None:
        super().__init__(keys=fields.String(), values=fields.String(), **more)
        self.names = re.compile(names)
        self.max_entries = max_entries
        self.max_bytes = max_bytes

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> Any:  # noqa: ARG002
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        if len(value) > self.max_entries:
            raise ValidationError(f"At most {self.max_entries} entries.")
        problems = {name: [text] for name, item in value.items() if (text := self._problem(name, item))}
        if problems:
            raise ValidationError(problems)
        checked: dict[str, str] = value
        if sum(len(name) + len(item.encode()) for name, item in checked.items()) > _MOST_TEXTS_BYTES:
            raise ValidationError(f"Longer than {_MOST_TEXTS_BYTES} bytes in all.")
        return checked

    def _problem(self, name: str, item: Any) -> str | None:
        if not self.names.fullmatch(name):
            return f"The name must match {self.names.pattern}"
        if not isinstance(item, str):
            return "Not a valid string."
        try:
            checked_text(item, max_bytes=self.max_bytes)
        except ValidationError as error:
            return str(error.messages[0])
        return None


def utc_text(unix_seconds: int) -> str:
    """A time as RFC 3339 in UTC."""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def checked_text(text: str, *, max_bytes: int, empty: bool = True, nul: bool = False) -> str:
    """`text`, or ValidationError when it cannot be stored, is too long, or is empty and must not be."""
    if not text and not empty:
        raise ValidationError("Must not be empty.")
    if "\0" in text and not nul:
        raise ValidationError("Must not contain NUL.")
    if _LONE_SURROGATE.search(text):
        raise ValidationError("Not valid Unicode: half of a surrogate pair.")
    if len(text) > max_bytes or len(text.encode()) > max_bytes:
        raise ValidationError(f"Longer than {max_bytes} bytes.")
    return text


def _seconds(lifetime: str) -> int:
    match = _LIFETIME.fullmatch(lifetime)
    return int(match[1]) * _UNIT_SECONDS[match[2]] if match else 0
