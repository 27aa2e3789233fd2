"""Stop and restart: ask the process to end, note when SIGKILL follows, and wait in no thread."""

from __future__ import annotations

import time

import structlog

from fleet import messages
from fleet.errors import Conflict
from fleet.lifecycle import State
from worker.console.ended_run import ended_run
from worker.operations.failure import Ending
from worker.operations.start import end_start, start_process
from worker.operations.work import Work
from worker.runtime.base import EngineContainer

_log = structlog.get_logger(__name__)


def stop(work: Work) -> None:
    """Ask the process to end. The agent sees its end, or sends SIGKILL when the time is over."""
    if not ask_to_end(work):
        _settle(work)


def restart(work: Work) -> bool:
    """End the process, or start it when it has ended. True when the job shall be taken up again at once."""
    if work.job.step == "start":
        start_process(work, messages.CONTAINER_RESTARTED)
        return False
    if ask_to_end(work):
        return False
    if settle_run(work):
        return True
    work.write(state=State.STARTING, tell=[messages.event(messages.STARTING)])
    start_process(work, messages.CONTAINER_RESTARTED)
    return False


def end_stop(work: Work, ending: Ending) -> None:
    """Show the container as it is, and why it could not be stopped."""
    seen = _seen(work)
    runs = seen is not None and seen.running
    work.write(
        finish=ending.state,
        error=ending.reason,
        tell=[messages.event(messages.RUNNING if runs else messages.EXIT), messages.error(ending.reason)],
        state=State.RUNNING if runs else State.READY,
    )


def end_restart(work: Work, ending: Ending) -> None:
    """A restart failed in its first half like a stop, in its second like a start."""
    if work.host.jobs.get(work.job.job_id).step == "start":
        end_start(work, ending)
    else:
        end_stop(work, ending)


def ask_to_end(work: Work) -> bool:
    """Send the stop command or signal and leave the job to the agent; False when nothing runs."""
    work.update(step="stop")
    seen = _seen(work)
    if seen is None or not seen.running or not _sent(work, seen):
        return False
    # From here the agent may move the job on, or give it to another worker: that one shall wait for the lock.
    work.lock.disown()
    work.write(wait_until=time.time() + work.spec.stop_timeout_seconds, after_run=seen.run)
    return True


def _sent(work: Work, seen: EngineContainer) -> bool:
    """Whether the request reached a running process."""
    if not work.spec.stop_command:
        return work.host.runtime.signal(seen.engine_id, work.spec.stop_signal)
    try:
        work.host.runtime.write_input(seen.engine_id, work.spec.stop_command.rstrip("\n").encode() + b"\n")
    except Conflict:
        return False
    return True


def _seen(work: Work) -> EngineContainer | None:
    engine_id = work.container.container_id
    return work.host.runtime.inspect(engine_id) if engine_id else None


def _settle(work: Work) -> None:
    """Nothing runs: the container is ready."""
    if not settle_run(work):
        told = [messages.event(messages.EXIT), messages.daemon(messages.CONTAINER_STOPPED)]
        work.write(finish="done", state=State.READY, tell=told)


def settle_run(work: Work) -> bool:
    """Write down the end of the last run, which ends or moves on the job too; False when that was known."""
    seen = _seen(work)
    if seen is None or work.container.container_id is None:
        return False
    containers = work.host.containers
    run = ended_run(seen, containers.history.last_end(work.name))
    was_news, _ = containers.exited(work.name, work.job.node, seen.engine_id, run)
    return was_news
