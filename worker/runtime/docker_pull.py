"""Pulling images: the engine's stream of lines, how far it is, and how to end it early."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from docker import APIClient
from docker.utils import parse_repository_tag
from requests import Response

from fleet.errors import Invalid, LightdError
from fleet.images import full_name
from worker.runtime.base import OnProgress
from worker.runtime.docker_errors import engine_errors, shortened
from worker.runtime.registry_logins import Login

_LOOK_SECONDS = 0.4
_SILENCE_SECONDS = 300
_DOWNLOAD_SHARE = 0.7
_UNKNOWN = re.compile(r"not found|manifest unknown|does not exist|access denied|invalid reference")
_COMPLETE = ("Pull complete", "Already exists")


_Lines = queue.Queue[dict[str, Any] | Exception | None]


def pull(client: APIClient, image: str, login: Login | None, on_progress: OnProgress) -> None:
    """Pull with a client of its own, which is closed. Raises Invalid with the engine's reason, and what
    `on_progress` raises.
    """
    stream = _Stream(client, image, login)
    stream.start()
    try:
        _follow(stream.lines, image, on_progress)
    except BaseException:
        stream.give_up()
        raise
    stream.join()


class _Stream(threading.Thread):
    """Reads the engine's answer in a thread of its own, so that a silent engine keeps nobody from giving up."""

    def __init__(self, client: APIClient, image: str, login: Login | None) -> None:
        super().__init__(name=f"pull {image}", daemon=True)
        self.lines: _Lines = queue.Queue()
        self._client = client
        self._image = image
        self._login = login
        self._lock = threading.Lock()
        self._response: Response | None = None
        self._unwanted = False

    def run(self) -> None:
        """Put the answer's lines into `lines`; at last None, or the error that ended it."""
        try:
            with engine_errors(), contextlib.closing(_begin(self._client, self._image, self._login)) as response:
                if self._is_wanted(response):
                    for line in _split(response):
                        self.lines.put(json.loads(line))
            self.lines.put(None)
        except (LightdError, ValueError) as error:
            self.lines.put(error)
        finally:
            self._client.close()

    def give_up(self) -> None:
        """End the pull: the engine stops it when its client hangs up, at the latest when it begins to answer."""
        with self._lock:
            self._unwanted = True
            response, self._response = self._response, None
        if response is not None and not response.raw.closed:
            with contextlib.suppress(OSError, ValueError):  # the engine was first
                _hang_up(response.raw.fileno())

    def _is_wanted(self, response: Response) -> bool:
        with self._lock:
            self._response = response
            return not self._unwanted


@dataclass(slots=True)
class Progress:
    """How far a pull is: every layer is downloaded, then unpacked; large layers count more."""

    _done: dict[str, float] = field(default_factory=dict)
    _bytes: dict[str, int] = field(default_factory=dict)
    _highest: float = 0.0

    def add(self, line: dict[str, Any]) -> float | None:
        """Take a line of the stream; the fraction so far, which never falls, None while nothing is known."""
        layer, status = line.get("id"), str(line.get("status", ""))
        if layer and (layer in self._done or status in ("Pulling fs layer", *_COMPLETE)):
            detail = line.get("progressDetail") or {}
            if detail.get("total"):
                self._bytes[layer] = max(self._bytes.get(layer, 0), int(detail["total"]))
            self._done[layer] = max(self._done.get(layer, 0.0), _layer_fraction(status, detail))
        return self.fraction

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None while no layer is known."""
        if not self._done:
            return None
        usual = sum(self._bytes.values()) / len(self._bytes) if self._bytes else 1.0
        weights = {layer: self._bytes.get(layer, usual) or 1.0 for layer in self._done}
        done = sum(self._done[layer] * weight for layer, weight in weights.items())
        self._highest = max(self._highest, round(done / sum(weights.values()), 3))
        return self._highest


def _layer_fraction(status: str, detail: dict[str, Any]) -> float:
    share = float(detail.get("current", 0)) / float(detail["total"]) if detail.get("total") else 0.0
    if status in _COMPLETE:
        return 1.0
    if status == "Extracting":
        return _DOWNLOAD_SHARE + (1 - _DOWNLOAD_SHARE) * min(share, 1.0)
    if status in ("Download complete", "Verifying Checksum"):
        return _DOWNLOAD_SHARE
    return _DOWNLOAD_SHARE * min(share, 1.0) if status == "Downloading" else 0.0


def _hang_up(fd: int) -> None:
    with socket.socket(fileno=os.dup(fd)) as handle:
        handle.shutdown(socket.SHUT_RDWR)


def _begin(client: APIClient, image: str, login: Login | None) -> Response:
    repository, tag = parse_repository_tag(full_name(image))
    response = client.post(
        f"{client.base_url}/v{client.api_version}/images/create",
        params={"fromImage": repository, "tag": tag},
        headers={"X-Registry-Auth": login.header()} if login else {},
        stream=True,
        timeout=_SILENCE_SECONDS,
    )
    if not response.ok:
        raise _failure(image, response.json().get("message", response.reason))
    return response


def _split(response: Response) -> Iterator[bytes]:
    rest = b""
    for chunk in response.iter_content(chunk_size=None):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
    if rest.strip():
        yield rest


def _follow(lines: _Lines, image: str, on_progress: OnProgress) -> None:
    progress = Progress()
    while True:
        try:
            line = lines.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            on_progress(progress.fraction)
            continue
        if line is None:
            on_progress(1.0)
            return
        if isinstance(line, Exception):
            raise line
        if "error" in line:
            raise _failure(image, str(line["error"]))
        on_progress(progress.add(line))


def _failure(image: str, reason: str) -> Invalid:
    if _UNKNOWN.search(reason):
        return Invalid(f"Image not found: {image} ({shortened(reason)})", code="image_not_found")
    return Invalid(f"The image {image} cannot be pulled: {shortened(reason)}", code="pull_failed")
