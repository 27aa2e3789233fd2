"""Calls that move a file's bytes: download and upload, in constant memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import wrap_file

from fleet.errors import Invalid, LightdError
from storage.beneath import Root, opened_file, split
from storage.downloading import Part, disposition, entity_tag, part_of
from storage.failures import described
from storage.paths import checked_path, shown
from storage.server.fields import query, query_flag
from storage.volumes import Volumes
from storage.writing import write_stream

_CHUNK_BYTES = 1024 * 1024
_READ_ON_SECONDS = 5.0


def blueprint(store: Volumes) -> Blueprint:
    """The routes, working on the volumes of `store`."""
    routes = Blueprint("transfers", __name__)

    @routes.get("/volumes/<volume_id>/download")
    def download(volume_id: str) -> Response:
        path = checked_path(query("path"))
        with store.opened(volume_id) as root:
            return send_file(root, path)

    @routes.put("/volumes/<volume_id>/upload")
    def upload(volume_id: str) -> dict[str, Any]:
        path = checked_path(query("path"))
        with store.opened(volume_id) as root:
            return receive_file(root, path)

    return routes


def send_file(root: Root, path: bytes) -> Response:
    """The answer to a download of a file, or of the part of it that a Range header names."""
    with described(path), opened_file(root.fd, path) as opened_fd:
        status = os.fstat(opened_fd)
        fd = os.dup(opened_fd)
    file = os.fdopen(fd, "rb", buffering=0)
    tag = entity_tag(status)
    fresh = request.headers.get("If-Range", tag) == tag
    part = part_of(status.st_size, request.headers.get("Range") if fresh else None)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Content-Disposition": disposition(split(path)[1]),
        "X-Content-Type-Options": "nosniff",
    }
    if part is None:
        file.close()
        unsatisfied = {**headers, "Content-Range": f"bytes */{status.st_size}"}
        return Response(b"", 416, unsatisfied, content_type="application/octet-stream")
    return _streamed(file, part, headers)


def _streamed(file: BinaryIO, part: Part, headers: dict[str, str]) -> Response:
    file.seek(part.start)
    response = Response(
        wrap_file(request.environ, file, _CHUNK_BYTES),
        206 if part.partial else 200,
        headers,
        content_type="application/octet-stream",
        direct_passthrough=True,
    )
    response.content_length = part.length
    if part.partial:
        response.headers["Content-Range"] = part.content_range
    response.call_on_close(file.close)
    return response


def receive_file(root: Root, path: bytes) -> dict[str, Any]:
    """Take the body of an upload into a file; it appears when its last byte has come, else nothing does."""
    overwrite = query("overwrite") is None or query_flag("overwrite")
    try:
        size = write_stream(root, path, _body_chunks(), overwrite=overwrite)
    except LightdError:
        _read_on()
        raise
    return {"message": "File uploaded successfully", "path": shown(path), "size": size}


def _read_on() -> None:
    """Take in some more of a refused body: most clients listen for the answer only when they have sent all."""
    deadline = time.monotonic() + _READ_ON_SECONDS
    with suppress(OSError, HTTPException):
        while time.monotonic() < deadline and request.stream.read(_CHUNK_BYTES):
            continue


def _body_chunks() -> Iterator[bytes]:
    """The body as it comes; raises Invalid when it ends early, which gunicorn alone takes for its end."""
    missing = request.content_length
    try:
        while chunk := request.stream.read(_CHUNK_BYTES):
            yield chunk
            missing = None if missing is None else missing - len(chunk)
    except (OSError, HTTPException) as error:
        raise _cut_off() from error
    if missing:
        raise _cut_off()


def _cut_off() -> Invalid:
    return Invalid("The upload was cut off; nothing of it was kept.", code="cut_off")
