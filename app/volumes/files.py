"""The files in a volume: calls that are checked here and passed on to the volume's host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from flask import Response, request

from app.json_body import Blueprint
from app.services import services
from app.volumes.schemas import Copied, Copy, FileList, ListQuery, NewFile, NewFolder, PathTold, Quota
from fleet.paths import path_bytes

blueprint = Blueprint("files", __name__, description="The files in a volume.")

_COPY_SECONDS = 600


@blueprint.route("/volumes/<volume_id>/files", methods=["POST"])
@blueprint.arguments(NewFile)
@blueprint.response(200, PathTold)
def write_file(wanted: dict[str, Any], volume_id: str) -> Response:
    """Write a file, with the folders above it. A reader never sees half of it."""
    return _pass_on(volume_id, "POST", "files", body=wanted)


@blueprint.route("/volumes/<volume_id>/files")
@blueprint.arguments(ListQuery, location="query")
@blueprint.response(200, FileList)
def list_files(query: dict[str, Any], volume_id: str) -> Response:
    """List a folder: directories first, then by name."""
    asked = {"path": _queried_path(), "detailed": "true" if query["detailed"] else "false"}
    return _pass_on(volume_id, "GET", "files", query=asked)


@blueprint.route("/volumes/<volume_id>/folders", methods=["POST"])
@blueprint.arguments(NewFolder)
@blueprint.response(200, PathTold)
def make_folder(wanted: dict[str, Any], volume_id: str) -> Response:
    """Make a folder, with those above it."""
    return _pass_on(volume_id, "POST", "folders", body=wanted)


@blueprint.route("/volumes/<volume_id>/copy", methods=["POST"])
@blueprint.arguments(Copy)
@blueprint.response(200, Copied)
def copy_file(wanted: dict[str, Any], volume_id: str) -> Response:
    """Copy a file or folder; an existing destination is a conflict."""
    return _pass_on(volume_id, "POST", "copy", body=wanted, timeout_seconds=_COPY_SECONDS)


@blueprint.route("/volumes/<volume_id>/quota")
@blueprint.response(200, Quota)
def get_quota(volume_id: str) -> Response:
    """How full the volume is."""
    return _pass_on(volume_id, "GET", "quota")


def _pass_on(
    volume_id: str,
    method: str,
    call: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Any = None,
    timeout_seconds: float = 30,
) -> Response:
    """Have the volume's host do it; its answer is the client's, its errors are raised here."""
    offered = services()
    volume = offered.volumes.find(volume_id)
    node = offered.nodes.online(volume.node)
    target = f"/volumes/{volume.volume_id}/{call}"
    answer = offered.files.call(node, method, target, query=query, body=body, timeout_seconds=timeout_seconds)
    return Response(answer.body, answer.status, mimetype="application/json")


def _queried_path() -> str:
    """The parameter `path` with the bytes it was sent with: Flask would replace those that are not UTF-8."""
    pairs = parse_qsl(request.query_string.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    text = next((value for name, value in pairs if name == "path"), "")
    if text:
        path_bytes(text)
    return text
