"""The engine's twin for fast tests: the same promises, kept in memory, with processes that behave as told."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fleet.errors import Conflict, Invalid, NotFound
from fleet.images import full_name
from fleet.models import Limits
from worker.runtime.base import (
    LABEL_NODE,
    LABELS_OF_THE_PLAN,
    NEVER_RUN,
    ContainerPlan,
    EngineContainer,
    HostInfo,
    ListedContainer,
    OnProgress,
    Usage,
    owned_images,
    owner_label,
    require_replaceable,
)

_KILLED = 137
_TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a process does: it prints, changes its layer, and ends by itself after `seconds` (None: never)."""

    seconds: float | None = None
    exit_code: int = 0
    output: bytes = b""
    layer_bytes: int = 0
    memory_bytes: int = 0
    ignores: frozenset[str] = frozenset()
    stops_on_input: bytes | None = None


@dataclass(slots=True)
class _Made:
    """A container of the twin."""

    plan: ContainerPlan
    seen: EngineContainer
    behaviour: Behaviour
    ends_at: float | None = None
    input: bytes = b""


@dataclass(slots=True)
class MemoryRuntime:
    """An engine without containers. `remote` are the images that can be pulled, in `pull_seconds` each; `disk` is the
    folder that its images are said to lie in.
    """

    images: set[str] = field(default_factory=set)
    remote: set[str] = field(default_factory=set)
    pull_seconds: float = 0.0
    disk: Path | None = None
    networks: set[str] = field(default_factory=set)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    _made: dict[str, _Made] = field(default_factory=dict)
    _private: dict[str, str] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))

    def host(self) -> HostInfo:
        """Size and version."""
        return HostInfo(cpus=2, memory_bytes=4 * 1024**3, engine_version="memory")

    def disk_folder(self) -> Path | None:
        """Where images and layers lie; None where that is not on this host."""
        return self.disk

    def has_image(self, image: str) -> bool:
        """Whether the image is there."""
        with self._changed:
            return _tagged(image) in map(_tagged, self.images)

    def image_id(self, image: str) -> str | None:
        """What the name means, here the name itself; None when there is no such image."""
        return _tagged(image) if self.has_image(image) else None

    def images_by_id(self) -> dict[str, tuple[str, ...]]:
        """The id of every image, here its full name, with its names."""
        with self._changed:
            return {_tagged(image): (_tagged(image),) for image in self.images}

    def pull(self, image: str, on_progress: OnProgress) -> None:
        """Fetch an image. Raises Invalid when it cannot be had."""
        deadline = time.monotonic() + self.pull_seconds
        while (left := deadline - time.monotonic()) > 0:
            on_progress(1 - left / self.pull_seconds)
            time.sleep(min(left, 0.02))
        if image not in self.remote:
            raise Invalid(f"Image not found: {image} (manifest unknown)", code="image_not_found")
        on_progress(1.0)
        with self._changed:
            self.images.add(image)

    def create(self, plan: ContainerPlan) -> str:
        """Make a container and answer its engine id; an older one of ours that has its name is replaced."""
        with self._changed:
            if not self.has_image(plan.image):
                raise Invalid(f"Image not found: {plan.image}", code="image_not_found")
            if plan.network not in self.networks:
                raise NotFound(f"The engine does not know it: network {plan.network} not found")
            old = self._find(plan.name)
            if old is not None:
                require_replaceable(old.seen, plan)
                del self._made[old.seen.engine_id]
            engine_id = secrets.token_hex(32)
            seen = EngineContainer(
                engine_id=engine_id,
                name=plan.name,
                labels=dict(plan.labels),
                image=plan.image,
                running=False,
                run=NEVER_RUN,
                exit_code=None,
                oom_killed=False,
                pid=0,
                env=dict(plan.env),
                image_id=_tagged(plan.image),
                limits=asdict(plan.limits),
            )
            self._made[engine_id] = _Made(plan, seen, self.behaviours.get(plan.name, Behaviour()))
            return engine_id

    def rename(self, engine_id: str, name: str) -> None:
        """Give a container another name. Raises NotFound, or Conflict when the name is taken."""
        with self._changed:
            made = self._existing(engine_id)
            if self._find(name) not in (None, made):
                raise Conflict(f"The engine refused: the name {name} is taken", code="engine_refused")
            made.plan, made.seen = replace(made.plan, name=name), replace(made.seen, name=name)

    def differences(self, engine_id: str, plan: ContainerPlan) -> list[str]:
        """In what a container differs from what the plan would make. Raises NotFound."""
        with self._changed:
            had = self._existing(engine_id).plan
        labels = {name: value for name, value in plan.labels.items() if name not in LABELS_OF_THE_PLAN}
        aspects = {
            "ports": (set(had.ports), set(plan.ports)),
            "limits": (had.limits, plan.limits),
            "labels": ({**had.labels, **labels}, dict(had.labels)),
            "mounts": ((had.volume_path, had.data_path, had.mounts), (plan.volume_path, plan.data_path, plan.mounts)),
            "network": (had.network, plan.network),
            "rights": ((had.user, had.capabilities, had.read_only), (plan.user, plan.capabilities, plan.read_only)),
        }
        return [name for name, (has, wanted) in aspects.items() if has != wanted]

    def start(self, engine_id: str) -> None:
        """Start it; starting a running one does nothing. Raises NotFound, or Conflict for a port in use."""
        with self._changed:
            made = self._existing(engine_id)
            if made.seen.running:
                return
            self._check_ports(made.plan)
            made.behaviour = self.behaviours.get(made.plan.name, made.behaviour)
            made.seen = replace(made.seen, running=True, run=f"{time.time_ns():020d}", exit_code=None, pid=4242)
            seconds = made.behaviour.seconds
            made.ends_at = None if seconds is None else time.monotonic() + seconds
            self._changed.notify_all()

    def update(self, engine_id: str, limits: Limits) -> None:
        """Give a container these limits. Raises NotFound, or Conflict when it uses more memory than that."""
        with self._changed:
            made = self._find(engine_id)
            if made is None:
                raise NotFound(f"The engine does not know it: {engine_id}", code="engine_not_found")
            if made.seen.running and 0 < limits.memory_bytes < made.behaviour.memory_bytes:
                raise Conflict("The container uses more memory than that now.", code="below_use")
            made.plan = replace(made.plan, limits=limits)
            made.seen = replace(made.seen, limits=asdict(limits))

    def usage(self, name: str) -> Usage | None:
        """What a container uses; None when it does not run."""
        with self._changed:
            made = self._find(name)
            if made is None or not made.seen.running:
                return None
            return Usage(made.behaviour.memory_bytes, 0, pids=1)

    def inspect(self, name: str) -> EngineContainer | None:
        """One container by name or engine id; None when there is none."""
        with self._changed:
            made = self._find(name)
            return made.seen if made else None

    def every(self, node: str) -> list[EngineContainer]:
        """All containers labelled with this node, running or not."""
        with self._changed:
            found = [self.inspect(engine_id) for engine_id in self._made]
        return [seen for seen in found if seen is not None and seen.labels.get(LABEL_NODE) == node]

    def listed(self, node: str) -> list[ListedContainer]:
        """The same as the engine lists them, in one call."""
        return [*self.every(node)]

    def writable_folders(self, but: str) -> set[str]:
        """Host folders that running containers, but for that one, have mounted and may write to."""
        with self._changed:
            plans = [made.plan for made in self._made.values() if made.seen.running and made.seen.engine_id != but]
        return {str(plan.volume_path) for plan in plans} | {source for plan in plans for source in plan.mounts.values()}

    def signal(self, engine_id: str, signal: str) -> bool:
        """Send a signal to its process; False when it does not run."""
        with self._changed:
            made = self._find(engine_id)
            if made is None or not made.seen.running:
                return False
            if signal == "SIGKILL" or signal not in made.behaviour.ignores:
                self._end(made, _KILLED if signal == "SIGKILL" else _TERMINATED)
            return True

    def resume(self, engine_id: str) -> None:
        """Let a container go on that somebody has paused; fine when nobody has. Raises NotFound."""
        self._set_paused(engine_id, paused=False)

    def pause(self, engine_id: str) -> None:
        """Pause a running container (for tests)."""
        self._set_paused(engine_id, paused=True)

    def _set_paused(self, engine_id: str, *, paused: bool) -> None:
        with self._changed:
            made = self._existing(engine_id)
            made.seen = replace(made.seen, paused=paused)

    def write_input(self, engine_id: str, data: bytes) -> None:
        """Write to the terminal of a running container; raises Conflict when it does not run."""
        with self._changed:
            made = self._find(engine_id)
            if made is None or not made.seen.running:
                raise Conflict("The container is not running.", code="not_running")
            made.input += data
            if made.behaviour.stops_on_input and made.behaviour.stops_on_input in made.input:
                self._end(made, made.behaviour.exit_code)

    def read_input(self, name: str) -> bytes:
        """What was written to a container's terminal (for tests)."""
        with self._changed:
            made = self._find(name)
            return made.input if made else b""

    def wait(self, engine_id: str, seconds: float) -> EngineContainer | None:
        """The container once it has stopped, or None when it still runs after that time. Raises NotFound."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                made = self._find(engine_id)
                if made is None:
                    raise NotFound("The container was removed from the engine by somebody else.")
                if not made.seen.running:
                    return made.seen
                left = min(deadline, made.ends_at or deadline) - time.monotonic()
                if left <= 0 and time.monotonic() >= deadline:
                    return None
                self._changed.wait(max(left, 0.001))

    def log_tail(self, engine_id: str, lines: int) -> bytes:
        """The last lines of its output; b"" when it is gone."""
        with self._changed:
            made = self._find(engine_id)
            if made is None or made.seen.run == NEVER_RUN:
                return b""
            return b"".join(made.behaviour.output.splitlines(keepends=True)[-lines:])

    def remove(self, name: str) -> None:
        """Remove a container by name or engine id, killing it; fine when there is none."""
        with self._changed:
            made = self._find(name)
            if made is not None:
                del self._made[made.seen.engine_id]
                self._changed.notify_all()

    def commit(self, engine_id: str, image: str) -> None:
        """Make an image of a stopped container's file system."""
        with self._changed:
            made = self._existing(engine_id)
            self.images.add(image)
            self._private[image] = owner_label(made.plan.labels)

    def layer_bytes(self, engine_id: str) -> int:
        """What a container has changed outside its volume, in bytes."""
        with self._changed:
            made = self._existing(engine_id)
            return 0 if made.seen.run == NEVER_RUN else made.behaviour.layer_bytes

    def remove_image(self, image: str) -> None:
        """Remove an image; fine when there is none. Raises Conflict while a container uses it."""
        with self._changed:
            users = [made.plan.name for made in self._made.values() if _tagged(made.plan.image) == _tagged(image)]
            if users:
                raise Conflict(f"The engine refused: image is used by {users[0]}", code="engine_refused")
            self.images = {kept for kept in self.images if _tagged(kept) != _tagged(image)}

    def private_images(self, node: str, data: str) -> dict[str, str]:
        """The images that `commit` made on this node for this data folder, by name, each with its container's id."""
        with self._changed:
            there = {name: label for name, label in self._private.items() if self.has_image(name)}
        return owned_images(there, node, data)

    def ensure_network(self, name: str) -> None:
        """Make the network; fine when it is there."""
        with self._changed:
            self.networks.add(name)

    def close(self) -> None:
        """Nothing to let go of."""

    def _existing(self, name: str) -> _Made:
        found = self._find(name)
        if found is None:
            raise NotFound(f"The engine does not know it: {name}", code="engine_not_found")
        return found

    def _find(self, name: str) -> _Made | None:
        """A container by name or engine id, its end written down if its time is over."""
        for made in self._made.values():
            if name in (made.seen.engine_id, made.plan.name):
                if made.seen.running and made.ends_at is not None and time.monotonic() >= made.ends_at:
                    self._end(made, made.behaviour.exit_code)
                return made
        return None

    def _end(self, made: _Made, exit_code: int) -> None:
        made.seen = replace(
            made.seen, running=False, paused=False, exit_code=exit_code, pid=0, ended=f"{time.time_ns():020d}"
        )
        made.ends_at = None
        self._changed.notify_all()

    def _check_ports(self, plan: ContainerPlan) -> None:
        wanted = {port.member: port for port in plan.ports}
        for other in self._made.values():
            if not other.seen.running:
                continue
            for port in other.plan.ports:
                if port.member in wanted:
                    raise Conflict(
                        f"Port {port.ip}:{port.port} is in use by something else on the host.", code="port_in_use"
                    )


def _tagged(image: str) -> str:
    return full_name(image)
