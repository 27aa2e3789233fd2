"""`./lightd up`: from an empty machine to a Lightd that is ready."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from fleet.settings import Settings
from scripts import instance, token
from scripts.engine import ensure_engine
from scripts.failure import Failure
from scripts.logs import last_lines
from scripts.parent_death import dies_with_parent
from scripts.plan import Plan, log_folder
from scripts.processes import processes
from scripts.supervisor import ALREADY_RUNNING

CHECKOUT = Path(__file__).parents[1]
READY_SECONDS = 60
_POLL_SECONDS = 0.1
_LAST_LINES = 15
_FOLDERS = {"run": 0o700, "volumes": 0o700, "containers": 0o700, "log": 0o750, "store": 0o750, "stream": 0o750}


def up(settings: Settings, *, detach: bool) -> int:
    """Start everything and wait until it is ready; in the foreground stay until it ends. Answers the exit code.

    Raises Failure with what to do when something is in the way.
    """
    make_folders(settings)
    if instance.supervisor_pid(settings) is not None:
        return _join(settings)
    _require_free_port(settings)
    ensure_engine(settings)
    supervisor = _start_supervisor(settings, detach=detach)
    if not detach:
        _leave_signals_to(supervisor)
    try:
        _wait_ready(settings, supervisor.poll)
        _greet(settings)
    except Failure as failure:
        if supervisor.poll() == ALREADY_RUNNING:
            return _join(settings)
        if detach or supervisor.poll():
            raise
        if supervisor.poll() is None:
            failure.show()
    return 0 if detach else supervisor.wait()


def _join(settings: Settings) -> int:
    """Another `up` was first: say so, and the same as it."""
    click.echo(f"Lightd is already running (supervisor {instance.supervisor_pid(settings)}).")
    _wait_ready(settings, lambda: None if instance.supervisor_pid(settings) else 1)
    _greet(settings)
    return 0


def make_folders(settings: Settings) -> None:
    """The folders in `settings.data` that processes expect. Raises Failure when they can't be made.

    Other users of this host may enter none that has clients' files or scripts: some may have the containers' user id.
    """
    try:
        for name, mode in _FOLDERS.items():
            folder = settings.data / name
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            folder.chmod(mode)
    except OSError as error:
        raise Failure(
            f"The folder {error.filename} cannot be made ({error.strerror}); run as root, or set LIGHTD_DATA."
        ) from error


def _require_free_port(settings: Settings) -> None:
    address, _, port = settings.bind.rpartition(":")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.strip("[]"), int(port)))
        except (OSError, OverflowError) as error:
            raise Failure(f"The API cannot listen on {settings.bind} ({error}); set LIGHTD_BIND.") from error


def _start_supervisor(settings: Settings, *, detach: bool) -> subprocess.Popen[str]:
    """The supervisor, in a session of its own when detached; else it ends with this process."""
    plan = Plan(settings.data, CHECKOUT, processes(settings))
    with (log_folder(settings.data) / "supervisor.log").open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "scripts.supervisor", *([] if detach else ["--show"])],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL if detach else None,
            stderr=log,
            text=True,
            start_new_session=detach,
            preexec_fn=None if detach else dies_with_parent(signal.SIGTERM),
        )
    if supervisor.stdin is not None:
        supervisor.stdin.write(plan.to_json())
        supervisor.stdin.close()
    return supervisor


def _wait_ready(settings: Settings, supervisor_ended: Callable[[], int | None]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not (state := instance.readiness(settings)).ready:
        if supervisor_ended() is not None:
            raise Failure(f"The supervisor ended; read {log_folder(settings.data) / 'supervisor.log'}.")
        if state.answer == instance.STORE_UNKNOWN:
            raise Failure(state.answer)
        if time.monotonic() > deadline:
            raise _not_ready(settings, state)
        time.sleep(_POLL_SECONDS)


def _not_ready(settings: Settings, state: instance.Readiness) -> Failure:
    name = _suspect(settings, state)
    path = log_folder(settings.data) / f"{name}.log"
    lines = "".join(f"\n  {line}" for line in last_lines(path, _LAST_LINES))
    return Failure(
        f"Lightd is not ready after {READY_SECONDS} s: {state.answer} It keeps trying; `./lightd down` ends it. "
        f"Read {path}, which ends with:{lines}"
    )


def _suspect(settings: Settings, state: instance.Readiness) -> str:
    """The process to look at first: one that keeps ending, else one that `/readyz` misses, else the API."""
    ended = max(instance.running(settings), key=lambda process: process.restarts, default=None)
    if ended is not None and ended.restarts:
        return ended.name
    own = [name.partition("/")[2] or "agent" for name in state.missing if name.split("/")[0] == settings.node]
    return own[0] if own else "api"


def _greet(settings: Settings) -> None:
    url = instance.url(settings)
    try:
        secret = shown = token.current(settings)
    except Failure as failure:
        secret, shown = "<token>", failure.message
    click.echo(f"\nLightd is ready at {url}\nToken: {shown}\n\nTry:")
    click.echo(f"  curl {url}/api/v1/public/ping")
    click.echo(
        f"  curl -X POST {url}/volumes -H 'Authorization: Bearer {secret}' -H 'Accept: Application/vnd.pkglatv1+json'\n"
    )


def _leave_signals_to(supervisor: subprocess.Popen[str]) -> None:
    """Ctrl-C reaches the supervisor from the terminal by itself; SIGTERM is passed on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.terminate())
