"""Two engines that must keep the same promises: the real one and its twin in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import docker
import pytest

from fleet.models import Limits
from fleet.settings import read_settings
from tests.support.images import BUSYBOX
from tests.support.this_run import new_node_and_network
from worker.runtime.base import LABEL_ID, LABEL_NODE, ContainerPlan, Runtime
from worker.runtime.docker import DockerRuntime
from worker.runtime.memory import Behaviour, MemoryRuntime

PROGRAMS = {
    "runs until it is stopped": ("cat", Behaviour()),
    "ends with 3 at once": ("echo bye; exit 3", Behaviour(seconds=0, exit_code=3, output=b"bye\r\n")),
    "changes a file": ("echo 12345 > /root/x", Behaviour(seconds=0, layer_bytes=4096)),
    "changes nothing": ("true", Behaviour(seconds=0)),
    "holds 24 MB": (
        "x=$(head -c 25165824 /dev/zero | tr '\\000' x); read line",
        Behaviour(memory_bytes=24 * 1024**2),
    ),
    "stops on the line quit": ("read line; test $line = quit", Behaviour(stops_on_input=b"quit\n")),
}
"""Each program as a shell command for the engine, and as its behaviour for the twin."""


@dataclass
class Bench:
    """An engine to try, and the containers made in it."""

    runtime: Runtime
    tag: str
    volume: Path
    data: Path
    network: str
    made: list[str] = field(default_factory=list)

    def plan(self, program: str, **changes: object) -> ContainerPlan:
        """A plan for a container that runs one of PROGRAMS."""
        name = f"lightd-{self.tag}-{len(self.made)}"
        self.made.append(name)
        command, behaviour = PROGRAMS[program]
        if isinstance(self.runtime, MemoryRuntime):
            self.runtime.behaviours[name] = behaviour
        plan = ContainerPlan(
            name=name,
            image=BUSYBOX,
            command=("/bin/sh", "-c", command),
            user="0:0",
            volume_path=self.volume,
            data_path=self.data,
            network=self.network,
            limits=Limits(memory_bytes=64 * 1024**2, cpu=0.5, pids=32),
            tmp_mb=8,
            log_mb=1,
            labels={LABEL_ID: name.removeprefix("lightd-"), LABEL_NODE: self.tag},
            read_only=False,
        )
        return replace(plan, **changes)

    def run(self, program: str) -> str:
        """Create and start one; its engine id."""
        engine_id = self.runtime.create(self.plan(program))
        self.runtime.start(engine_id)
        return engine_id


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.engine), "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """One engine of each kind, with a network of its own."""
    tag, network = new_node_and_network()
    volume, data = tmp_path / "volume", tmp_path / "data"
    volume.mkdir()
    data.mkdir()
    if request.param == "memory":
        yield Bench(MemoryRuntime(images={BUSYBOX}, networks={network}), tag, volume, data, network)
        return
    request.getfixturevalue("busybox_image")
    engine: docker.DockerClient = request.getfixturevalue("engine")
    runtime = DockerRuntime(read_settings().engine, timeout_seconds=60)
    runtime.ensure_network(network)
    bench = Bench(runtime, tag, volume, data, network)
    yield bench
    for name in bench.made:
        runtime.remove(name)
    engine.networks.get(network).remove()
    runtime.close()
