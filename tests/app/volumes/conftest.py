"""An API beside a host's files process, with plain folders as volumes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from fleet.models import Node
from fleet.settings import Settings
from tests.app.conftest import NODE, Api
from tests.storage.files_process import FilesProcess, running_files_process


@pytest.fixture(scope="module")
def files_process(store_url: str) -> Iterator[FilesProcess]:
    """A host's files process."""
    data = Path(tempfile.mkdtemp(prefix="lightd-app-"))
    try:
        settings = Settings(data=data, redis_url=store_url, node=NODE, disk_floor_mb=16, volume_driver="directory")
        with running_files_process(settings) as process:
            yield process
    finally:
        shutil.rmtree(data)


@pytest.fixture
def settings(files_process: FilesProcess) -> Settings:
    """Settings of an API on the same host."""
    return replace(files_process.settings, volume_size_mb=32)


class Files:
    """One volume: `files.post("rename", {…})`, and its folder on the host."""

    def __init__(self, api: Api, made: dict[str, Any]) -> None:
        self.api = api
        self.volume_id: str = made["volume_id"]
        self.folder = Path(made["path"])
        self.url = f"/volumes/{self.volume_id}"

    def get(self, call: str, **query: Any) -> TestResponse:
        """GET a call of the volume."""
        return self.api.get(f"{self.url}/{call}", query_string=query)

    def post(self, call: str, body: Any) -> TestResponse:
        """POST to a call of the volume."""
        return self.api.post(f"{self.url}/{call}", body)

    def put(self, call: str, data: bytes, **query: Any) -> TestResponse:
        """PUT raw bytes to a call of the volume."""
        return self.api.put(f"{self.url}/{call}", data=data, query_string=query)


@pytest.fixture
def files(api: Api, node: Node) -> Iterator[Files]:
    """A new volume."""
    found = Files(api, api.post("/volumes").json)
    yield found
    api.delete(found.url)
