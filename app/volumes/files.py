"""The files in a volume: calls that are checked here and passed on to the volume's host."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.access import Reach, needs
from app.json_body import Blueprint
from app.volumes.passing import pass_on, queried, queried_folder, queried_path
from app.volumes.schemas import (
    Copied,
    Copy,
    FileDeletion,
    FileList,
    FilesDeleted,
    Found,
    ListQuery,
    ModeTold,
    NewFile,
    NewFolder,
    NewMode,
    PathQuery,
    PathTold,
    Quota,
    Renamed,
    Renaming,
    SearchQuery,
    TextContent,
)
from fleet.scopes import Scope

blueprint = Blueprint("files", __name__, description="The files in a volume.")

_LONG_SECONDS = 600


@blueprint.route("/volumes/<volume_id>/files", methods=["POST"])
@blueprint.arguments(NewFile)
@blueprint.response(200, PathTold)
@needs(Scope.FILES, reach=Reach.VOLUME)
def write_file(wanted: dict[str, Any], volume_id: str) -> Response:
    """Write a file, with the folders above it. A reader never sees half of it."""
    return pass_on(volume_id, "POST", "files", body=wanted)


@blueprint.route("/volumes/<volume_id>/files")
@blueprint.arguments(ListQuery, location="query")
@blueprint.response(200, FileList)
@needs(Scope.FILES, reach=Reach.VOLUME)
def list_files(query: dict[str, Any], volume_id: str) -> Response:
    """List a folder: directories first, then by name."""
    asked = {"path": queried_folder(), "detailed": "true" if query["detailed"] else "false"}
    return pass_on(volume_id, "GET", "files", query=asked)


@blueprint.route("/volumes/<volume_id>/folders", methods=["POST"])
@blueprint.arguments(NewFolder)
@blueprint.response(200, PathTold)
@needs(Scope.FILES, reach=Reach.VOLUME)
def make_folder(wanted: dict[str, Any], volume_id: str) -> Response:
    """Make a folder, with those above it."""
    return pass_on(volume_id, "POST", "folders", body=wanted)


@blueprint.route("/volumes/<volume_id>/copy", methods=["POST"])
@blueprint.arguments(Copy)
@blueprint.response(200, Copied)
@needs(Scope.FILES, reach=Reach.VOLUME)
def copy_file(wanted: dict[str, Any], volume_id: str) -> Response:
    """Copy a file or folder; an existing destination is a conflict."""
    return pass_on(volume_id, "POST", "copy", body=wanted, timeout_seconds=_LONG_SECONDS)


@blueprint.route("/volumes/<volume_id>/files/content")
@blueprint.arguments(PathQuery, location="query")
@blueprint.response(200, TextContent)
@needs(Scope.FILES, reach=Reach.VOLUME)
def read_file(_query: dict[str, Any], volume_id: str) -> Response:
    """Read a text file of at most 8 MB; what is larger or no text is a conflict: download it."""
    return pass_on(volume_id, "GET", "files/content", query={"path": queried_path()})


@blueprint.route("/volumes/<volume_id>/rename", methods=["POST"])
@blueprint.arguments(Renaming)
@blueprint.response(200, Renamed)
@needs(Scope.FILES, reach=Reach.VOLUME)
def rename_file(wanted: dict[str, Any], volume_id: str) -> Response:
    """Move a file or folder to a free path; the folders above that are made."""
    return pass_on(volume_id, "POST", "rename", body=wanted)


@blueprint.route("/volumes/<volume_id>/delete", methods=["POST"])
@blueprint.arguments(FileDeletion)
@blueprint.response(200, FilesDeleted)
@needs(Scope.FILES, reach=Reach.VOLUME)
def delete_files(wanted: dict[str, Any], volume_id: str) -> Response:
    """Delete files and folders with all they hold; when one is missing, none is deleted."""
    return pass_on(volume_id, "POST", "delete", body=wanted, timeout_seconds=_LONG_SECONDS)


@blueprint.route("/volumes/<volume_id>/chmod", methods=["POST"])
@blueprint.arguments(NewMode)
@blueprint.response(200, ModeTold)
@needs(Scope.FILES, reach=Reach.VOLUME)
def change_mode(wanted: dict[str, Any], volume_id: str) -> Response:
    """Set the permissions of a file or folder."""
    return pass_on(volume_id, "POST", "chmod", body=wanted)


@blueprint.route("/volumes/<volume_id>/search")
@blueprint.arguments(SearchQuery, location="query")
@blueprint.response(200, Found)
@needs(Scope.FILES, reach=Reach.VOLUME)
def search_files(query: dict[str, Any], volume_id: str) -> Response:
    """Find files by a shell pattern of their name, or of their path where the pattern has a `/`."""
    asked = {"pattern": queried("pattern"), "path": queried_folder(), "limit": str(query["limit"])}
    return pass_on(volume_id, "GET", "search", query=asked)


@blueprint.route("/volumes/<volume_id>/quota")
@blueprint.response(200, Quota)
@needs(Scope.READ, Scope.FILES, reach=Reach.VOLUME)
def get_quota(volume_id: str) -> Response:
    """How full the volume is."""
    return pass_on(volume_id, "GET", "quota")
