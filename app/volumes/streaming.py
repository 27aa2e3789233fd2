"""Streams between a client and the host that has the volume, in constant memory."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator, Mapping

import structlog
from flask import Response, request
from gunicorn.http.errors import ParseException
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse
from werkzeug.exceptions import HTTPException

from app.errors import problem
from app.services import services
from fleet.errors import Invalid
from fleet.models import Node
from fleet.request_body import body_pieces, bound_silence, check_whole

_DOWN_BYTES = 256 * 1024
_ASKED = ("Range", "If-Range")
_TOLD = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "ETag",
    "Last-Modified",
    "X-Content-Type-Options",
)

_log = structlog.get_logger()


def pass_download(node: Node, target: str, query: Mapping[str, str]) -> Response:
    """What the host sends, as it comes. When the host breaks off, so does the answer."""
    bound_silence(request.environ)
    asked = {name: request.headers[name] for name in _ASKED if name in request.headers}
    upstream = services().files.stream(node, "GET", target, query=query, headers=asked)
    told = {name: upstream.headers[name] for name in _TOLD if name in upstream.headers}
    if upstream.status == 416:
        upstream.close()
        body = {"error": "The file has no such part.", "code": "range_not_satisfiable"}
        return problem(416, body, {"Content-Range": told["Content-Range"]})
    response = Response(_pieces(upstream), upstream.status, told)
    response.call_on_close(upstream.close)
    return response


def pass_upload(node: Node, target: str, query: Mapping[str, str]) -> Response:
    """Send the host the request's body as it comes. One that ends early is Invalid, and the host keeps nothing."""
    check_whole(request.environ)
    bound_silence(request.environ)
    request.max_content_length = sys.maxsize  # the limit is the volume's size
    length = request.content_length
    headers = {"Content-Type": "application/octet-stream"}
    if length is not None:
        headers["Content-Length"] = str(length)
    upstream = services().files.stream(node, "PUT", target, query=query, headers=headers, body=_body(length))
    return Response(upstream.data, upstream.status, mimetype="application/json")


def _pieces(upstream: BaseHTTPResponse) -> Iterator[bytes]:
    try:
        for piece in upstream.stream(_DOWN_BYTES, decode_content=False):
            yield piece
            time.sleep(0)  # neither side may block for a long while; here other greenlets get their turn
    except HTTPError as error:
        _log.warning("a download broke off", reason=str(error))
        raise ConnectionResetError(errno.ECONNRESET, "the host broke off") from error


def _body(length: int | None) -> Iterator[bytes | memoryview]:
    missing = length
    try:
        for piece in body_pieces(request.environ, request.stream):
            missing = None if missing is None else missing - len(piece)
            yield piece
            time.sleep(0)
    except (OSError, HTTPException, ParseException) as error:
        raise _cut_off() from error
    if missing:
        raise _cut_off()


def _cut_off() -> Invalid:
    return Invalid("The upload was cut off; nothing of it was kept.", code="cut_off")
