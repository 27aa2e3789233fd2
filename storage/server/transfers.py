"""Calls that move a file's bytes: download and upload, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.wsgi import wrap_file

from fleet.errors import LightdError, Unavailable
from fleet.request_body import check_whole, give_up
from storage.archives import ArchiveFormat, format_named, stream_archive
from storage.beneath import Root, is_folder, open_file, split
from storage.downloading import Part, disposition, entity_tag, part_of
from storage.failures import described
from storage.paths import ROOT, checked_folder, checked_path, shown
from storage.server.bodies import body_chunks, read_on
from storage.server.fields import query, query_flag
from storage.server.sending import SentFile
from storage.server.slots import TransferSlots
from storage.volumes import Volumes
from storage.writing import write_stream

_CHUNK_BYTES = 1024 * 1024


def blueprint(store: Volumes, slots: TransferSlots) -> Blueprint:
    """The routes, working on the volumes of `store`; each transfer takes one of the `slots`."""
    routes = Blueprint("transfers", __name__)

    @routes.get("/volumes/<volume_id>/download")
    def download(volume_id: str) -> Response:
        return send(store, slots, volume_id, query("path"))

    @routes.put("/volumes/<volume_id>/upload")
    def upload(volume_id: str) -> dict[str, Any]:
        return receive(store, slots, volume_id, query("path"))

    return routes


def send(store: Volumes, slots: TransferSlots, volume_id: str, path: str | None) -> Response:
    """The answer to a download: a file's bytes, or a folder as an archive made on the way (`format` in the query).

    Raises Unavailable when all slots are taken. The slot is held, and the volume open, until the last byte is sent or
    the client is gone.
    """
    with ExitStack() as held:
        held.enter_context(slots.taken(volume_id))
        root = held.enter_context(store.opened(volume_id))
        checked = checked_folder(path)
        if not is_folder(root, checked):
            return _send_file(root, checked, held)
        archive_format = format_named(query("format") or ArchiveFormat.TAR_GZ)
        pieces = stream_archive(root, archive_format, checked)
        name = (split(checked)[1] if checked != ROOT else b"volume") + f".{archive_format}".encode()
        return _archive(pieces, name, held.pop_all())


def _archive(pieces: Iterator[bytes], name: bytes, held: ExitStack) -> Response:
    headers = {"Content-Disposition": disposition(name), "X-Content-Type-Options": "nosniff"}
    response = Response(pieces, 200, headers, content_type="application/octet-stream")
    response.call_on_close(held.close)
    return response


def receive(store: Volumes, slots: TransferSlots, volume_id: str, path: str | None) -> dict[str, Any]:
    """Take the body of an upload into a file; it appears when its last byte has come, else nothing does.

    Raises Unavailable when all slots are taken. Nobody then waits for the body: that would hold another thread.
    """
    check_whole(request.environ)
    checked = checked_path(path)
    overwrite = query("overwrite") is None or query_flag("overwrite")
    with ExitStack() as held:
        try:
            held.enter_context(slots.taken(volume_id))
        except Unavailable:
            give_up(request.environ)
            raise
        try:
            with store.opened(volume_id) as root:
                size = write_stream(root, checked, body_chunks(), overwrite=overwrite)
        except LightdError:
            read_on()
            raise
    return {"message": "File uploaded successfully", "path": shown(checked), "size": size}


def _send_file(root: Root, path: bytes, held: ExitStack) -> Response:
    """The answer to a download of a file, or of the part of it that a Range header names."""
    with described(path):
        fd = open_file(root.fd, path)
    closing = held.enter_context(ExitStack())
    closing.callback(os.close, fd)
    status = os.fstat(fd)
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
        unsatisfied = {**headers, "Content-Range": f"bytes */{status.st_size}"}
        return Response(b"", 416, unsatisfied, content_type="application/octet-stream")
    closing.pop_all()
    return _streamed(SentFile(fd, part, held.pop_all()), part, headers)


def _streamed(file: SentFile, part: Part, headers: dict[str, str]) -> Response:
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
