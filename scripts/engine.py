"""The Docker engine of this host: found, or installed and started where that is allowed."""

from __future__ import annotations

import http.client
import json
import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from fleet.settings import Settings
from scripts.failure import Failure
from scripts.packages import find, install_missing
from scripts.plan import log_folder

PROGRAMS = {"dockerd": "docker.io", "iptables": "iptables", "mkfs.ext4": "e2fsprogs"}
_ASK_SECONDS = 10
_TCP_PORT = 2375
_START_SECONDS = 60
_SERVICE_SECONDS = 5


def ensure_engine(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Make sure that an engine answers at `settings.engine`; a `dockerd` started here goes on when we end.

    Answers that process, or None when the engine was there or is a service. Raises Failure with what to do.
    """
    if version(settings.engine):
        return None
    if not settings.engine.startswith("unix://"):
        raise Failure(f"No Docker engine answers at {settings.engine}; start it there, or set LIGHTD_ENGINE.")
    if settings.engine != Settings().engine and version(Settings().engine):
        raise Failure(
            f"No Docker engine answers at {settings.engine}, but one does at {Settings().engine}; "
            "correct LIGHTD_ENGINE, or start that engine yourself."
        )
    if os.geteuid() != 0:
        raise Failure(
            f"No Docker engine answers at {settings.engine} for this user; start one (sudo systemctl start docker), "
            "join the group docker, or run as root."
        )
    if find("dockerd") is None and platform.freedesktop_os_release().get("ID") not in ("debian", "ubuntu"):
        raise Failure("There is no Docker engine; install one from your distribution's packages and start it.")
    install_missing(PROGRAMS)
    if _wait(settings.engine, _SERVICE_SECONDS if _is_starting() else 0):
        return None
    if Path("/run/systemd/system").is_dir():
        _start_service(settings)
        return None
    return start_dockerd(settings.engine, log_folder(settings.data) / "dockerd.log")


def version(address: str) -> str | None:
    """The version of the engine that answers there; None when there is none. Needs no more than HTTP."""
    connection = _connection(address)
    try:
        connection.request("GET", "/version")
        return str(json.loads(connection.getresponse().read())["Version"])
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return None
    finally:
        connection.close()


def start_dockerd(address: str, log: Path, more: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start `dockerd` in a session of its own, with `more` options, and wait until it answers. Raises Failure."""
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"Starting dockerd, its log is {log} ...", flush=True)
    with log.open("ab") as output:
        daemon = subprocess.Popen(
            [find("dockerd") or "dockerd", "--host", address, *more],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    if _wait(address, _START_SECONDS, daemon):
        return daemon
    end_dockerd(daemon)
    last = (log.read_text(errors="replace").splitlines() or ["nothing"])[-1]
    raise Failure(f"dockerd did not start; its log {log} ends with: {last}")


def end_dockerd(daemon: subprocess.Popen[bytes]) -> None:
    """End a `dockerd` that `start_dockerd` started, and wait for it."""
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(_START_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ASK_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_ASK_SECONDS)
        self.sock.connect(self._path)


def _connection(address: str) -> http.client.HTTPConnection:
    url = urlsplit(address)
    if url.scheme == "unix":
        return _UnixConnection(url.path)
    return http.client.HTTPConnection(url.hostname or "", url.port or _TCP_PORT, timeout=_ASK_SECONDS)


def _start_service(settings: Settings) -> None:
    done = subprocess.run(["systemctl", "start", "docker"], capture_output=True, text=True)
    if done.returncode != 0 or not _wait(settings.engine, _START_SECONDS):
        raise Failure("The docker service does not start; read `journalctl -u docker`.")


def _is_starting() -> bool:
    """Whether a dockerd runs already, for instance because its package has just started it."""
    try:
        return Path(f"/proc/{Path('/var/run/docker.pid').read_text().strip()}").is_dir()
    except OSError:
        return False


def _wait(address: str, limit_seconds: float, daemon: subprocess.Popen[bytes] | None = None) -> bool:
    deadline = time.monotonic() + limit_seconds
    while not version(address):
        if time.monotonic() >= deadline or (daemon is not None and daemon.poll() is not None):
            return False
        time.sleep(0.1)
    return True
