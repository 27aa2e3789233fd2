"""Downloads and uploads: through the API, or straight to the volume's host where that has an address of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import Response
from marshmallow import Schema, fields, validate

from app.access import Reach, needs
from app.json_body import Blueprint
from app.services import services
from app.volumes.links import signed_link
from app.volumes.passing import queried_folder, queried_path
from app.volumes.schemas import BYTES, RAW_BODY, Uploaded
from app.volumes.streaming import pass_download, pass_upload
from fleet.models import Node, Volume
from fleet.scopes import Scope

ARCHIVE_FORMATS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.zst"]
_DIRECT_SECONDS = 300
_DIRECT = {"description": "Answer `307` to a signed link of the host, where it has an address of its own."}
_KEEP = {"description": "When false an existing file is a conflict."}

blueprint = Blueprint("transfers", __name__, description="Bytes in and out of a volume, of any size.")


class DownloadQuery(Schema):
    """What to download."""

    path = fields.String(load_default="", metadata={"description": "A file, or a folder, which comes as an archive."})
    format = fields.String(load_default=None, validate=validate.OneOf(ARCHIVE_FORMATS))
    direct = fields.Boolean(load_default=False, metadata=_DIRECT)


class UploadQuery(Schema):
    """Where to put an upload."""

    path = fields.String(required=True)
    overwrite = fields.Boolean(load_default=True, metadata=_KEEP)
    direct = fields.Boolean(load_default=False, metadata=_DIRECT)


@blueprint.route("/volumes/<volume_id>/download")
@blueprint.arguments(DownloadQuery, location="query")
@blueprint.response(200, BYTES, content_type="application/octet-stream")
@blueprint.alt_response(206, schema=BYTES, content_type="application/octet-stream", success=True)
@blueprint.alt_response(307, description="The bytes are there.", success=True)
@needs(Scope.FILES, reach=Reach.VOLUME)
def download(query: dict[str, Any], volume_id: str) -> Response:
    """Download a file, whole or the part that a Range header names, or a folder as an archive made on the way."""
    path = queried_folder()
    volume, node = _located(volume_id)
    asked = {"format": query["format"]} if query["format"] else {}
    if query["direct"] and node.links_url:
        return _redirected(volume, node, path, "download", asked)
    return pass_download(node, f"/volumes/{volume.volume_id}/download", {"path": path, **asked})


@blueprint.route("/volumes/<volume_id>/upload", methods=["PUT"])
@blueprint.arguments(UploadQuery, location="query")
@blueprint.response(200, Uploaded)
@blueprint.alt_response(307, description="Send them there.", success=True)
@blueprint.doc(requestBody=RAW_BODY)
@needs(Scope.FILES, reach=Reach.VOLUME)
def upload(query: dict[str, Any], volume_id: str) -> Response:
    """Upload the raw body as a file, which appears when its last byte has come."""
    path = queried_path()
    volume, node = _located(volume_id)
    asked = {} if query["overwrite"] else {"overwrite": "false"}
    if query["direct"] and node.links_url:
        return _redirected(volume, node, path, "upload", asked)
    return pass_upload(node, f"/volumes/{volume.volume_id}/upload", {"path": path, **asked})


def _located(volume_id: str) -> tuple[Volume, Node]:
    volume = services().volumes.find(volume_id)
    return volume, services().nodes.online(volume.node)


def _redirected(volume: Volume, node: Node, path: str, action: str, query: Mapping[str, str]) -> Response:
    url, _ = signed_link(volume, node, path, action, _DIRECT_SECONDS)
    location = f"{url}?{urlencode(query)}" if query else url
    return Response(status=307, headers={"Location": location, "Cache-Control": "no-store"})
