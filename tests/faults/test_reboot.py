"""A whole host goes down, with everything that ran on it, and boots again."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import docker
import pytest
import requests
from docker.models.images import Image

from storage.volumes.mounts import loop_devices_below, mounts_below, unmount
from tests.agent.own_engine import OwnEngine
from tests.launcher.instance_processes import processes_of
from tests.support.answers import accepted
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]

COUNT_BOOTS = "echo boot >> boots; echo boots $(wc -l < boots); sleep 600"


class Host:
    """A Lightd on an engine of its own."""

    def __init__(self, engine: OwnEngine, stack: Stack) -> None:
        self.engine = engine
        self.stack = stack

    @property
    def volumes(self) -> Path:
        """The folder in which its volumes are mounted."""
        return self.stack.data / "volumes"

    def lose_power(self) -> None:
        """End all of it at once; no process, mount or loop device is left."""
        eventually(self._all_are_killed, within_seconds=20, what="the end of all processes")
        self.engine.stop()
        for point in mounts_below(self.volumes):
            unmount(Path(point), detach=True)
        eventually(lambda: not loop_devices_below(self.volumes), within_seconds=60, what="the end of all loop devices")

    def boot(self) -> None:
        """What its boot scripts do."""
        self.engine.start()
        self.stack.up()

    def _all_are_killed(self) -> bool:
        running = processes_of(self.stack)
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not running


@pytest.fixture
def host(engine: docker.DockerClient, busybox_image: Image) -> Iterator[Host]:
    folder = Path(tempfile.mkdtemp(prefix="lightd-reboot-"))
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder)
        own = OwnEngine(folder / "e")
        own.start()
        cleanup.callback(own.close)
        own.take_busybox(engine)
        # The second engine leaves iptables to the first.
        settings = {"LIGHTD_ENGINE": own.address, "LIGHTD_FIREWALL": "false", "LIGHTD_VOLUME_DRIVER": "loop"}
        stack = Stack(folder / "data", **settings)
        cleanup.callback(stack.lightd, "down", check=False)
        stack.up()
        yield Host(own, stack)


def test_after_a_reboot_volumes_are_mounted_and_containers_are_as_their_policies_say(host: Host) -> None:
    stack, servers = host.stack, Servers(host.stack)
    volumes = [servers.volume() for _ in range(2)]
    always = servers.run(COUNT_BOOTS, volume_id=volumes[0]["volume_id"], restart_policy="always")
    never = servers.run(COUNT_BOOTS, volume_id=volumes[1]["volume_id"], restart_policy="no")
    for volume in volumes:
        body = {"path": "config/server.yml", "content": "a: 1"}
        accepted(stack.api("POST", f"/volumes/{volume['volume_id']}/files", json=body))
    eventually(lambda: "boots 1" in servers.logs(always), within_seconds=20, what="the first boot")
    host.lose_power()
    for volume in volumes:
        assert os.listdir(volume["path"]) == [], "nothing was ever written beneath the mount"
        assert Path(volume["path"]).stat().st_mode & 0o777 == 0o700, "and no container that starts too early could"
    host.boot()
    for volume in volumes:
        eventually(Path(volume["path"]).is_mount, within_seconds=20, what="the mount")
        assert accepted(_once_served(stack, volume["volume_id"]))["content"] == "a: 1"
    stack.wait_for_state(always, "running", 60)
    eventually(lambda: "boots 2" in servers.logs(always), within_seconds=20, what="the second boot")
    stack.wait_for_state(never, "ready", 60)
    assert "boots 2" not in servers.logs(never)
    servers.act(never, "start")
    eventually(lambda: "boots 2" in servers.logs(never), within_seconds=30, what="a start by hand")
    servers.clean()
    assert not mounts_below(host.volumes)
    eventually(lambda: not loop_devices_below(host.volumes), within_seconds=60, what="the end of all loop devices")


def _once_served(stack: Stack, volume_id: str) -> requests.Response:
    """The answer to a read, as soon as it is not that the files process is still being started."""

    def look() -> requests.Response | None:
        answer = stack.api("GET", f"/volumes/{volume_id}/files/content?path=config/server.yml")
        return None if answer.status_code == 503 else answer

    answer = eventually(look, within_seconds=20, what="an answer of the files process")
    assert answer is not None
    return answer
