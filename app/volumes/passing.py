"""Passing a checked call on to the host that has the volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from flask import Response, request

from app.services import services
from fleet.paths import path_bytes


def pass_on(
    volume_id: str,
    method: str,
    call: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Any = None,
    timeout_seconds: float = 30,
) -> Response:
    """Have the volume's host do it in its turn; its answer is the client's, its errors are raised here."""
    offered = services()
    volume = offered.volumes.find(volume_id)
    node = offered.nodes.online(volume.node)
    target = f"/volumes/{volume.volume_id}/{call}"
    with offered.turns.taken(volume.volume_id):
        answer = offered.files.call(node, method, target, query=query, body=body, timeout_seconds=timeout_seconds)
    return Response(answer.body, answer.status, mimetype="application/json")


def queried(name: str, default: str = "") -> str:
    """A parameter of the query with the bytes it was sent with: Flask would replace those that are not UTF-8."""
    pairs = parse_qsl(request.query_string.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    return next((value for sent, value in pairs if sent == name), default)


def queried_path() -> str:
    """The path of a file in the query; raises PathTraversal, also when it is missing."""
    text = queried("path")
    path_bytes(text)
    return text


def queried_folder() -> str:
    """The path of a folder in the query, where nothing means the volume itself; raises PathTraversal."""
    text = queried("path")
    if text:
        path_bytes(text)
    return text
