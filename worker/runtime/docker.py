"""The real engine, through the Docker SDK's low-level client."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from docker import APIClient
from docker.errors import APIError
from docker.errors import ImageNotFound as EngineImageNotFound
from docker.errors import NotFound as EngineNotFound
from requests.exceptions import RequestException

from fleet.errors import Conflict, EngineUnavailable, Invalid, NotFound
from fleet.images import is_private
from fleet.models import Limits
from worker.runtime import docker_limits
from worker.runtime.base import (
    LABEL_ID,
    LABEL_IMAGE,
    LABEL_NODE,
    NEVER_RUN,
    ContainerPlan,
    EngineContainer,
    HostInfo,
    ListedContainer,
    OnProgress,
    Usage,
    owned_images,
    require_replaceable,
)
from worker.runtime.docker_commit import commit, remove_draft
from worker.runtime.docker_differences import differences
from worker.runtime.docker_errors import BRIDGE_GONE, engine_errors
from worker.runtime.docker_input import write_input
from worker.runtime.docker_layer import changed_bytes, deleted_bytes, overgrown_bytes
from worker.runtime.docker_network import ensure_network, renew_network
from worker.runtime.docker_plan import HOME, engine_config, engine_name, weight_supported_here
from worker.runtime.docker_pull import pull
from worker.runtime.registry_logins import RegistryLogins

_log = structlog.get_logger(__name__)
_COMMIT_SECONDS = 1800
_REMOVE_SECONDS = 120
_EPOCH_YEAR = "1970"
_NO_NAME = "<none>:<none>"
_RUNNING = ("running", "paused", "restarting")
_OWN_FILES = ("HostsPath", "HostnamePath", "ResolvConfPath")


class DockerRuntime:
    """A Docker engine of any version. Safe to use from many threads: each has a client of its own."""

    def __init__(self, address: str, timeout_seconds: float, logins: RegistryLogins | None = None) -> None:
        self._address = address
        self._logins = logins or RegistryLogins("")
        self._timeout_seconds = timeout_seconds
        self._mine = threading.local()
        self._clients: list[APIClient] = []
        self._weight_supported = weight_supported_here()
        self._disk_folder: Path | None = None

    def host(self) -> HostInfo:
        """Size and version."""
        with self._engine() as client:
            info = client.info()
        return HostInfo(int(info["NCPU"]), int(info["MemTotal"]), str(info["ServerVersion"]))

    def disk_folder(self) -> Path | None:
        """Where images and layers lie; None where that is not on this host."""
        if self._disk_folder is None:
            with self._engine() as client:
                self._disk_folder = Path(client.info()["DockerRootDir"])
        return self._disk_folder if self._disk_folder.is_dir() else None

    def has_image(self, image: str) -> bool:
        """Whether the image is there."""
        return self.image_id(image) is not None

    def image_id(self, image: str) -> str | None:
        """What the name means now, itself good as a name; None when there is no such image."""
        with self._engine() as client:
            try:
                return str(client.inspect_image(engine_name(image))["Id"])
            except EngineImageNotFound:
                return None

    def images_by_id(self) -> dict[str, tuple[str, ...]]:
        """The id of every image, with its names; none for one whose names mean other images by now."""
        with self._engine() as client:
            listed = client.images(all=True)
        return {image["Id"]: tuple(name for name in image["RepoTags"] or () if name != _NO_NAME) for image in listed}

    def pull(self, image: str, on_progress: OnProgress) -> None:
        """Fetch an image. Raises Invalid with the engine's reason when it cannot be had."""
        login = self._logins.login_for(image)
        pull(self._new_client(self._timeout_seconds), image, login, on_progress)
        if not self.has_image(image):
            raise Invalid(f"Image not found: {image} (the engine pulled it but does not have it)")

    def create(self, plan: ContainerPlan) -> str:
        """Make a container and answer its engine id; an older one of ours that has its name is replaced.

        Raises Invalid (image missing, a setting the engine refuses) or Conflict when the old one runs.
        """
        if plan.limits.io_weight and not self._weight_supported:
            _log.warning("this kernel cannot weigh disk traffic; io_weight is left out", name=plan.name)
        plan = replace(plan, image=engine_name(plan.image))
        with self._engine() as client:
            image = client.inspect_image(plan.image)
            volumes = (image.get("Config") or {}).get("Volumes") or {}
            config: Any = engine_config(plan, volumes, weight_supported=self._weight_supported)
            try:
                made = client.create_container_from_config(config, plan.name)
            except APIError as error:
                if error.status_code != 409 or not self._clear_name(plan):
                    raise
                made = client.create_container_from_config(config, plan.name)
        return str(made["Id"])

    def _clear_name(self, plan: ContainerPlan) -> bool:
        """Remove the older container that has this name; False when there is none any more."""
        old = self.inspect(plan.name)
        if old is None:
            return False
        require_replaceable(old, plan)
        self.remove(old.engine_id)
        return True

    def rename(self, engine_id: str, name: str) -> None:
        """Give a container another name. Raises NotFound, or Conflict when the name is taken."""
        with self._engine() as client:
            client.rename(engine_id, name)

    def differences(self, engine_id: str, plan: ContainerPlan) -> list[str]:
        """In what a container differs from what the plan would make. Raises NotFound."""
        with self._engine() as client:
            found = client.inspect_container(engine_id)
        return differences(found, engine_config(plan, (), weight_supported=self._weight_supported))

    def start(self, engine_id: str) -> None:
        """Start it; starting a running one does nothing.

        Raises NotFound, or Conflict with the engine's reason (a port in use).
        """
        try:
            with self._engine() as client:
                client.start(engine_id)
        except Conflict as refusal:
            if refusal.code != BRIDGE_GONE or not self._renew_network(engine_id):
                raise
            with self._engine() as client:
                client.start(engine_id)
        except EngineUnavailable:
            found = self.inspect(engine_id)  # it may have happened although the answer got lost
            if found is None or not found.running:
                raise

    def _renew_network(self, engine_id: str) -> bool:
        with self._engine() as client:
            return renew_network(client, client.inspect_container(engine_id)["HostConfig"]["NetworkMode"])

    def update(self, engine_id: str, limits: Limits) -> None:
        """Give a container these limits, at once when it runs; all of them, so it may be repeated.

        Raises NotFound, or Conflict with the engine's reason (it uses more memory than that).
        """
        with self._engine() as client:
            docker_limits.update(client, engine_id, limits, weight_supported=self._weight_supported)

    def usage(self, name: str) -> Usage | None:
        """What a container uses, by name or engine id; None when it does not run."""
        with self._engine() as client:
            try:
                return docker_limits.usage(client, name)
            except EngineNotFound:
                return None

    def inspect(self, name: str) -> EngineContainer | None:
        """One container by name or engine id; None when there is none."""
        with self._engine() as client:
            try:
                return _container(client.inspect_container(name))
            except EngineNotFound:
                return None

    def every(self, node: str) -> list[EngineContainer]:
        """All containers labelled with this node, running or not."""
        found = [self.inspect(entry.engine_id) for entry in self.listed(node)]
        return [container for container in found if container is not None]

    def listed(self, node: str) -> list[ListedContainer]:
        """The same as the engine lists them, in one call."""
        with self._engine() as client:
            listed = client.containers(all=True, filters={"label": f"{LABEL_NODE}={node}"})
        return [_listed(entry) for entry in listed]

    def writable_folders(self, but: str) -> set[str]:
        """Host folders that running containers of any Lightd, but for that one, have mounted and may write to."""
        with self._engine() as client:
            listed = client.containers(filters={"label": LABEL_ID})
        mounts = [mount for entry in listed if entry["Id"] != but for mount in entry["Mounts"]]
        return {mount["Source"] for mount in mounts if mount["Type"] == "bind" and mount["RW"]}

    def signal(self, engine_id: str, signal: str) -> bool:
        """Send a signal to its process; False when it does not run."""
        with self._engine() as client:
            try:
                client.kill(engine_id, signal)
            except EngineNotFound:
                return False
            except APIError as error:
                if error.status_code == 409:
                    return False
                raise
            return True

    def resume(self, engine_id: str) -> None:
        """Let a container go on that somebody has paused; fine when nobody has. Raises NotFound."""
        found = self.inspect(engine_id)
        if found is None or found.paused:
            with self._engine() as client:
                client.unpause(engine_id)

    def write_input(self, engine_id: str, data: bytes) -> None:
        """Write to the terminal of a running container; raises Conflict when it does not run."""
        found = self.inspect(engine_id)
        if found is None or not found.running:
            raise Conflict("The container is not running.", code="not_running")
        with self._engine() as client:
            write_input(client, engine_id, data)

    def wait(self, engine_id: str, seconds: float) -> EngineContainer | None:
        """The container once it has stopped, or None when it still runs after that time. Raises NotFound."""
        with self._engine() as client, contextlib.suppress(RequestException):
            client.wait(engine_id, timeout=seconds)  # over in time or not: looking tells
        found = self.inspect(engine_id)
        if found is None:
            raise NotFound("The container was removed from the engine by somebody else.")
        return None if found.running else found

    def log_tail(self, engine_id: str, lines: int) -> bytes:
        """The last lines of its output, as the terminal got them; b"" when it is gone."""
        with self._engine() as client:
            try:
                return bytes(client.logs(engine_id, tail=lines))
            except EngineNotFound:
                return b""

    def remove(self, name: str) -> None:
        """Remove a container by name or engine id, killing it; fine when there is none."""
        with self._engine(_REMOVE_SECONDS) as client:
            try:
                client.remove_container(name, v=True, force=True)
            except EngineNotFound:
                return
            except APIError as error:
                if error.status_code != 409 or "already in progress" not in str(error.explanation):
                    raise
                self._await_removal(name)

    def _await_removal(self, name: str) -> None:
        """Somebody else is removing it: its name is free only when that is done."""
        with self._engine(_REMOVE_SECONDS) as client:
            try:
                client.wait(name, condition="removed", timeout=_REMOVE_SECONDS)
            except EngineNotFound:
                return

    def commit(self, engine_id: str, image: str) -> None:
        """Make an image of a stopped container's file system, without its environment and labels.

        An older one of that name loses the name.
        """
        with self._engine(_COMMIT_SECONDS) as client:
            commit(client, engine_id, image)

    def layer_bytes(self, engine_id: str) -> int:
        """What a container has changed outside its volume, in bytes; 0 only when it changed nothing at all."""
        with self._engine(_REMOVE_SECONDS) as client:
            found = client.inspect_container(engine_id)
            overgrown = overgrown_bytes(found.get(name) or "" for name in _OWN_FILES)
            upper = ((found.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
            if upper and Path(upper).is_dir():
                return changed_bytes(Path(upper)) + _deleted_bytes(client, found) + overgrown
            changes = client.diff(engine_id) or []
            sized = client.containers(all=True, size=True, filters={"id": engine_id})
        return (max(int(sized[0].get("SizeRw") or 0), 1) if changes and sized else 0) + overgrown

    def remove_image(self, image: str) -> None:
        """Remove an image; fine when there is none. Raises Conflict while a container uses it."""
        with self._engine(_REMOVE_SECONDS) as client:
            if is_private(image):
                remove_draft(client, image)
            try:
                client.remove_image(image)
            except EngineImageNotFound:
                return

    def private_images(self, node: str, data: str) -> dict[str, str]:
        """The images that `commit` made on this node for this data folder, by name, each with its container's id."""
        with self._engine() as client:
            found = client.images(filters={"label": LABEL_IMAGE})
        # Anybody's image may have that label, but not such a name.
        named = {
            name.rpartition(":")[0]: image["Labels"][LABEL_IMAGE]
            for image in found
            for name in image["RepoTags"] or ()
            if is_private(name)
        }
        return owned_images(named, node, data)

    def ensure_network(self, name: str) -> None:
        """Make the bridge network that containers share, without traffic between them; fine when it is there."""
        with self._engine() as client:
            ensure_network(client, name)

    def close(self) -> None:
        """Let go of all connections."""
        while self._clients:
            self._clients.pop().close()
        self._mine = threading.local()

    @contextlib.contextmanager
    def _engine(self, timeout_seconds: float | None = None) -> Iterator[Any]:
        """This thread's client, with failures in Lightd's own words; `timeout_seconds` for slow calls.

        It is untyped because the SDK's types cover only half of it.
        """
        with engine_errors():
            client: Any = getattr(self._mine, "client", None)
            if client is None:
                client = self._mine.client = self._new_client(self._timeout_seconds)
                self._clients.append(client)
            client.timeout = timeout_seconds or self._timeout_seconds
            yield client

    def _new_client(self, timeout_seconds: float) -> APIClient:
        with engine_errors():
            return APIClient(base_url=self._address, version="auto", timeout=timeout_seconds)  # type: ignore[arg-type]


def _deleted_bytes(client: APIClient, found: dict[str, Any]) -> int:
    """What a running container's processes keep on the host's disk without a name."""
    if not found["State"]["Running"]:
        return 0
    volume = next(mount["Source"] for mount in found["Mounts"] if mount["Destination"] == HOME)
    try:
        listed = client.top(found["Id"], "-eo pid")["Processes"]
    except APIError:
        return 0  # it has ended meanwhile
    return deleted_bytes((int(pid) for (pid,) in listed or []), Path(volume))


def _listed(entry: dict[str, Any]) -> ListedContainer:
    names = [name.removeprefix("/") for name in entry["Names"] or []]
    own = next((name for name in names if "/" not in name), "")  # the others are those that links give it
    return ListedContainer(entry["Id"], own, entry["Labels"] or {}, entry["State"] in _RUNNING)


def _container(found: dict[str, Any]) -> EngineContainer:
    state = found["State"]
    run = _nanoseconds(state["StartedAt"])
    running = bool(state["Running"]) or state["Status"] in _RUNNING
    return EngineContainer(
        engine_id=found["Id"],
        name=found["Name"].removeprefix("/"),
        labels=found["Config"]["Labels"] or {},
        image=found["Config"]["Image"],
        running=running,
        run=run,
        exit_code=None if running or run == NEVER_RUN else int(state["ExitCode"]),
        oom_killed=bool(state["OOMKilled"]),
        pid=int(state["Pid"]),
        error=state.get("Error") or "",
        log_path=found.get("LogPath") or "",
        ended=_nanoseconds(state["FinishedAt"]),
        env=dict(entry.split("=", 1) for entry in found["Config"].get("Env") or [] if "=" in entry),
        image_id=found["Image"],
        limits=docker_limits.limits_told(found["HostConfig"]),
        paused=bool(state["Paused"]),
    )


def _nanoseconds(stamp: str) -> str:
    """The engine's RFC 3339 time as 20 digits of nanoseconds since 1970."""
    if stamp < _EPOCH_YEAR:
        return NEVER_RUN
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return f"{seconds * 1_000_000_000 + int(fraction.ljust(9, '0')):020d}"
