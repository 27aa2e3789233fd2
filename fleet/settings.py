"""Settings: `LIGHTD_*` environment variables, read once, typed, each with a default.

`docs/settings.md` lists them in a table that a test compares with this file.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from environs import Env, EnvError

from fleet.identifiers import NODE_NAME
from fleet.models import SMALLEST_VOLUME_MB

_MAY_BE_ZERO = (
    "default_memory_mb",
    "image_prune_hours",
    "default_cpu",
    "disk_floor_mb",
    "stop_timeout_seconds",
    "console_lines_per_second",
)
_LEAST_SPARSE_FLOOR_MB = 64
_STORE_SCHEMES = "redis://, rediss://, unix://"
_FILES_SCHEMES = "http://, https://, unix://"


class SettingsError(Exception):
    """A variable has a value that cannot be used; the message names it and says what is expected."""


def _setting(variable: str, default: Any, meaning: str) -> Any:
    """Declare a field read from `variable`; `meaning` is the sentence in the docs table."""
    metadata = {"variable": variable, "meaning": meaning}
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of all processes. Units stand in the names."""

    data: Path = _setting(
        "LIGHTD_DATA", Path("/var/lib/lightd"), "Folder for volumes, embedded stores, secrets, sockets."
    )
    redis_url: str = _setting(
        "LIGHTD_REDIS_URL", "", "Record store and broker. Empty: an embedded Valkey under `LIGHTD_DATA`."
    )
    stream_url: str = _setting(
        "LIGHTD_STREAM_URL",
        "",
        "Stream store for consoles, best with a `maxmemory` and the policy `volatile-lru`. Empty: the record store, "
        "or a second embedded Valkey when that is embedded too.",
    )
    stream_memory_mb: int = _setting("LIGHTD_STREAM_MEMORY_MB", 256, "Memory of the embedded stream store.")
    store_memory_mb: int = _setting(
        "LIGHTD_STORE_MEMORY_MB", 1024, "Memory of the embedded record store; it refuses writes beyond it."
    )
    node: str = _setting("LIGHTD_NODE", "", "Name of this host in the fleet. Empty: the host name.")
    secret: str = _setting(
        "LIGHTD_SECRET",
        "",
        "Key that signs calls between API and hosts, the same on all. Empty: made once in `LIGHTD_DATA/secret`.",
    )
    bind: str = _setting("LIGHTD_BIND", "127.0.0.1:8070", "Address and port of the API.")
    api_workers: int = _setting("LIGHTD_API_WORKERS", 2, "API processes on this host.")
    max_body_bytes: int = _setting("LIGHTD_MAX_BODY_BYTES", 16 * 1024 * 1024, "Largest JSON body the API reads.")
    login_failures_per_minute: int = _setting(
        "LIGHTD_LOGIN_FAILURES_PER_MINUTE",
        100,
        "Wrong tokens an address may try in a minute; then it gets `429` for whatever could be a guess.",
    )
    idempotency_keys: int = _setting(
        "LIGHTD_IDEMPOTENCY_KEYS", 10_000, "Idempotency keys that one token may use in 24 hours; then it gets `429`."
    )
    trusted_proxies: tuple[str, ...] = _setting(
        "LIGHTD_TRUSTED_PROXIES",
        (),
        "Addresses or networks, comma separated, of proxies whose `X-Forwarded-For`, `-Host`, `-Proto` are believed.",
    )
    files_url: str = _setting(
        "LIGHTD_FILES_URL",
        "",
        "Where the API reaches this host's files process. Empty: a Unix socket under `LIGHTD_DATA`; else `http://host:port`.",
    )
    files_public_url: str = _setting(
        "LIGHTD_FILES_PUBLIC_URL",
        "",
        "Where clients reach this host's files process, for example through a proxy with TLS: `https://host:port`. "
        "Empty: `LIGHTD_FILES_URL`, or only through the API.",
    )
    files_threads: int = _setting(
        "LIGHTD_FILES_THREADS", 64, "Threads of the files process: how many calls and transfers it serves at once."
    )
    quick_threads: int = _setting("LIGHTD_QUICK_THREADS", 12, "Short jobs (power, deletion) this host does at once.")
    long_threads: int = _setting("LIGHTD_LONG_THREADS", 12, "Long jobs (pulls, installs) this host works on at once.")
    engine: str = _setting("LIGHTD_ENGINE", "unix:///var/run/docker.sock", "The Docker engine of this host.")
    engine_timeout_seconds: int = _setting(
        "LIGHTD_ENGINE_TIMEOUT_SECONDS", 60, "How long one call to the engine may take."
    )
    network: str = _setting(
        "LIGHTD_NETWORK",
        "lightd",
        "Name of the engine network and of its bridge (at most 12 letters, digits or dashes).",
    )
    firewall: bool = _setting(
        "LIGHTD_FIREWALL",
        True,
        "Keep containers from reaching the host's own services, the stores and metadata addresses (iptables).",
    )
    private_networks: bool = _setting(
        "LIGHTD_PRIVATE_NETWORKS",
        True,
        "Let containers connect to private networks (10.0.0.0/8 and the like); answers from them always get there.",
    )
    volume_driver: str = _setting(
        "LIGHTD_VOLUME_DRIVER",
        "auto",
        "`loop` (size kept by the kernel), `directory` (size only checked, and containers ended that go beyond it), or "
        "`auto`: `loop` where it works.",
    )
    volume_allocation: str = _setting(
        "LIGHTD_VOLUME_ALLOCATION",
        "full",
        "`full` takes a volume's disk space when it is made, `sparse` as it fills.",
    )
    volume_size_mb: int = _setting("LIGHTD_VOLUME_SIZE_MB", 1024, "Size of a volume when the request names none.")
    volume_max_mb: int = _setting("LIGHTD_VOLUME_MAX_MB", 1024 * 1024, "Largest size a volume may have.")
    pull_private: bool = _setting(
        "LIGHTD_PULL_PRIVATE", False, "Let a pull from a URL reach addresses that are not on the public internet."
    )
    disk_floor_mb: int = _setting(
        "LIGHTD_DISK_FLOOR_MB",
        512,
        "Free disk space, also where the engine works, below which no volume is made, no image pulled and no install "
        "script goes on; with sparse volumes also below which none grows, is written to or has a container started on "
        "it.",
    )
    container_user: str = _setting(
        "LIGHTD_CONTAINER_USER", "1000:1000", "`uid:gid` that containers run as and that owns their files."
    )
    default_memory_mb: int = _setting(
        "LIGHTD_DEFAULT_MEMORY_MB", 1024, "Memory limit of a container that names none; 0 for no limit."
    )
    default_cpu: float = _setting(
        "LIGHTD_DEFAULT_CPU",
        1.0,
        "Processor limit, in cores, of a container that names none; 0 for no limit.",
    )
    default_pids: int = _setting("LIGHTD_DEFAULT_PIDS", 512, "Process limit of a container that names none.")
    tmp_mb: int = _setting("LIGHTD_TMP_MB", 64, "Size of a container's `/tmp`, and of its `/dev/shm`.")
    images_allowed: tuple[str, ...] = _setting(
        "LIGHTD_IMAGES_ALLOWED",
        (),
        "Images that containers may be made from, comma separated, with `*` for any characters:"
        " `debian,ghcr.io/acme/*:stable`. Empty: all.",
    )
    registry_logins: str = _setting(
        "LIGHTD_REGISTRY_LOGINS",
        "",
        'A file `{"ghcr.io": {"username": "…", "password": "…"}}` that only its owner can read: logins for pulls.',
    )
    image_prune_hours: int = _setting(
        "LIGHTD_IMAGE_PRUNE_HOURS",
        0,
        "Remove images that Lightd pulled and no container has used for so many hours; 0 keeps them.",
    )
    allowed_mounts: tuple[str, ...] = _setting(
        "LIGHTD_ALLOWED_MOUNTS", (), "Host folders, comma separated, below which containers may mount."
    )
    install_timeout_seconds: int = _setting(
        "LIGHTD_INSTALL_TIMEOUT_SECONDS",
        1800,
        "How long an install script may run when the request names no time.",
    )
    install_layer_mb: int = _setting(
        "LIGHTD_INSTALL_LAYER_MB",
        4096,
        "What an install script may change outside the volume; each file counts as 4 kB at least.",
    )
    stop_timeout_seconds: int = _setting(
        "LIGHTD_STOP_TIMEOUT_SECONDS", 30, "How long a stopping container has before SIGKILL."
    )
    log_mb: int = _setting(
        "LIGHTD_LOG_MB",
        10,
        "Size at which the engine rotates a container's log; it keeps three, more while its console is behind.",
    )
    console_history_kb: int = _setting(
        "LIGHTD_CONSOLE_HISTORY_KB", 2048, "Output of each container kept for `?since=` and `request_logs`."
    )
    console_lines_per_second: int = _setting(
        "LIGHTD_CONSOLE_LINES_PER_SECOND",
        10_000,
        "What a container may print in the long run, five seconds' worth at once; more is only counted. 0: no limit.",
    )
    socket_message_bytes: int = _setting(
        "LIGHTD_SOCKET_MESSAGE_BYTES", 64 * 1024, "Largest message a WebSocket client may send."
    )
    socket_backlog_bytes: int = _setting(
        "LIGHTD_SOCKET_BACKLOG_BYTES",
        2 * 1024 * 1024,
        "What may wait for a slow WebSocket client before it is closed with 4408.",
    )
    socket_messages_per_second: int = _setting(
        "LIGHTD_SOCKET_MESSAGES_PER_SECOND", 50, "Messages a WebSocket client may send in a second; more are dropped."
    )
    socket_store_seconds: int = _setting(
        "LIGHTD_SOCKET_STORE_SECONDS",
        30,
        "How long WebSockets outlive a store that cannot be reached; then they are closed with 4503.",
    )
    socket_limit: int = _setting(
        "LIGHTD_SOCKET_LIMIT", 10000, "WebSocket connections that all API processes take together."
    )
    sockets_per_container: int = _setting(
        "LIGHTD_SOCKETS_PER_CONTAINER", 5000, "WebSocket connections that all API processes take for one container."
    )
    sockets_per_token: int = _setting(
        "LIGHTD_SOCKETS_PER_TOKEN", 5000, "WebSocket connections that all API processes take from one token."
    )
    socket_subscriptions: int = _setting(
        "LIGHTD_SOCKET_SUBSCRIPTIONS", 1000, "Containers that one WebSocket of many may follow."
    )
    socket_origins: tuple[str, ...] = _setting(
        "LIGHTD_SOCKET_ORIGINS",
        (),
        "Origins, comma separated, of web pages that may open WebSockets: `https://panel.example.com`, or `*` for all. "
        "Empty: pages of the host that they connect to.",
    )
    node_timeout_seconds: int = _setting(
        "LIGHTD_NODE_TIMEOUT_SECONDS", 15, "Silence after which a host counts as offline."
    )
    log_level: str = _setting("LIGHTD_LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`.")

    @property
    def run_folder(self) -> Path:
        """Sockets, lock files and process ids of this host."""
        return self.data / "run"

    @property
    def files_address(self) -> str:
        """Where the API reaches this host's files process: `unix:///…` or `http://host:port`."""
        return self.files_url or f"unix://{self.run_folder / 'files.sock'}"

    @property
    def store_address(self) -> str:
        """URL of the record store."""
        return self.redis_url or f"unix://{self.run_folder / 'store.sock'}"

    @property
    def stream_address(self) -> str:
        """URL of the stream store."""
        if self.stream_url:
            return self.stream_url
        return self.redis_url or f"unix://{self.run_folder / 'stream.sock'}"

    @property
    def owner(self) -> tuple[int, int]:
        """`(uid, gid)` of containers and their files."""
        uid, gid = self.container_user.split(":")
        return int(uid), int(gid)

    def signing_key(self) -> str:
        """The key for calls between API and hosts; made on first use when no variable gives it."""
        if self.secret:
            return self.secret
        path = self.data / "secret"
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            return _create_secret(path)


def _create_secret(path: Path) -> str:
    """Write a new secret once, readable by the owner only; of two writers the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_urlsafe(32) + "\n")
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        return path.read_text().strip()
    finally:
        fresh.unlink()
    return path.read_text().strip()


def read_settings() -> Settings:
    """Read the environment; raises SettingsError naming the variable that is wrong."""
    env = Env()
    values: dict[str, Any] = {}
    for item in fields(Settings):
        variable = item.metadata["variable"]
        try:
            values[item.name] = _read(env, variable, item.type, getattr(Settings(), item.name))
        except EnvError as error:
            raise SettingsError(f"{variable}: {error}") from error
    values["node"] = values["node"] or socket.gethostname()
    settings = Settings(**values)
    _check(settings)
    return settings


def _read(env: Env, variable: str, kind: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        listed: list[str] = env.list(variable, [])
        return tuple(part for part in listed if part)
    readers: dict[str, Any] = {"Path": env.path, "int": env.int, "float": env.float, "bool": env.bool, "str": env.str}
    return readers[str(kind)](variable, default)


def _lowest_numbers(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    """A rule for each number: none may be negative, and only some may be 0."""
    for item in fields(Settings):
        value = getattr(settings, item.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            lowest = 0 if item.name in _MAY_BE_ZERO else 1
            yield item.metadata["variable"], value >= lowest, f"a number from {lowest} on"


def _is_url(text: str, schemes: str) -> bool:
    return not text or any(text.startswith(scheme) and text != scheme for scheme in schemes.split(", "))


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _check(settings: Settings) -> None:
    rules = [
        (
            "LIGHTD_NODE",
            NODE_NAME.fullmatch(settings.node),
            "letters, digits, dots and dashes",
        ),
        (
            "LIGHTD_NETWORK",
            re.fullmatch(r"[a-z0-9-]{1,12}", settings.network),
            "at most 12 small letters, digits or dashes",
        ),
        ("LIGHTD_CONTAINER_USER", re.fullmatch(r"\d+:\d+", settings.container_user), "numbers as uid:gid"),
        (
            "LIGHTD_VOLUME_DRIVER",
            settings.volume_driver in ("auto", "loop", "directory"),
            "auto, loop or directory",
        ),
        ("LIGHTD_VOLUME_ALLOCATION", settings.volume_allocation in ("full", "sparse"), "full or sparse"),
        (
            "LIGHTD_DISK_FLOOR_MB",
            settings.volume_allocation == "full" or settings.disk_floor_mb >= _LEAST_SPARSE_FLOOR_MB,
            f"at least {_LEAST_SPARSE_FLOOR_MB} with sparse volumes, which lose what is written to them on a full disk",
        ),
        (
            "LIGHTD_VOLUME_SIZE_MB",
            SMALLEST_VOLUME_MB <= settings.volume_size_mb <= settings.volume_max_mb,
            f"from {SMALLEST_VOLUME_MB} to LIGHTD_VOLUME_MAX_MB, which is {settings.volume_max_mb}",
        ),
        (
            "LIGHTD_LOG_LEVEL",
            settings.log_level in ("debug", "info", "warning", "error"),
            "debug, info, warning or error",
        ),
        ("LIGHTD_BIND", re.fullmatch(r".+:\d{1,5}", settings.bind), "address:port"),
        ("LIGHTD_REDIS_URL", _is_url(settings.redis_url, _STORE_SCHEMES), f"empty or a URL: {_STORE_SCHEMES}"),
        ("LIGHTD_STREAM_URL", _is_url(settings.stream_url, _STORE_SCHEMES), f"empty or a URL: {_STORE_SCHEMES}"),
        ("LIGHTD_FILES_URL", _is_url(settings.files_url, _FILES_SCHEMES), f"empty or a URL: {_FILES_SCHEMES}"),
        (
            "LIGHTD_FILES_PUBLIC_URL",
            re.fullmatch(r"(https?://[^/\s?#]+(/[^\s?#]*)?)?", settings.files_public_url),
            "empty or a URL such as https://files.example.com",
        ),
        ("LIGHTD_ALLOWED_MOUNTS", all(map(os.path.isabs, settings.allowed_mounts)), "absolute paths"),
        (
            "LIGHTD_SOCKET_ORIGINS",
            all(re.fullmatch(r"\*|https?://[^/\s]+/?", origin) for origin in settings.socket_origins),
            "* or origins such as https://panel.example.com",
        ),
        ("LIGHTD_TRUSTED_PROXIES", all(map(_is_network, settings.trusted_proxies)), "addresses or networks"),
        *_lowest_numbers(settings),
    ]
    for variable, ok, expected in rules:
        if not ok:
            raise SettingsError(f"{variable} must be {expected}.")
