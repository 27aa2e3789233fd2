"""Running the install script in a container of its own, to its end, its time limit or its cancellation."""

from __future__ import annotations

import threading
import time

import structlog

from fleet.errors import Conflict, LightdError
from fleet.pattern import plain_text
from fleet.repositories.jobs import Cancelled
from worker.operations.container_folder import INSTALL_INSIDE, write_install
from worker.operations.engine_start import start_engine_container
from worker.operations.names import install_name
from worker.operations.plans import install_plan
from worker.operations.work import Work
from worker.runtime.base import LABEL_JOB, NEVER_RUN, EngineContainer

_MB = 1024 * 1024
_LOOK_SECONDS = (0.1, 1.0)
_FASTEST_WRITER = 2 * 1024 * _MB
"""Bytes a second: the next look at the disk comes before a script this fast can have filled it."""

_LAYER_LOOK_SECONDS = 3.0
_RELAY_SECONDS = 10.0
_LOG_LINES = 2000
_LOG_BYTES = 64 * 1024
_REASON_LINES = 3
_REASON_CHARACTERS = 400
_NOT_STARTED = (126, 127)

_log = structlog.get_logger(__name__)


class InstallFailed(LightdError):
    """The script failed; the message says how, with its last words."""

    code = "install_failed"


def run_install_script(work: Work) -> dict[str, int]:
    """Run the script, or follow it to its end when a worker that died had started it.

    Answers how many bytes it changed outside the volume. Raises InstallFailed, Cancelled.
    """
    engine = _started(work)
    relay = _Relay(work, engine.engine_id)
    try:
        ended = _watch(work, engine)
    except (LightdError, Cancelled):
        work.host.runtime.signal(engine.engine_id, "SIGKILL")
        raise
    finally:
        relay.end()
        log = _keep_log(work, engine.engine_id)
    if ended.oom_killed:
        raise InstallFailed("The install script ran out of memory; raise limits.memory." + _last_words(log))
    if ended.exit_code in _NOT_STARTED and f"exec {INSTALL_INSIDE} failed" in log:
        interpreter = (work.spec.install_script or "").splitlines()[0].removeprefix("#!").strip()
        raise InstallFailed(f"The image has no {interpreter}, which the install script's first line asks for.")
    if ended.exit_code in _NOT_STARTED and "exec /bin/sh failed" in log:
        raise InstallFailed("The image has no /bin/sh, which starts every container here; use another.")
    if ended.exit_code != 0:
        raise InstallFailed(f"The install script ended with exit code {ended.exit_code}." + _last_words(log))
    changed = work.host.runtime.layer_bytes(engine.engine_id)
    _check_layer(work, changed)
    return {"layer_bytes": changed}


def remove_install_container(work: Work) -> None:
    """Remove the script's container, whether it runs or not."""
    work.host.remove_from_engine(install_name(work.name))


def _started(work: Work) -> EngineContainer:
    """The script's container: one that this job made before is kept, one of another job is not."""
    runtime = work.host.runtime
    found = runtime.inspect(install_name(work.name))
    if found is not None and found.labels.get(LABEL_JOB) == work.job.job_id and found.run != NEVER_RUN:
        return found
    if found is not None:
        remove_install_container(work)
    work.host.containers.write_install_log(work.name, "")
    data = work.host.data_folder(work.name)
    command = write_install(data, work.spec.install_script or "")
    volume = work.host.volumes.ensure_mounted(work.container.volume_id)
    engine_id = runtime.create(install_plan(work.host.settings, work.container, command, volume, data))
    start_engine_container(work, engine_id)
    started = runtime.inspect(engine_id)
    if started is None:
        raise Conflict("The install container was removed from the engine by somebody else.")
    return started


class _Relay:
    """Passes the script's output on to the console, in a thread beside the one that watches over the script."""

    def __init__(self, work: Work, engine_id: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(work, engine_id), name="relay", daemon=True)
        self._thread.start()

    def _run(self, work: Work, engine_id: str) -> None:
        host = work.host
        try:
            host.relay(host.console, host.settings, work.name, engine_id, self._stop.is_set)
        except LightdError as error:
            _log.warning("the install's output cannot be shown", container=work.name, reason=error.message)

    def end(self) -> None:
        """Let it finish what there is, for a while."""
        self._thread.join(_RELAY_SECONDS)
        self._stop.set()
        self._thread.join(_RELAY_SECONDS)


def _watch(work: Work, engine: EngineContainer) -> EngineContainer:
    """Wait for the end of the script. Its layer is counted now and then, which takes long for many files; what the host
    has left is looked at all the time.

    Raises InstallFailed, Cancelled, Conflict when the host's own disk is nearly full, and QuotaExceeded.
    """
    runtime, limit_seconds = work.host.runtime, work.spec.install_timeout_seconds
    deadline = engine.started_at + limit_seconds
    next_layer_look = time.monotonic() + _LAYER_LOOK_SECONDS
    shortest, longest = _LOOK_SECONDS
    look_seconds = shortest
    while True:
        left = max(deadline - time.time(), 0)
        ended = runtime.wait(engine.engine_id, min(left, look_seconds))
        work.stop_if_cancelled()
        if ended is not None:
            return ended
        room_bytes = work.host.check_disk(_MB)
        look_seconds = min(max(room_bytes / _FASTEST_WRITER, shortest), longest)
        if time.time() >= deadline:
            raise InstallFailed(f"The install script took longer than {limit_seconds} seconds and was ended.")
        if time.monotonic() >= next_layer_look:
            began = time.monotonic()
            _keep_log(work, engine.engine_id)
            _check_layer(work, runtime.layer_bytes(engine.engine_id))
            work.host.check_volume(work.container.volume_id)
            cost_seconds = time.monotonic() - began
            next_layer_look = time.monotonic() + max(_LAYER_LOOK_SECONDS, 20 * cost_seconds)


def _check_layer(work: Work, layer_bytes: int) -> None:
    """Raise InstallFailed for a layer that is too large."""
    limit_mb = work.host.settings.install_layer_mb
    if layer_bytes > limit_mb * _MB:
        raise InstallFailed(
            f"The install script wrote more than {limit_mb} MB outside the volume; let it write to /home/container."
        )


def _keep_log(work: Work, engine_id: str) -> str:
    """Keep the tail of the script's output in the record, and answer it."""
    raw = work.host.runtime.log_tail(engine_id, _LOG_LINES)[-_LOG_BYTES:]
    text = raw.replace(b"\r\n", b"\n").decode("utf-8", "replace")
    work.host.containers.write_install_log(work.name, text)
    return text


def _last_words(log: str) -> str:
    lines = [line for line in plain_text(log.encode()).decode("utf-8", "replace").splitlines() if line.strip()]
    words = " / ".join(line.strip() for line in lines[-_REASON_LINES:])
    return f" It said last: {words[-_REASON_CHARACTERS:]}" if words else ""
