"""Start: bring the server's process up, and be sure whose process runs when something else came in between."""

from __future__ import annotations

import structlog

from fleet import messages
from fleet.errors import Conflict, NotFound
from fleet.lifecycle import State
from fleet.repositories.containers import Superseded
from fleet.restart import startup_digest
from storage.volumes.sparse import check_host_room
from worker.operations.engine_start import start_engine_container
from worker.operations.failure import Ending
from worker.operations.install import create_server, prepared_plan
from worker.operations.work import Work
from worker.runtime.base import LABEL_PLAN, ContainerPlan, EngineContainer

_GRACEFUL = ("stop", "restart", "delete")

_log = structlog.get_logger(__name__)


def start(work: Work) -> None:
    """Start the process and show it."""
    start_process(work, messages.CONTAINER_STARTED)


def start_process(work: Work, announcement: str) -> None:
    """Start the process; `running` at once unless a start pattern must be seen first."""
    work.update(step="start")
    seen = _started(work)
    told = [messages.daemon(announcement)]
    if not work.spec.start_pattern:
        told.append(messages.event(messages.RUNNING))
    try:
        work.write(
            finish="done",
            tell=told,
            after_run=seen.run,
            run=seen.run,
            state=State.STARTING if work.spec.start_pattern else State.RUNNING,
            exit_code=None,
            oom_killed=False,
        )
    except Superseded:
        _give_way(work, seen)
        raise


def end_start(work: Work, ending: Ending) -> None:
    """Show the container as it was before, and why."""
    work.write(
        finish=ending.state,
        error=ending.reason,
        tell=[messages.event(messages.EXIT), messages.error(ending.reason)],
        state=State.READY,
    )


def _started(work: Work) -> EngineContainer:
    """The running engine container.

    One that is missing, misses its network, or is not what the record asks for any more is made again. Nothing is
    lost by that: its own layer is read-only, and what an install left there is in the private image.
    """
    runtime = work.host.runtime
    found = runtime.inspect(work.container.container_id) if work.container.container_id else None
    if found is not None and found.running:
        return found  # an earlier attempt has started it
    plan = _noted_plan(work)
    check_host_room(work.host.settings, work.container.volume_id)
    work.host.check_volume(work.container.volume_id)
    if found is None or found.labels.get(LABEL_PLAN) != plan.labels[LABEL_PLAN]:
        engine_id = _recreated(work)
    else:
        engine_id = found.engine_id
    try:
        start_engine_container(work, engine_id)
    except NotFound:
        engine_id = _recreated(work)
        start_engine_container(work, engine_id)
    seen = runtime.inspect(engine_id)
    if seen is None:
        raise Conflict("The container was removed from the engine while it started; start it again.")
    return seen


def _noted_plan(work: Work) -> ContainerPlan:
    """What is to be started, written down as that before anything of it is used: a change from then on is told as
    one that the process does not see.

    The plan also looks at mounts again: the engine follows links at every start, and a container that may write
    there can have made some since the last.
    """
    while True:
        spec = work.spec
        work.write(started_with=startup_digest(spec))
        work.container = work.host.containers.get(work.name)
        if work.spec == spec:
            return prepared_plan(work, spec.image)


def _recreated(work: Work) -> str:
    _log.info("the engine container is made again", container=work.name)
    work.host.runtime.ensure_network(work.host.settings.network)
    engine_id = create_server(work)
    try:
        work.write(container_id=engine_id)
    except Superseded:
        work.host.containers.made_again(work.container, engine_id)  # the older one is gone all the same
        raise
    return engine_id


def _give_way(work: Work, seen: EngineContainer) -> None:
    """Something came in between. If that was a kill, it may have looked before this process ran: end it now."""
    try:
        current = work.host.containers.get(work.name).job_id
        job = work.host.jobs.get(current) if current else None
    except NotFound:
        job = None
    if job is not None and job.is_open and job.kind in _GRACEFUL:
        return  # it waits for this lock and finds the process itself
    if work.host.runtime.signal(seen.engine_id, "SIGKILL"):
        _log.info("a process that was started too late was ended", container=work.name)
