"""What may happen to a host. Each fault strikes, lasts as long as it lasts, and is over when its function returns."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker
import redis
from docker.errors import APIError, NotFound
from docker.models.containers import Container as EngineContainer

from fleet.models import Container
from tests.chaos.load import Load
from tests.chaos.place import Place
from tests.chaos.timeline import Timeline
from tests.support.deadline import eventually
from worker.runtime.base import LABEL_ID, LABEL_ROLE, ROLE_SERVER
from worker.second_copy import SecondCopy

FROZEN_SECONDS = 10
_FULL_SECONDS = 4
_RECOVER_TRIES = 10


@dataclass
class Scene:
    """What faults work on. `removed` are containers that somebody took out of the engine behind our back."""

    place: Place
    load: Load
    timeline: Timeline
    random: random.Random
    removed: set[str]


Strike = Callable[[Scene], bool]
"""Answers False when there was nothing to strike."""


def _signal(scene: Scene, *, name: str, number: signal.Signals) -> bool:
    """A signal to a process, or, where it has some, perhaps to one of its own workers."""
    pid = scene.place.stack.pid(name)
    family = [pid, *_children(pid)] if name in ("api", "files") else [pid]
    with suppress(ProcessLookupError):
        os.kill(scene.random.choice(family), number)
        return True
    return False


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _restart_store(scene: Scene) -> bool:
    name = scene.random.choice(("store", "store", "stream"))
    return _signal(scene, name=name, number=scene.random.choice((signal.SIGTERM, signal.SIGKILL)))


def _freeze_store(scene: Scene) -> bool:
    pid = scene.place.stack.pid("store")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)
        os.kill(pid, signal.SIGCONT)
        return True
    return False


def _empty_store(scene: Scene) -> bool:
    """The record is lost, and brought back. Clients wait meanwhile; jobs that are under way do not."""
    place, stack = scene.place, scene.place.stack
    with scene.load.paused():
        in_engine, before = _held(place)
        for name in ("store", "stream"):
            address = f"unix://{stack.data}/run/{name}.sock"
            eventually(partial(_flushed, address), within_seconds=30, what=f"an empty {name}")
        after = _copies(place)  # the agent may just have written some again
        for server in scene.load.servers:
            copies = [copy for copy in (before.get(server.name), after.get(server.name)) if copy is not None]
            server.lose_the_record(server.name in in_engine, copies)
        _recover(scene)
        stack.lightd("token", "what")
        stack.wait_ready()
        scene.load.offer_ports()
    return True


def _flushed(address: str) -> bool:
    with suppress(redis.RedisError), redis.Redis.from_url(address) as client:
        return bool(client.flushall())
    return False  # it is just being started


def _held(place: Place) -> tuple[set[str], dict[str, Container]]:
    """What the host can tell of: names of the containers in the engine, and its own copies by name."""
    with closing(place.engine.client()) as client:
        names = {found.labels[LABEL_ID] for found in _servers(client)}
    return names, _copies(place)


def _copies(place: Place) -> dict[str, Container]:
    return {copy.internal_id: copy for copy in SecondCopy(place.settings).read()}


def _recover(scene: Scene) -> None:
    """What an operator does: read the answer, wait for what is still under way, try again."""
    for _ in range(_RECOVER_TRIES):
        done = scene.place.stack.lightd("recover", check=False)
        scene.timeline.note("operator", f"recover ended with {done.returncode}")
        if done.returncode == 0:
            return
        scene.timeline.note("operator", "; ".join(line for line in done.stdout.splitlines() if line.startswith("!")))
        time.sleep(1)
    scene.timeline.wrong(f"recover does not succeed: {done.stdout[-1500:]}{done.stderr[-500:]}")
    scene.place.stack.lightd("recover", "--force", check=False)


def _restart_engine(scene: Scene) -> bool:
    scene.place.engine.stop()
    scene.place.engine.start()
    return True


def _freeze_engine(scene: Scene) -> bool:
    scene.place.engine.signal(signal.SIGSTOP)
    time.sleep(FROZEN_SECONDS)
    scene.place.engine.signal(signal.SIGCONT)
    return True


def _behind_our_back(scene: Scene, *, running: bool | None, act: Callable[[EngineContainer], object]) -> bool:
    """Do something to a few server containers with the engine's own client."""
    struck = 0
    with closing(scene.place.engine.client()) as client:
        found = [one for one in _servers(client) if running in (None, one.status == "running")]
        for container in scene.random.sample(found, min(len(found), 3)):
            with suppress(NotFound, APIError):
                act(container)
                struck += 1
                scene.timeline.note("stranger", f"was at {container.name}")
    return struck > 0


def _remove(scene: Scene) -> bool:
    def act(container: EngineContainer) -> None:
        container.remove(force=True)
        scene.removed.add(container.labels[LABEL_ID])

    return _behind_our_back(scene, running=None, act=act)


def _servers(client: docker.DockerClient) -> list[EngineContainer]:
    every = client.containers.list(all=True, filters={"label": f"{LABEL_ROLE}={ROLE_SERVER}"}, ignore_removed=True)
    return sorted(every, key=lambda found: str(found.name))


def _fill_disk(scene: Scene) -> bool:
    with _filler(scene.place.disk):
        time.sleep(_FULL_SECONDS)
    return True


@contextmanager
def _filler(disk: Path) -> Iterator[None]:
    """Nothing can be written to the file system of the volumes while the block runs."""
    path = disk / "something-else"
    try:
        with path.open("wb") as file:
            size_bytes = 0
            for piece_bytes in (1 << 24, 1 << 20, 1 << 12):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), size_bytes, piece_bytes)
                        size_bytes += piece_bytes
        yield
    finally:
        path.unlink()


_PROCESSES = ("quick", "long", "agent", "api", "files")

FAULTS: dict[str, Strike] = {
    **{f"SIGKILL to {name}": partial(_signal, name=name, number=signal.SIGKILL) for name in _PROCESSES},
    **{f"SIGTERM to {name}": partial(_signal, name=name, number=signal.SIGTERM) for name in _PROCESSES},
    "a store restarted": _restart_store,
    "the store frozen": _freeze_store,
    "the store emptied": _empty_store,
    "the engine restarted": _restart_engine,
    "the engine frozen": _freeze_engine,
    "containers removed": _remove,
    "containers stopped": partial(_behind_our_back, running=True, act=lambda one: one.stop(timeout=1)),
    "containers killed": partial(_behind_our_back, running=True, act=lambda one: one.kill()),
    "containers started": partial(_behind_our_back, running=False, act=lambda one: one.start()),
    "the disk full": _fill_disk,
}


def strike(scene: Scene, name: str) -> None:
    """Have a fault happen; tries again while there is nothing to strike."""
    scene.timeline.note("FAULT", name)
    eventually(lambda: FAULTS[name](scene), within_seconds=30, what=name)
    scene.timeline.note("FAULT", f"{name}: over")
