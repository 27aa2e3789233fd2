"""Archives in a volume and files from the web: jobs that are answered at once when they are quick."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from marshmallow import Schema, fields, validate

from app.access import Reach, needs
from app.containers.power import enqueue
from app.fields import Text
from app.idempotency import repeatable
from app.jobs.failure import failure_of
from app.json_body import Blueprint
from app.services import services
from app.volumes.schemas import MOST_PATHS, FolderPath, VolumePath
from app.volumes.transfers import ARCHIVE_FORMATS
from fleet.errors import NodeTimeout
from fleet.paths import path_bytes
from fleet.repositories.jobs import new_job
from fleet.scopes import Scope

_PATIENCE_SECONDS = 25.0
_LONGEST_URL_BYTES = 4096

blueprint = Blueprint(
    "archives",
    __name__,
    description="Archives and pulls. What takes more than 25 s answers `202` with the id of a job instead.",
)


class Compression(Schema):
    """An archive to make."""

    format = fields.String(load_default="tar.gz", validate=validate.OneOf(ARCHIVE_FORMATS))
    output_name = VolumePath(
        load_default="archive", metadata={"description": "Its name; the end that the format has is added."}
    )
    destination = FolderPath(load_default="", metadata={"description": "Folder to put it in."})
    paths = fields.List(
        VolumePath(),
        validate=validate.Length(1, MOST_PATHS),
        metadata={"description": "What to pack; the whole volume unless given."},
    )


class Compressed(Schema):
    """The archive is there."""

    message = fields.String()
    archive_path = fields.String()
    size = fields.Integer(metadata={"description": "In bytes."})


class Decompression(Schema):
    """An archive to open; its content tells its format."""

    archive_path = VolumePath(required=True)
    destination = FolderPath(load_default="", metadata={"description": "Folder to unpack into."})


class Decompressed(Schema):
    """Everything in the archive is there."""

    message = fields.String()
    destination = fields.String()
    files = fields.Integer()
    bytes = fields.Integer()


class Pull(Schema):
    """A file to fetch from the web."""

    url = Text(required=True, empty=False, max_bytes=_LONGEST_URL_BYTES)
    path = VolumePath(required=True)


class Pulled(Schema):
    """The file is there."""

    message = fields.String()
    path = fields.String()
    size = fields.Integer(metadata={"description": "In bytes."})


class Begun(Schema):
    """It goes on."""

    job_id = fields.String()
    state = fields.String()


@blueprint.route("/volumes/<volume_id>/compress", methods=["POST"])
@blueprint.arguments(Compression)
@blueprint.response(200, Compressed)
@blueprint.alt_response(202, schema=Begun, description="It takes longer; see the job.", success=True)
@repeatable
@needs(Scope.FILES, reach=Reach.VOLUME)
def post_compress(wanted: dict[str, Any], volume_id: str) -> Response:
    """Pack files and folders into an archive; an existing one is a conflict."""
    name, end = wanted["output_name"], f".{wanted['format']}"
    path = f"{wanted['destination']}/{name}" if wanted["destination"] else name
    path += "" if name.endswith(end) else end
    path_bytes(path)
    arguments = {"format": wanted["format"], "archive_path": path, "paths": wanted.get("paths", [])}
    return _answer(volume_id, "compress", arguments)


@blueprint.route("/volumes/<volume_id>/decompress", methods=["POST"])
@blueprint.arguments(Decompression)
@blueprint.response(200, Decompressed)
@blueprint.alt_response(202, schema=Begun, description="It takes longer; see the job.", success=True)
@repeatable
@needs(Scope.FILES, reach=Reach.VOLUME)
def post_decompress(wanted: dict[str, Any], volume_id: str) -> Response:
    """Unpack an archive, whole or not at all."""
    return _answer(volume_id, "decompress", wanted)


@blueprint.route("/volumes/<volume_id>/pull", methods=["POST"])
@blueprint.arguments(Pull)
@blueprint.response(200, Pulled)
@blueprint.alt_response(202, schema=Begun, description="It takes longer; see the job.", success=True)
@repeatable
@needs(Scope.FILES, reach=Reach.VOLUME)
def post_pull(wanted: dict[str, Any], volume_id: str) -> Response:
    """Have the volume's host fetch a file over http or https."""
    return _answer(volume_id, "pull", wanted)


def _answer(volume_id: str, kind: str, arguments: dict[str, Any]) -> Response:
    """Have a job done; its result, or after some patience its id."""
    offered = services()
    volume = offered.volumes.find(volume_id)
    offered.nodes.online(volume.node)
    job = new_job(kind, volume.node, "long", volume_id=volume.volume_id, arguments=arguments)
    job_id = offered.jobs.open_on_volume(job)
    if job_id == job.job_id:
        enqueue(offered, job)
    try:
        ended = offered.jobs.wait(job_id, _PATIENCE_SECONDS)
    except NodeTimeout:
        response = jsonify({"job_id": job_id, "state": "running"})
        response.status_code = 202
        return response
    if ended.state != "done":
        raise failure_of(ended)
    return jsonify(ended.result)
