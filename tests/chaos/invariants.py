"""What must hold of a host at rest, whatever happened to it before. Every broken rule is one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.keys import PREFIX, key
from fleet.lifecycle import ALIVE, State
from fleet.models import Container, Job, Port
from storage.draft import is_draft
from storage.volumes import Volumes
from storage.volumes.layout import image_path, volumes_folder
from storage.volumes.locks import is_locked
from tests.chaos.load import Load
from tests.chaos.place import Place
from tests.support.images import BUSYBOX
from worker.operations.names import private_image, server_name
from worker.runtime.base import LABEL_ID
from worker.runtime.docker import DockerRuntime

_ENGINE_SECONDS = 60


@dataclass
class Sight:
    """Record, engine and disk as they were seen at one time; `engine` is by container name."""

    place: Place
    records: dict[str, Container]
    jobs: dict[str, Job]
    ports: dict[str, Port]
    engine: dict[str, dict[str, Any]]
    runs: dict[str, str]
    images: dict[str, list[str]]


def look(place: Place) -> Sight:
    """See everything."""
    with closing(place.engine.client()) as client:
        every = client.containers.list(all=True, ignore_removed=True)
        engine = {str(found.name): found.attrs for found in every}
        images = {image["Id"]: image["RepoTags"] or [] for image in client.api.images(all=False)}
    runtime = DockerRuntime(place.engine.address, _ENGINE_SECONDS)
    runs = {found.name: found.run for found in runtime.every(place.settings.node)}
    runtime.close()
    names = [name.rpartition(":")[2] for name in place.record.scan_iter(f"{PREFIX}:job:*", count=1000)]
    jobs = {name: place.jobs.get(name) for name in names}
    records = {record.internal_id: record for record in place.containers.of_node(place.settings.node)}
    ports = {port.member: port for port in place.ports.page("", 1000)[0]}
    return Sight(place, records, jobs, ports, engine, runs, images)


def violations(place: Place, load: Load) -> list[str]:
    """All broken rules, as sentences."""
    seen = look(place)
    found: list[str] = []
    for rule in (_jobs, _servers, _strays, _images, _ports, _volumes, _folders):
        found += rule(seen)
    return found + list(_promises(seen, load))


def _jobs(seen: Sight) -> Iterator[str]:
    """The load has ended, so every job ends too."""
    record, node = seen.place.record, seen.place.settings.node
    known = set(record.zrange(key("jobs_open", node), 0, -1))
    for job in seen.jobs.values():
        told = f"Job {job.job_id} ({job.kind} of {job.internal_id})"
        if job.is_open:
            lease = "a living worker" if record.exists(key("lease", job.job_id)) else "nobody"
            yield f"{told} is {job.state} in step {job.step}; {lease} is on it{', it waits' if job.waits else ''}."
            if job.job_id not in known:
                yield f"{told} is open, but not among the open jobs: nobody would take it up."
        elif job.job_id in known:
            yield f"{told} is {job.state}, but still among the open jobs."
        elif job.state == "failed" and (not job.error or job.error.startswith("Internal error")):
            yield f"{told} has failed without a reason: {job.error}"
    for job_id in record.zrange(key("deadlines", node), 0, -1):
        if job_id not in seen.jobs or not seen.jobs[job_id].is_open:
            yield f"Job {job_id} has ended, but still has a deadline."


def _servers(seen: Sight) -> Iterator[str]:
    """Every record equals the engine."""
    for name, record in seen.records.items():
        found = seen.engine.get(server_name(name))
        told = f"The record of {name} says {record.state}"
        if record.next_ports is not None:
            yield f"{name} still holds the ports of a rebinding."
        if record.deleting:
            yield f"{name} is still being deleted."
        if record.state is State.FAILED:
            if found is not None:
                yield f"{told}, but the engine has a container."
        elif found is None:
            yield f"{told}, but the engine has no container."
        else:
            yield from _server(seen, record, found, told)


def _server(seen: Sight, record: Container, found: dict[str, Any], told: str) -> Iterator[str]:
    runs = bool(found["State"]["Running"])
    if record.state not in (State.READY, State.RUNNING):
        yield f"{told} although everything is at rest."
    elif runs is not (record.state in ALIVE):
        yield f"{told}, but its process {'runs' if runs else 'does not run'}."
    if found["Id"] != record.container_id:
        yield f"{told} and speaks of another container than the engine has."
    if runs and record.run != seen.runs.get(server_name(record.internal_id)):
        yield f"{told}, but speaks of another run."
    limits = record.spec.limits
    if (found["HostConfig"]["PidsLimit"], found["HostConfig"]["Memory"]) != (limits.pids, limits.memory_bytes):
        yield f"The limits of {record.internal_id} are not the same in record and engine."
    bound = {
        int(binding["HostPort"]) for part in (found["HostConfig"]["PortBindings"] or {}).values() for binding in part
    }
    if bound != {port.port for port in record.ports}:
        yield f"{record.internal_id} has ports {record.ports} in the record, but {sorted(bound)} in the engine."


def _strays(seen: Sight) -> Iterator[str]:
    for name, found in seen.engine.items():
        owner = found["Config"]["Labels"].get(LABEL_ID)
        if owner not in seen.records or name != server_name(owner):
            yield f"The engine has a container {name} that nobody owns."


def _images(seen: Sight) -> Iterator[str]:
    needed = {f"{private_image(name)}:latest" for name, record in seen.records.items() if record.own_image}
    tags = {tag for tags in seen.images.values() for tag in tags}
    yield from (f"The image {tag} is gone, without which its container cannot be made." for tag in needed - tags)
    yield from (f"The engine has an image {tag} that nobody owns." for tag in tags - needed - {BUSYBOX})
    yield from (f"The engine has an image without name ({name})." for name, tags in seen.images.items() if not tags)


def _ports(seen: Sight) -> Iterator[str]:
    """Every port is held by exactly the container that has it, or free."""
    holders: dict[str, str] = {}
    for name, record in seen.records.items():
        for binding in record.ports if record.state is not State.FAILED else ():
            if binding.member in holders:
                yield f"Both {name} and {holders[binding.member]} have port {binding.member}."
            holders[binding.member] = name
    free = set(seen.place.record.smembers(key("ports_free", "tcp")))
    for member, port in seen.ports.items():
        if port.internal_id != holders.get(member, ""):
            yield f"Port {member} is held by '{port.internal_id}', but '{holders.get(member, '')}' has it."
        if port.in_use is not (member in holders) or (member in free) is port.in_use:
            yield f"Port {member} is in use: {port.in_use}; among the free ones: {member in free}."
    yield from (f"Port {member} of {holders[member]} is not in the pool." for member in holders.keys() - seen.ports)


def _volumes(seen: Sight) -> Iterator[str]:
    """Records, folders, images, mounts and loop devices belong together, one each."""
    settings, record = seen.place.settings, seen.place.record
    folder, volumes = volumes_folder(settings), Volumes(settings)
    recorded = {volume.volume_id for volume in seen.place.volumes.ready(settings.node)}
    listed = set(record.zrange(key("volumes"), 0, -1))
    known = set(volumes.known())
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    mounted = [Path(point).name for point in mounts if point.startswith(f"{folder}/")]
    images = {path.stem for path in (folder / ".images").iterdir()}
    entries = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"lost+found"}
    for what, found in (
        ("an entry in the list of volumes", listed),
        ("a description on disk", known),
        ("an image", images),
        ("a folder", entries),
        ("a mount", set(mounted)),
        ("a loop device", _looped(folder)),
    ):
        yield from (f"Volume {name} has {what}, but no record that is ready." for name in found - recorded)
        yield from (f"Volume {name} has a record that is ready, but not {what}." for name in recorded - found)
    yield from (f"Volume {name} is mounted twice." for name in recorded if mounted.count(name) > 1)
    for name in recorded & entries:
        drafts = [path for path in (folder / name).rglob("*") if is_draft(path.name.encode())]
        yield from (f"A draft is left in volume {name}: {path.name}." for path in drafts)


def _looped(folder: Path) -> set[str]:
    files = (path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file"))
    return {Path(file.removesuffix(" (deleted)")).stem for file in files if file.startswith(f"{folder}/")}


def _folders(seen: Sight) -> Iterator[str]:
    """Scripts, second copies and locks of containers that are there, and of no others."""
    data = seen.place.settings.data
    scripts = {path.name for path in (data / "containers").iterdir() if not path.name.startswith(".")}
    yield from (f"The folder of {name} is left, which has no record." for name in scripts - seen.records.keys())
    copies = {path.name: path for path in (data / "containers/.records").iterdir()}
    yield from (
        f"The second copy {name} is left, whose container has no record."
        for name in copies.keys() - {f"{record}.json" for record in seen.records}
    )
    for name, record in seen.records.items():
        told = json.loads(copies[f"{name}.json"].read_text()) if f"{name}.json" in copies else {}
        if told.get("state") != record.state or told.get("container_id", "") != (record.container_id or ""):
            yield f"The second copy of {name} says {told.get('state', 'nothing')}, its record {record.state}."
    for path in (data / "run/locks").glob("*.lock"):
        if is_locked(path):
            yield f"The lock {path.name} is held although nobody is at work."


def _promises(seen: Sight, load: Load) -> Iterator[str]:
    """Every acknowledged request is reflected."""
    folder = volumes_folder(seen.place.settings)
    for client in load.clients:
        for server in client.servers:
            yield from server.check(seen.records.get(server.name), seen.jobs)
        for volume_id in client.volumes:
            if not image_path(seen.place.settings, volume_id).exists():
                yield f"Volume {volume_id} was created, but it is gone."
        places = list(client.files.contents)
        yield from client.files.check((place, _content(folder / place[0] / place[1])) for place in places)
    every = {server.name for server in load.servers}
    yield from (f"There is a record of {name}, which nobody asked for." for name in seen.records.keys() - every)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
