"""What the store knows: plain frozen records. Sizes and times carry their units in the name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fleet.lifecycle import ALIVE, InstallState, State


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A port of the pool that a container holds; `port` on the host leads to `container_port` inside."""

    ip: str
    port: int
    protocol: str
    container_port: int

    @property
    def member(self) -> str:
        """The name of the port in the pool."""
        return port_member(self.ip, self.port, self.protocol)


@dataclass(frozen=True, slots=True)
class PortWish:
    """A port that a container asks for; without `ip` or `port` the pool chooses."""

    protocol: str
    container_port: int | None = None
    ip: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use. 0 is no limit, except for `pids`, which always has one."""

    memory_bytes: int
    cpu: float
    pids: int
    swap_bytes: int = 0
    io_weight: int | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """What the client asked a container to be. `restart_tries` None means as often as it takes."""

    image: str
    startup_command: str
    limits: Limits
    start_pattern: str | None = None
    mount: dict[str, str] = field(default_factory=dict)
    install_script: str | None = None
    install_timeout_seconds: int = 1800
    env: dict[str, str] = field(default_factory=dict)
    stop_command: str | None = None
    stop_signal: str = "SIGTERM"
    stop_timeout_seconds: int = 30
    pull_policy: str = "if-missing"
    labels: dict[str, str] = field(default_factory=dict)
    restart_policy: str = "no"
    restart_tries: int | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """One container's record. Runs are named by their start in nanoseconds since 1970, as 20 digits.

    `restart_at` is when the policy starts it again (unix seconds), `restarts` how often it did so in a row.
    `next_ports` are held beside `ports` while a rebinding is under way; `next_spec` is what a reinstall makes of it as
    soon as that has the image, `spec` what it is until then. `own_image`: its last install left a private
    image, without which it cannot be made again.
    `revision` counts the changes of `spec`; `started_with` is the `startup_digest` that the latest process began with.
    """

    internal_id: str
    node: str
    volume_id: str
    spec: Spec
    ports: tuple[PortBinding, ...]
    state: State
    install_state: InstallState
    container_id: str | None
    job_id: str | None
    created_at: int
    updated_at: int
    run: str | None = None
    ended_run: str | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    error: str | None = None
    deleting: bool = False
    restart_at: float | None = None
    restarts: int = 0
    next_ports: tuple[PortBinding, ...] | None = None
    next_spec: Spec | None = None
    own_image: bool = False
    revision: int = 0
    started_with: str | None = None

    def is_in_run(self, run: str) -> bool:
        """Whether this run goes on. A state may run ahead of the engine: then its run has not begun."""
        return self.state in ALIVE and run > (self.ended_run or "")


SMALLEST_VOLUME_MB = 16
"""A file system of less is mostly itself."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume's record. Only one whose `state` is `ready` is shown.

    While the API is at work on it, that is `creating` or `deleting`; `removing` when its host removes what is left.
    """

    volume_id: str
    node: str
    path: str
    quota_mb: int
    quota_driver: str
    state: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Port:
    """One port of the pool; `node` empty means any host may bind it, `internal_id` empty that nobody holds it."""

    ip: str
    port: int
    protocol: str
    node: str
    internal_id: str
    in_use: bool

    @property
    def member(self) -> str:
        """The name of the port in the pool."""
        return port_member(self.ip, self.port, self.protocol)


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work.

    `arguments` are what the client asked for, where that stands in no other record; `journal` maps the names of
    finished steps to what they left for later ones; `idempotency` names the record of the `Idempotency-Key` that it
    was asked for under; `asked_by` is `master`, a token's id, or `policy`.
    """

    job_id: str
    kind: str
    node: str
    queue: str
    state: str
    created_at: float
    internal_id: str | None = None
    volume_id: str | None = None
    step: str | None = None
    progress: float | None = None
    error: str | None = None
    result: dict[str, Any] | None = None
    finished_at: float | None = None
    attempt: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)
    journal: dict[str, Any] = field(default_factory=dict)
    cancel: bool = False
    waits: bool = False
    request_id: str | None = None
    idempotency: str | None = None
    asked_by: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the job has not ended."""
        return self.state in ("queued", "running")


@dataclass(frozen=True, slots=True)
class Token:
    """An issued token, without its secret. Empty `scopes` and `containers` mean no narrowing."""

    id: str
    expires_at: int
    remove_on_use: bool = False
    scopes: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A Docker host as its agent last described it; one that `must_recover` does not go by this store's contents."""

    id: str
    files_address: str
    last_seen: float
    cpus: int
    memory_bytes: int
    engine_version: str
    must_recover: bool = False
    files_public_url: str = ""

    @property
    def links_url(self) -> str:
        """Where clients reach the files process without the API; empty where they cannot."""
        return self.files_public_url or (self.files_address if self.files_address.startswith("http") else "")


def port_member(ip: str, port: int, protocol: str) -> str:
    """The name of a port in the pool: `ip|port|protocol`."""
    return f"{ip}|{port}|{protocol}"
