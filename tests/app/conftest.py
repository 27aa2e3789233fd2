"""The API in this process, on a real store; what it would enqueue is collected in a list."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.services import Services
from fleet.models import Job, Node, Volume
from fleet.repositories.tokens import new_master_secret
from fleet.settings import Settings
from fleet.store import Client, connect
from tests.app.worker import Worker

VENDOR_TYPE = "Application/vnd.pkglatv1+json"
NODE = "n1"
VOLUME = "d6764075-c5f1-4045-9fb3-85315b85cb0f"
GIB = 1024**3


class Api:
    """A client with both headers; `get("/volumes")`, `post("/volumes", {"size": 64})`."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self.client = client
        self.token = token

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> TestResponse:
        """Call as the master; `headers` replaces or adds some, `body` is sent as JSON."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": VENDOR_TYPE, **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return self.client.open(path, method=method, headers=headers, **more)

    def get(self, path: str, **more: Any) -> TestResponse:
        """GET."""
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        """POST."""
        return self.call("POST", path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        """PUT."""
        return self.call("PUT", path, body, **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        """DELETE."""
        return self.call("DELETE", path, **more)


@pytest.fixture
def settings(store_url: str, tmp_path: Path) -> Settings:
    """Settings of an API on the test store, in a folder of its own."""
    return Settings(data=tmp_path, redis_url=store_url, node=NODE, allowed_mounts=("/srv/shared",))


@pytest.fixture
def dispatched() -> list[Job]:
    """The jobs that the API enqueued."""
    return []


@pytest.fixture
def application(settings: Settings, store: Client, dispatched: list[Job]) -> Iterator[Flask]:
    """The WSGI application on an empty store."""
    stores = connect(settings)
    yield create_app(settings, stores, dispatched.append)
    for client in (stores.record, stores.blocking, stores.stream, stores.stream_bytes):
        client.close()


@pytest.fixture
def offered(application: Flask) -> Services:
    """The repositories that the application works with."""
    found: Services = application.extensions["lightd"]
    return found


@pytest.fixture
def api(application: Flask, offered: Services) -> Api:
    """A client that holds the master token."""
    token = new_master_secret()
    offered.tokens.set_master(token)
    return Api(application.test_client(), token)


@pytest.fixture
def node(offered: Services, settings: Settings) -> Node:
    """A host that is online."""
    an_hour_on = time.time() + 3600  # no test is so slow that it counts as silent
    node = Node(NODE, settings.files_address, an_hour_on, 4, 8 * GIB, "20.10")
    offered.nodes.announce(node)
    return node


@pytest.fixture
def volume(offered: Services, node: Node) -> Volume:
    """A volume on the host, in the record only."""
    volume = Volume(VOLUME, NODE, "/v", 1024, "loop", "ready", 0, 0)
    offered.volumes.save(volume)
    return volume


@pytest.fixture
def worker(offered: Services) -> Worker:
    """Ends the jobs that the API begins."""
    return Worker(offered)
