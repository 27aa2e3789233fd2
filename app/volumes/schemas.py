"""Volumes and their files as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields, validate

from app.fields import Flag, Matching, Text, Whole
from app.paging import PageQuery
from fleet.identifiers import NODE_NAME
from fleet.models import SMALLEST_VOLUME_MB, Volume
from fleet.paths import path_bytes

MOST_PATHS = 10_000
_LARGEST_MB = 2**31
_LONGEST_PATTERN = 255
_LONGEST_CONTENT_BYTES = 2**31

BYTES = {"type": "string", "format": "binary"}
RAW_BODY = {"required": True, "content": {"application/octet-stream": {"schema": BYTES}}}
"""How the description of the API tells of bodies that are no JSON."""

_MODE = re.compile("0?[0-7]{3}")


class VolumePath(fields.String):
    """A path in a volume: relative, `/`-separated. Names that are not UTF-8 are written as lone surrogates."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **more)
        path_bytes(text)
        return text


class FolderPath(VolumePath):
    """Like VolumePath; nothing means the volume itself."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any) -> str:
        return "" if value == "" else super()._deserialize(value, attr, data, **more)


class NewVolume(Schema):
    """What a client asks of a new volume; nothing is needed."""

    size = Whole(low=SMALLEST_VOLUME_MB, high=_LARGEST_MB, load_default=None, metadata={"description": "Size in MB."})
    node = Matching(pattern=NODE_NAME, load_default=None, metadata={"description": "Host to put it on."})


class VolumeRecord(Schema):
    """One volume."""

    volume_id = fields.String()
    id = fields.String(metadata={"description": "The same as `volume_id`."})
    path = fields.String(metadata={"description": "Where it is on its host."})
    created_at = fields.Integer(metadata={"description": "Unix seconds."})
    quota_mb = fields.Integer()
    quota_driver = fields.String()
    node = fields.String()


class VolumePage(Schema):
    """Volumes by id."""

    volumes = fields.List(fields.Nested(VolumeRecord))
    next_cursor = fields.String()


class VolumeFilter(PageQuery):
    """Which volumes to list."""

    node = fields.String(load_default=None)


class NewFile(Schema):
    """A file to write; folders above it are made."""

    path = VolumePath(required=True)
    content = Text(required=True, max_bytes=_LONGEST_CONTENT_BYTES, nul=True)
    encoding = fields.String(load_default="text", validate=validate.OneOf(["text", "base64"]))
    overwrite = Flag(load_default=True, metadata={"description": "When false an existing file is a conflict."})


class NewFolder(Schema):
    """A folder to make, with those above it."""

    path = VolumePath(required=True)


class Copy(Schema):
    """A file or folder to copy."""

    source = VolumePath(required=True)
    destination = VolumePath(required=True)


class Renaming(Schema):
    """A file or folder to move."""

    from_ = VolumePath(required=True, data_key="from", attribute="from")
    to = VolumePath(required=True)


class FileDeletion(Schema):
    """What to delete."""

    paths = fields.List(VolumePath(), required=True, validate=validate.Length(1, MOST_PATHS))


class NewMode(Schema):
    """Permissions to set."""

    path = VolumePath(required=True)
    mode = Matching(pattern=_MODE, required=True, problem="Must be three octal digits, such as 644.")


class NewSize(Schema):
    """A size to give to a volume."""

    size = Whole(low=SMALLEST_VOLUME_MB, high=_LARGEST_MB, required=True, metadata={"description": "In MB."})


class PathQuery(Schema):
    """Which file."""

    path = fields.String(required=True)


class SearchQuery(Schema):
    """What to find, and below which folder."""

    pattern = fields.String(required=True, validate=validate.Length(1, _LONGEST_PATTERN))
    path = fields.String(load_default="")
    limit = fields.Integer(load_default=1000, validate=validate.Range(1, 10_000))


class ListQuery(Schema):
    """Which folder to list, and how."""

    path = fields.String(load_default="")
    detailed = fields.Boolean(load_default=False)


class Uploaded(Schema):
    """It is uploaded."""

    message = fields.String()
    path = fields.String()
    size = fields.Integer(metadata={"description": "In bytes."})


class PathTold(Schema):
    """It is done."""

    message = fields.String()
    path = fields.String()


class Copied(Schema):
    """It is copied."""

    message = fields.String()
    source = fields.String()
    destination = fields.String()


class Renamed(Schema):
    """It is moved."""

    message = fields.String()
    from_ = fields.String(data_key="from")
    to = fields.String()


class FilesDeleted(Schema):
    """It is deleted."""

    message = fields.String()
    deleted_count = fields.Integer()


class ModeTold(PathTold):
    """The permissions are set."""

    mode = fields.String()


class TextContent(Schema):
    """A file as text."""

    path = fields.String()
    content = fields.String()


class Hit(Schema):
    """Something found."""

    path = fields.String(metadata={"description": "From the volume's root."})
    type = fields.String(metadata={"enum": ["file", "directory", "symlink"]})
    size = fields.Integer(metadata={"description": "In bytes, 0 for a directory."})


class Found(Schema):
    """What was found."""

    files = fields.List(fields.Nested(Hit))
    truncated = fields.Boolean(metadata={"description": "Whether there may be more."})


class FileEntry(Schema):
    """One name in a folder."""

    name = fields.String()
    type = fields.String(metadata={"enum": ["file", "directory", "symlink"]})
    size = fields.Integer(metadata={"description": "In bytes, 0 for a directory."})
    mode = fields.String(metadata={"description": "With `detailed`: permissions in octal."})
    modified_at = fields.Integer(metadata={"description": "With `detailed`: Unix seconds."})
    mimetype = fields.String(metadata={"description": "With `detailed`."})


class FileList(Schema):
    """What is in a folder: directories first, then by name."""

    files = fields.List(fields.Nested(FileEntry))


class Quota(Schema):
    """How full a volume is."""

    size_mb = fields.Integer()
    used_mb = fields.Float()
    available_mb = fields.Float()
    percentage_used = fields.Float()


def shown_volume(volume: Volume) -> dict[str, Any]:
    """A volume as JSON."""
    return {
        "volume_id": volume.volume_id,
        "id": volume.volume_id,
        "path": volume.path,
        "created_at": volume.created_at,
        "quota_mb": volume.quota_mb,
        "quota_driver": volume.quota_driver,
        "node": volume.node,
    }
