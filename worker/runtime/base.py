"""What Lightd needs of a container engine. `docker.py` is the real one, `memory.py` its twin for fast tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fleet.errors import Conflict
from fleet.models import Limits, PortBinding

LABEL_ID = "lightd.id"
LABEL_NODE = "lightd.node"
LABEL_DATA = "lightd.data"
"""`LIGHTD_DATA` of the Lightd whose container it is: several may share an engine, and leave each other's alone."""

LABEL_ROLE = "lightd.role"
LABEL_SPEC = "lightd.spec"
LABEL_JOB = "lightd.job"
LABEL_PLAN = "lightd.plan"
"""Digest of the plan it was made from: another one means that the container has to be made again."""

LABELS_OF_THE_PLAN = (LABEL_SPEC, LABEL_PLAN)
"""They tell what it was made from; that the record asks for something else by now is for the next start."""

LABEL_IMAGE = "lightd.image"
"""On a private image: whose it is, as JSON of `id`, `node` and `data`."""

ROLE_SERVER = "server"
ROLE_INSTALL = "install"
ROLE_PROBE = "probe"

USUAL_IO_WEIGHT = 500
"""What a container has whose limits name none."""

NEVER_RUN = "0" * 20
"""The `run` of a container that was never started."""

OnProgress = Callable[[float | None], None]
"""Told how far a pull is, from 0 to 1, None where unknown, at least twice a second; may raise to end the pull."""


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """Everything that an engine container is made from. Nothing else reaches the engine."""

    name: str
    image: str
    command: tuple[str, ...]
    user: str
    volume_path: Path
    data_path: Path
    network: str
    limits: Limits
    tmp_mb: int
    log_mb: int
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    capabilities: tuple[str, ...] = ()
    read_only: bool = True
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True, slots=True)
class ListedContainer:
    """A container in the engine's list, which is cheap to get, in no case as new as a look at itself."""

    engine_id: str
    name: str
    labels: Mapping[str, str]
    running: bool

    @property
    def container_id(self) -> str:
        """The `internal_id` of the container it belongs to; '' for a stranger."""
        return self.labels.get(LABEL_ID, "")


@dataclass(frozen=True, slots=True)
class EngineContainer(ListedContainer):
    """A container as the engine sees it now.

    `run` is the start of its latest run as 20 digits of nanoseconds, NEVER_RUN before the first. While it runs, `ended`
    is the end of the run before. `log_path` is the file on the host that its output is written to, '' before the first
    run. `image_id` is what `image` meant when it was made. `limits` are those that it has now, by their names in
    Limits; what the engine cannot tell is left out. One that is `paused` runs, but does nothing: we pause none.
    """

    image: str
    run: str
    exit_code: int | None
    oom_killed: bool
    pid: int
    error: str = ""
    log_path: str = ""
    ended: str = NEVER_RUN
    env: Mapping[str, str] = field(default_factory=dict)
    image_id: str = ""
    limits: Mapping[str, Any] = field(default_factory=dict)
    paused: bool = False

    @property
    def started_at(self) -> float:
        """Start of the latest run in unix seconds; 0 when there was none."""
        return int(self.run) / 1e9

    @property
    def role(self) -> str:
        """`server`, `install` or `probe`."""
        return self.labels.get(LABEL_ROLE, "")


@dataclass(frozen=True, slots=True)
class HostInfo:
    """The host that the engine runs on."""

    cpus: int
    memory_bytes: int
    engine_version: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a running container uses now. Of its memory, file contents that the kernel gives back do not count."""

    memory_bytes: int
    swap_bytes: int
    pids: int


def require_replaceable(old: EngineContainer, plan: ContainerPlan) -> None:
    """Raise Conflict unless a new container may take the place of this one, which has its name."""
    if any(old.labels.get(name) != plan.labels.get(name) for name in (LABEL_ID, LABEL_NODE, LABEL_DATA)):
        raise Conflict(f"The engine has a container named {plan.name} that is not ours; rename or remove it.")
    if old.running:
        raise Conflict(f"An older container named {plan.name} is running in the engine; kill it first.")


class Runtime(Protocol):
    """A container engine. Every call has a deadline; an engine that does not answer raises EngineUnavailable."""

    def host(self) -> HostInfo:
        """Size and version."""

    def disk_folder(self) -> Path | None:
        """Where images and layers lie; None where that is not on this host."""

    def has_image(self, image: str) -> bool:
        """Whether the image is there."""

    def image_id(self, image: str) -> str | None:
        """What the name means now, itself good as a name; None when there is no such image."""

    def images_by_id(self) -> dict[str, tuple[str, ...]]:
        """The id of every image, with its names; none for one whose names mean other images by now."""

    def pull(self, image: str, on_progress: OnProgress) -> None:
        """Fetch an image. Raises Invalid with the engine's reason when it cannot be had."""

    def create(self, plan: ContainerPlan) -> str:
        """Make a container and answer its engine id; an older one of ours that has its name is replaced.

        Raises Invalid (image missing, a setting the engine refuses) or Conflict when the old one runs.
        """

    def rename(self, engine_id: str, name: str) -> None:
        """Give a container another name. Raises NotFound, or Conflict when the name is taken."""

    def differences(self, engine_id: str, plan: ContainerPlan) -> list[str]:
        """In what a container differs from what the plan would make: `ports`, `limits`, `labels`, `mounts`, `network`,
        `rights`. Its image and environment are not compared. Raises NotFound.
        """

    def start(self, engine_id: str) -> None:
        """Start it; starting a running one does nothing.

        Raises NotFound, or Conflict with the engine's reason (a port in use).
        """

    def update(self, engine_id: str, limits: Limits) -> None:
        """Give a container these limits, at once when it runs; all of them, so it may be repeated.

        Raises NotFound, or Conflict with the engine's reason (it uses more memory than that).
        """

    def usage(self, name: str) -> Usage | None:
        """What a container uses, by name or engine id; None when it does not run."""

    def inspect(self, name: str) -> EngineContainer | None:
        """One container by name or engine id; None when there is none."""

    def every(self, node: str) -> list[EngineContainer]:
        """All containers labelled with this node, running or not, each looked at: some milliseconds apiece."""

    def listed(self, node: str) -> list[ListedContainer]:
        """The same as the engine lists them, in one call."""

    def writable_folders(self, but: str) -> set[str]:
        """Host folders that running containers of any Lightd, but for that one, have mounted and may write to."""

    def signal(self, engine_id: str, signal: str) -> bool:
        """Send a signal to its process; False when it does not run."""

    def resume(self, engine_id: str) -> None:
        """Let a container go on that somebody has paused; fine when nobody has. Raises NotFound."""

    def write_input(self, engine_id: str, data: bytes) -> None:
        """Write to the terminal of a running container; raises Conflict when it does not run."""

    def wait(self, engine_id: str, seconds: float) -> EngineContainer | None:
        """The container once it has stopped, or None when it still runs after that time. Raises NotFound."""

    def log_tail(self, engine_id: str, lines: int) -> bytes:
        """The last lines of its output, as the terminal got them; b"" when it is gone."""

    def remove(self, name: str) -> None:
        """Remove a container by name or engine id, killing it; fine when there is none."""

    def commit(self, engine_id: str, image: str) -> None:
        """Make an image of a stopped container's file system, without its environment and labels.

        An older one of that name loses the name. Raises NotFound.
        """

    def layer_bytes(self, engine_id: str) -> int:
        """What a container has changed outside its volume, in bytes; 0 only when it changed nothing at all."""

    def remove_image(self, image: str) -> None:
        """Remove an image; fine when there is none. Raises Conflict while a container uses it."""

    def private_images(self, node: str, data: str) -> dict[str, str]:
        """The images that `commit` made on this node for this data folder, by name, each with its container's id."""

    def ensure_network(self, name: str) -> None:
        """Make the bridge network that containers share, without traffic between them; fine when it is there."""

    def close(self) -> None:
        """Let go of all connections."""


def owner_label(labels: Mapping[str, str]) -> str:
    """LABEL_IMAGE for an image made of a container with these labels."""
    names = {"id": LABEL_ID, "node": LABEL_NODE, "data": LABEL_DATA}
    return json.dumps({name: labels.get(label, "") for name, label in names.items()})


def owned_images(labelled: Mapping[str, str], node: str, data: str) -> dict[str, str]:
    """Of images with their LABEL_IMAGE those of a node and data folder, each with its container's id."""
    owners = {name: _owner(label) for name, label in labelled.items()}
    return {name: own[0] for name, own in owners.items() if own[1:] == (node, data)}


def _owner(label: str) -> tuple[str, str, str]:
    """Container, node and data folder of a LABEL_IMAGE; nobody's when `commit` did not write it."""
    try:
        told = json.loads(label)
        return str(told["id"]), str(told["node"]), str(told["data"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", "", ""
