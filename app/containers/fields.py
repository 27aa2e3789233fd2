"""Fields that only containers have."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields

from app.containers.mounts import checked_inside, checked_on_host
from app.fields import Matching, Text
from fleet.errors import PatternInvalid
from fleet.identifiers import CONTAINER_ID
from fleet.images import is_image_id, is_image_name, is_private
from fleet.pattern import check_pattern

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_COMMAND_BYTES = 4000
_MOST_MOUNTS = 32


class InternalId(Matching):
    """The client's own name for a container."""

    def __init__(self, **more: Any) -> None:
        super().__init__(pattern=CONTAINER_ID, **more)


class ImageName(Text):
    """The name of an image, as the engine takes it."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str:
        text = super()._deserialize(value, attr, data, **more)
        if is_image_id(text):
            raise ValidationError("An image is named, not given by its id: the id may be another container's image.")
        if not is_image_name(text):
            raise ValidationError("Not the name of an image: [domain/]name[:tag][@digest], at most 255 characters.")
        if is_private(text):
            raise ValidationError("Images below lightd/ belong to the containers whose installs made them.")
        return text


class Pattern(Text):
    """A regular expression in RE2's syntax; empty means none."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str | None:  # type: ignore[override]
        text = super()._deserialize(value, attr, data, **more)
        try:
            check_pattern(text)
        except PatternInvalid as error:
            raise ValidationError(error.message) from error
        return text or None


class ConsoleLine(Text):
    """One line for a terminal; empty means none."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str | None:  # type: ignore[override]
        text = super()._deserialize(value, attr, data, **more).removesuffix("\n")
        if _CONTROL.search(text) or len(text.encode()) > _LONGEST_COMMAND_BYTES:
            raise ValidationError(f"Must be one line of at most {_LONGEST_COMMAND_BYTES} bytes, without control bytes.")
        return text or None


class SignalName(Text):
    """A signal, with or without `SIG` in front."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str:
        text = super()._deserialize(value, attr, data, **more).upper()
        name = text if text.startswith("SIG") else f"SIG{text}"
        if name not in signal.Signals.__members__:
            raise ValidationError("Not the name of a signal.")
        return name


class MountMap(fields.Dict):
    """Paths in the container and the host folders they lead to."""

    def __init__(self, **more: Any) -> None:
        super().__init__(keys=fields.String(), values=fields.String(), **more)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> dict[str, str]:  # noqa: ARG002
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        if len(value) > _MOST_MOUNTS:
            raise ValidationError(f"At most {_MOST_MOUNTS} mounts.")
        mounts: dict[str, str] = {}
        for inside, on_host in value.items():
            try:
                if not isinstance(on_host, str):
                    raise ValidationError("Not a valid string.")
                path = checked_inside(Text()._deserialize(inside, None, None))
                if path in mounts:
                    raise ValidationError(f"{path} is there twice.")
                mounts[path] = checked_on_host(Text()._deserialize(on_host, None, None))
            except ValidationError as error:
                raise ValidationError({inside: error.messages}) from error
        return mounts
