"""compose.yaml and the Dockerfile follow the same table of processes as `./lightd up`."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.settings import Settings
from scripts.processes import processes
from tests.support.stack import CHECKOUT

FIXED = {"LIGHTD_BIND", "LIGHTD_ENGINE", "LIGHTD_FILES_URL"}  # by what compose.yaml mounts and publishes
SEES_MOUNTS = {"files": "rshared", "agent": "rshared", "quick": "rslave", "long": "rslave"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    loaded: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["services"]
    return loaded


def test_every_process_is_a_service_that_runs_it(services: dict[str, Any]) -> None:
    expected = {process.name: ["run", process.name] for process in processes(Settings(node="a"))}
    assert {name: service["command"] for name, service in services.items()} == expected


def test_only_what_mounts_is_privileged(services: dict[str, Any]) -> None:
    assert {name for name, service in services.items() if service.get("privileged")} == {"files", "agent"}


def test_only_what_talks_to_the_engine_has_its_socket(services: dict[str, Any]) -> None:
    with_socket = {name for name, service in services.items() if any("docker.sock" in v for v in service["volumes"])}
    assert with_socket == {"quick", "long", "agent"}


def test_mounts_of_volumes_are_seen_where_they_are_needed(services: dict[str, Any]) -> None:
    seen = {name: service["volumes"][0].rpartition(":")[2] for name, service in services.items()}
    assert {name: how for name, how in seen.items() if how.startswith("r")} == SEES_MOUNTS


def test_every_service_is_told_every_setting(services: dict[str, Any]) -> None:
    told = {item.metadata["variable"] for item in fields(Settings)} - FIXED
    for name, service in services.items():
        assert service["environment"].keys() - FIXED == told, name


def test_the_image_holds_all_that_the_processes_import() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == {"fleet", "app", "storage", "worker", "scripts"}
    ignored = (CHECKOUT / ".dockerignore").read_text().split()
    assert {f"!{name}" for name in copied} <= set(ignored)
    assert all(Path(CHECKOUT / name).is_dir() for name in copied)
