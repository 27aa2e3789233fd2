"""Limits of a container, changed while it runs: the engine first, then the record, in a job that is repeated until both
agree.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import structlog

from fleet.errors import Conflict, EngineUnavailable, LightdError, NotFound
from fleet.lifecycle import State
from fleet.models import Limits
from fleet.repositories.containers import Superseded
from fleet.repositories.refusals import installing
from worker.operations.failure import Ending
from worker.operations.names import server_name
from worker.operations.work import Work
from worker.runtime.base import Usage

_log = structlog.get_logger(__name__)


def change_limits(work: Work) -> None:
    """Give the container the limits that the job names, and keep the others. Raises Conflict below current use."""
    work.update(step="limits")
    if work.container.state is State.INSTALLING:
        raise installing()
    wanted = replace(work.spec.limits, **work.job.arguments)
    found = work.host.runtime.inspect(server_name(work.name))  # by name: the record may not know it yet
    engine_id = found.engine_id if found is not None and work.host.is_ours(found) else None
    old = work.spec.limits
    if engine_id is not None:
        _apply(work, engine_id, wanted)
    try:
        _record(work, wanted)
    except Superseded as refusal:
        if str(refusal) != "state":
            raise
        if engine_id is not None:  # where the install gets no image this container stays
            _set(work, engine_id, old)
        raise installing() from refusal


def end_change(work: Work, ending: Ending) -> None:
    """Tell who asked; the limits are as they were."""
    work.host.jobs.finish(work.job, ending.state, ending.reason, result=ending.problem)


def _apply(work: Work, engine_id: str, wanted: Limits) -> None:
    """Bring the engine to the new limits, or back to the old ones."""
    runtime, old = work.host.runtime, work.spec.limits
    used = runtime.usage(engine_id)
    if used is not None:
        _require_room(used, old, wanted)
    try:
        _set(work, engine_id, wanted)
    except EngineUnavailable:
        raise  # whether it has happened shows when it answers again
    except LightdError:
        _log.warning("the engine refused new limits and gets the old ones again", container=work.name)
        _set(work, engine_id, old)
        raise


def _set(work: Work, engine_id: str, limits: Limits) -> None:
    with suppress(NotFound):  # a start makes it again, with the limits of the record
        work.host.runtime.update(engine_id, limits)


def _require_room(used: Usage, old: Limits, wanted: Limits) -> None:
    """Raise Conflict for a limit that is lowered below what is used now; the kernel would kill for it, or not care."""
    checks = (
        ("bytes of memory", used.memory_bytes, old.memory_bytes, wanted.memory_bytes),
        ("bytes of swap", used.swap_bytes, old.swap_bytes, wanted.swap_bytes),
        ("processes and threads", used.pids, old.pids, wanted.pids),
    )
    for unit, use, before, limit in checks:
        if limit != before and use > limit:
            raise Conflict(
                f"The container uses {use} {unit} now, more than {limit}; free some or stop it first.",
                code="below_use",
            )


def _record(work: Work, wanted: Limits) -> None:
    """Write the limits into a spec that clients may be changing at the same time."""
    while True:
        container = work.container
        try:
            work.write(finish="done", revision=container.revision, spec=replace(container.spec, limits=wanted))
        except Superseded as refusal:
            if str(refusal) != "revision":
                raise
            work.container = work.host.containers.get(work.name)
        else:
            return
