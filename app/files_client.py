"""Calls to the hosts' files processes: signed, over kept connections, a Unix socket on the same host."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import structlog
from urllib3 import HTTPConnectionPool, Timeout, connection_from_url
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse

from app.request_id import HEADER, current_request_id
from fleet.errors import LightdError, NodeTimeout, Unavailable
from fleet.models import Node
from fleet.problems import error_from
from fleet.signing import sign_call

_CONNECT_SECONDS = 2.0
_STALL_SECONDS = 120.0
_CONNECTIONS = 32
_NO_SUCH_PART = 416

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a files process answered to a call that went well."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class FilesClient:
    """The files processes of all hosts."""

    def __init__(self, signing_key: str) -> None:
        self._signing_key = signing_key
        self._pools: dict[str, HTTPConnectionPool] = {}

    def call(
        self,
        node: Node,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        timeout_seconds: float = 30,
    ) -> Answer:
        """Have a host do something with its volumes.

        Raises what the files process raised, Unavailable when it cannot be reached, NodeTimeout when it is silent.
        """
        content, headers = None, {}
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        timeout = Timeout(connect=_CONNECT_SECONDS, read=timeout_seconds)
        response = self._send(node, method, _target(path, query), headers, content, timeout, preload_content=True)
        return Answer(response.status, response.data)

    def stream(
        self,
        node: Node,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Iterable[bytes | memoryview] | None = None,
    ) -> BaseHTTPResponse:
        """Send a host a body piece by piece, or have it send one, which the caller reads and closes.

        An error that `body` raises breaks the call off and is raised here; the others are those of `call`. An answer
        that there is no such part of a file (416) is no error.
        """
        # Sending uses the time for connecting: a host may be busy writing what it got so far.
        connect_seconds = _CONNECT_SECONDS if body is None else _STALL_SECONDS
        timeout = Timeout(connect=connect_seconds, read=_STALL_SECONDS)
        target = _target(path, query)
        return self._send(node, method, target, dict(headers or {}), body, timeout, preload_content=False)

    def _send(
        self,
        node: Node,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes | Iterable[Any] | None,
        timeout: Timeout,
        *,
        preload_content: bool,
    ) -> BaseHTTPResponse:
        headers["Authorization"] = sign_call(self._signing_key, node.id, method, target)
        headers[HEADER] = current_request_id()
        try:
            response = self._pool(node.files_address).urlopen(
                method,
                target,
                body=body,
                headers=headers,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=preload_content,
            )
            if response.status >= 400 and response.status != _NO_SUCH_PART:
                raise _error(node, response)
        except ReadTimeoutError as error:
            raise NodeTimeout(f"Node {node.id} did not answer within {timeout.read_timeout:g} seconds.") from error
        except HTTPError as error:
            _log.warning("files process unreachable", node=node.id, reason=str(error))
            raise _silent(node) from error
        return response

    def _pool(self, address: str) -> HTTPConnectionPool:
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = _make_pool(address)
        return pool


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket, whose path is the pool's."""

    def __init__(self, socket_path: str) -> None:
        super().__init__("localhost", timeout=_CONNECT_SECONDS)
        self._socket_path = socket_path

    def _new_conn(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(self._socket_path)
        except OSError as error:
            connection.close()
            raise HTTPError(f"{self._socket_path}: {error.strerror or error}") from error
        connection.settimeout(self.timeout)
        return connection


class _UnixPool(HTTPConnectionPool):
    """Kept connections to one Unix socket."""

    def __init__(self, socket_path: str) -> None:
        super().__init__("localhost", maxsize=_CONNECTIONS)
        self._socket_path = socket_path

    def _new_conn(self) -> _UnixConnection:
        return _UnixConnection(self._socket_path)


def _make_pool(address: str) -> HTTPConnectionPool:
    if address.startswith("unix://"):
        return _UnixPool(address.removeprefix("unix://"))
    return connection_from_url(address, maxsize=_CONNECTIONS)


def _target(path: str, query: Mapping[str, str] | None) -> str:
    """What is signed and sent. Names that are not UTF-8 are lone surrogates in text, and bytes again here."""
    text = quote(path)
    return f"{text}?{urlencode(query, errors='surrogateescape')}" if query else text


def _error(node: Node, response: BaseHTTPResponse) -> LightdError:
    try:
        body = json.loads(response.data)
    except ValueError:
        return _silent(node)
    if not isinstance(body, dict):
        return _silent(node)
    if body.get("code") == "bad_signature":
        return Unavailable(
            f"Node {node.id} refused the API's signature; LIGHTD_SECRET must be the same on all hosts.",
            code="bad_signature",
        )
    return error_from(response.status, body)


def _silent(node: Node) -> Unavailable:
    return Unavailable(f"Node {node.id}'s files process does not answer; try again soon.", code="files_unavailable")
