"""What a test run may leave on a host: found, told, and removed, so that the next run starts clean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker
from docker.errors import APIError

from storage.volumes.mounts import loop_devices_below, mounts_below

NODE_LABEL = "lightd.node"
IMAGE_LABEL = "lightd.image"
TEST_NODE = "test-"
TEST_NETWORK = "lt"
RUN_VARIABLE = "LIGHTD_TEST_RUN"
"""Tag of a test run: its nodes are called `test-<tag>…`, its networks `lt<tag>…`."""


@dataclass(frozen=True)
class Remain:
    """One thing left: what it is, and how to remove it."""

    what: str
    remove: Callable[[], object]


class Remains:
    """Looks for what one test run left: in the engine by its tag `run`, elsewhere by its folder for temporary files.

    Others may use the same machine at the same time, so nothing counts that does not carry one of the two.
    """

    def __init__(self, client: docker.DockerClient, run: str, folder: Path) -> None:
        self._client = client
        self._run = run
        self._folder = folder

    def found(self) -> list[Remain]:
        """All that is left now, in the order in which it can be removed."""
        engine = [
            *of_node(self._client, f"{TEST_NODE}{self._run}"),
            *_networks(self._client, f"{TEST_NETWORK}{self._run}"),
        ]
        return [*_processes(self._folder), *engine, *_mounts(self._folder), *_loop_devices(self._folder)]

    def remove(self) -> list[str]:
        """Remove all that is left; answers what that was, and what could not be removed."""
        sentences = []
        for remain in self.found():
            try:
                remain.remove()
                sentences.append(remain.what)
            except (APIError, OSError, subprocess.CalledProcessError) as error:
                if is_ghost(error):
                    print(f"Not counted: {remain.what}; the engine keeps it for an endpoint of a removed container.")
                    continue
                sentences.append(f"{remain.what} (still there: {error})")
        return sentences


def is_ghost(error: Exception) -> bool:
    """Whether the engine refuses to remove a network for an endpoint whose container it has removed itself.

    Engine 20.10 forgets one now and then when many containers end at once; only its restart ends such an endpoint. A
    container that is still there is found by `of_node`.
    """
    return isinstance(error, APIError) and "has active endpoints" in str(error.explanation)


def of_node(client: docker.DockerClient, node: str) -> list[Remain]:
    """Containers and images labelled with a node whose name is `node` or begins with it."""
    containers = client.containers.list(all=True, filters={"label": NODE_LABEL}, ignore_removed=True)
    found = [
        Remain(f"container {container.name}", partial(container.remove, force=True))
        for container in containers
        if container.labels[NODE_LABEL].startswith(node)
    ]
    # The low-level list: the other one inspects each image again, and another run may have removed it meanwhile.
    for image in client.api.images(filters={"label": IMAGE_LABEL}):
        if json.loads(image["Labels"][IMAGE_LABEL])["node"].startswith(node):
            name = ", ".join(image["RepoTags"] or [image["Id"]])
            found.append(Remain(f"image {name}", partial(client.images.remove, image["Id"], force=True)))
    return found


def _networks(client: docker.DockerClient, beginning: str) -> list[Remain]:
    names = [network["Name"] for network in client.api.networks() if network["Name"].startswith(beginning)]
    return [Remain(f"network {name}", partial(client.api.remove_network, name)) for name in names]


def _mounts(folder: Path) -> list[Remain]:
    return [Remain(f"mount {point}", partial(_run, "umount", point)) for point in mounts_below(folder)]


def _loop_devices(folder: Path) -> list[Remain]:
    return [
        Remain(f"loop device {device}", partial(_run, "losetup", "--detach", device))
        for device in loop_devices_below(folder)
    ]


def _processes(folder: Path) -> list[Remain]:
    """Processes that were started with `folder` as their folder for temporary files."""
    mark = f"TMPDIR={folder}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            marked = mark in path.read_bytes().split(b"\0")
            command = path.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it ended while we looked
            continue
        if marked and command:
            pid = int(path.parent.name)
            found.append(Remain(f"process {pid} ({command[:80]})", partial(os.kill, pid, signal.SIGKILL)))
    return found


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
