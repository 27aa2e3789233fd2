"""Plans tried on the real engine: containers as Lightd makes them, of a node and network of their own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from fleet.lifecycle import InstallState, State
from fleet.models import Container, Limits, PortBinding, Spec
from fleet.settings import Settings, read_settings
from tests.support.images import BUSYBOX
from worker.operations.container_folder import write_entrypoint, write_install
from worker.operations.plans import install_plan, server_plan
from worker.runtime.base import ContainerPlan
from worker.runtime.docker import DockerRuntime


@dataclass
class EngineBench:
    """The real engine, a volume and the settings of a node."""

    runtime: DockerRuntime
    settings: Settings
    volume: Path
    made: list[str] = field(default_factory=list)

    def start_server(self, command: str, image: str = BUSYBOX, ports: tuple[PortBinding, ...] = (), **spec: Any) -> str:
        """Start a container whose startup command is `command`; its engine id."""
        container = self._container(Spec(image, command, self._limits(), **spec), ports)
        data = self.settings.data / container.internal_id
        write_entrypoint(data, container.spec)
        return self._start(server_plan(self.settings, container, image, self.volume, data))

    def start_install(self, script: str, image: str = BUSYBOX, **spec: Any) -> str:
        """Start a container that runs an install script; its engine id."""
        container = self._container(Spec(image, "true", self._limits(), install_script=script, **spec), ())
        data = self.settings.data / container.internal_id
        return self._start(install_plan(self.settings, container, write_install(data, script), self.volume, data))

    def output(self, engine_id: str) -> str:
        """What the process printed until it ended."""
        assert self.runtime.wait(engine_id, 120) is not None
        return self.runtime.log_tail(engine_id, 1000).decode()

    def exit_code(self, engine_id: str) -> int | None:
        """How the process ended."""
        ended = self.runtime.wait(engine_id, 120)
        assert ended is not None
        return ended.exit_code

    def printed(self, engine_id: str, text: str) -> bool:
        """Whether the process has printed this."""
        return text.encode() in self.runtime.log_tail(engine_id, 1000)

    def _limits(self) -> Limits:
        return Limits(memory_bytes=256 * 1024**2, cpu=1.0, pids=64)

    def _container(self, spec: Spec, ports: tuple[PortBinding, ...]) -> Container:
        name = f"{self.settings.node}-{len(self.made)}"
        ready, installed = State.READY, InstallState.READY
        return Container(name, self.settings.node, "v", spec, ports, ready, installed, None, "job", 0, 0)

    def _start(self, plan: ContainerPlan) -> str:
        self.made.append(plan.name)
        engine_id = self.runtime.create(plan)
        self.runtime.start(engine_id)
        return engine_id


@pytest.fixture
def engine_bench(engine: docker.DockerClient, tmp_path: Path) -> Iterator[EngineBench]:
    """What tests of single containers need; everything made in the engine is removed afterwards."""
    tag = secrets.token_hex(3)
    settings = Settings(data=tmp_path / "data", node=f"test-{tag}", network=f"lt{tag}", tmp_mb=8)
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    runtime = DockerRuntime(read_settings().engine, timeout_seconds=60)
    runtime.ensure_network(settings.network)
    bench = EngineBench(runtime, settings, volume)
    yield bench
    for name in bench.made:
        runtime.remove(name)
    engine.networks.get(settings.network).remove()
    runtime.close()
