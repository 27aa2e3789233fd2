"""Finding the Docker engine, or starting one."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from fleet.settings import Settings
from scripts.engine import end_dockerd, ensure_engine, start_dockerd, version
from scripts.failure import Failure


@pytest.mark.engine
def test_an_engine_that_answers_is_used_as_it_is(engine: docker.DockerClient) -> None:
    settings = Settings()
    assert version(settings.engine) == engine.version()["Version"]
    assert ensure_engine(settings) is None


def test_an_engine_elsewhere_that_does_not_answer_is_not_replaced_by_one_here() -> None:
    with pytest.raises(Failure, match="LIGHTD_ENGINE"):
        ensure_engine(Settings(engine="tcp://127.0.0.1:1"))


@pytest.mark.engine
def test_a_mistyped_socket_starts_no_second_engine_on_the_first_ones_data(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    with pytest.raises(Failure, match="correct LIGHTD_ENGINE"):
        ensure_engine(Settings(engine=f"unix://{tmp_path}/docker.sock", data=tmp_path))


@pytest.mark.engine
def test_dockerd_is_started_answers_and_ends(engine: docker.DockerClient, tmp_path: Path, bridge: str) -> None:
    address = f"unix://{tmp_path}/docker.sock"
    log = tmp_path / "log" / "dockerd.log"
    daemon = start_dockerd(address, log, apart(tmp_path, bridge))
    try:
        assert version(address)
        assert os.getsid(daemon.pid) == daemon.pid, "it must not end with the terminal it was started from"
    finally:
        end_dockerd(daemon)
    assert version(address) is None
    assert engine.networks.get("bridge").attrs["Options"]["com.docker.network.bridge.name"] in interfaces()
    assert "API listen on" in log.read_text()


@pytest.mark.engine
def test_a_dockerd_that_does_not_start_is_explained_by_its_log(tmp_path: Path) -> None:
    log = tmp_path / "dockerd.log"
    with pytest.raises(Failure, match=r"its log .*dockerd.log ends with: .*nonsense"):
        start_dockerd(f"unix://{tmp_path}/docker.sock", log, ["--log-level=nonsense"])


def interfaces() -> list[str]:
    """Network interfaces of this machine."""
    return [name for _, name in socket.if_nameindex()]


@pytest.fixture
def bridge() -> Iterator[str]:
    """A bridge for a second engine. Without one of its own it would take, or with `none` delete, the first one's."""
    name = f"lt{secrets.token_hex(4)}"
    run("ip", "link", "add", name, "type", "bridge")
    run("ip", "addr", "add", "198.18.0.1/24", "dev", name)
    yield name
    run("ip", "link", "delete", name)


def apart(folder: Path, bridge: str) -> list[str]:
    """Options that keep a second engine on this machine away from the first."""
    return [
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid",
        f"--bridge={bridge}",
        "--iptables=false",
        "--ip6tables=false",
    ]


def run(*command: str) -> None:
    """Run a system command that must succeed."""
    subprocess.run(command, check=True)
