"""Pulls: progress that never falls, errors in the engine's words, and an end when nobody wants it any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import docker
import pytest
from docker.models.images import Image

from fleet.errors import EngineUnavailable, Invalid
from fleet.settings import read_settings
from tests.support.registry import Registry
from worker.runtime.docker import DockerRuntime
from worker.runtime.docker_pull import Progress


class NotWanted(Exception):
    """Nobody wants this image any more."""


@pytest.fixture
def runtime() -> Iterator[DockerRuntime]:
    with closing(DockerRuntime(read_settings().engine, timeout_seconds=60)) as runtime:
        yield runtime


@pytest.fixture
def silent_registry() -> Iterator[str]:
    """A registry that takes a request and never answers."""
    released = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            released.wait(60)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = HTTPServer(("127.0.0.1", 0), Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.engine
def test_an_image_is_pulled_with_rising_progress(
    runtime: DockerRuntime, registry: Registry, busybox_image: Image, engine: docker.DockerClient
) -> None:
    reference = registry.push(busybox_image, "small:1")
    told: list[float] = []
    runtime.pull(reference, lambda fraction: told.append(fraction or 0.0))
    assert runtime.has_image(reference)
    assert told and told == sorted(told) and told[-1] == 1.0
    runtime.remove_image(reference)
    assert not runtime.has_image(reference)


@pytest.mark.engine
def test_no_tag_means_latest(runtime: DockerRuntime, registry: Registry, busybox_image: Image) -> None:
    registry.push(busybox_image, "many:1")
    latest = registry.push(busybox_image, "many:latest")
    runtime.pull(latest.removesuffix(":latest"), lambda _: None)
    assert runtime.has_image(latest)
    assert not runtime.has_image(latest.replace(":latest", ":1"))
    runtime.remove_image(latest)


@pytest.mark.engine
@pytest.mark.parametrize("name", ["nothing:1", "small:nowhere"])
def test_an_unknown_image_is_named(runtime: DockerRuntime, registry: Registry, busybox_image: Image, name: str) -> None:
    registry.push(busybox_image, "small:1")
    with pytest.raises(Invalid, match=f"Image not found: {registry.address}/{name}"):
        runtime.pull(f"{registry.address}/{name}", lambda _: None)


@pytest.mark.engine
def test_a_registry_that_does_not_answer_is_named(runtime: DockerRuntime) -> None:
    with pytest.raises(Invalid, match=r"127\.0\.0\.1:1/x:1 cannot be pulled"):
        runtime.pull("127.0.0.1:1/x:1", lambda _: None)


@pytest.mark.engine
def test_a_pull_ends_soon_when_nobody_wants_it_although_the_registry_is_silent(
    runtime: DockerRuntime, silent_registry: str
) -> None:
    def give_up(_fraction: float | None) -> None:
        raise NotWanted

    began = time.monotonic()
    with pytest.raises(NotWanted):
        runtime.pull(f"{silent_registry}/x:1", give_up)
    assert time.monotonic() - began < 20


def test_an_engine_that_is_away_is_told() -> None:
    with pytest.raises(EngineUnavailable):
        DockerRuntime("tcp://127.0.0.1:1", timeout_seconds=2).has_image("x")


def test_progress_counts_large_layers_more_and_never_falls() -> None:
    progress = Progress()
    assert progress.add({"status": "Pulling from library/x", "id": "1"}) is None
    assert progress.add({"status": "Pulling fs layer", "id": "a"}) == 0.0
    assert progress.add({"status": "Pulling fs layer", "id": "b"}) == 0.0
    large = {"status": "Downloading", "id": "a", "progressDetail": {"current": 900, "total": 900}}
    assert progress.add(large) == pytest.approx(0.35, abs=0.01)
    small = {"status": "Downloading", "id": "b", "progressDetail": {"current": 0, "total": 100}}
    assert progress.add(small) == pytest.approx(0.63, abs=0.01)
    assert progress.add({"status": "Pull complete", "id": "a"}) == pytest.approx(0.9, abs=0.01)
    assert progress.add({"status": "Already exists", "id": "c"}) == pytest.approx(0.93, abs=0.01)
    assert progress.add({"status": "Pull complete", "id": "b"}) == 1.0
    assert progress.add({"status": "Pulling fs layer", "id": "d"}) == 1.0
