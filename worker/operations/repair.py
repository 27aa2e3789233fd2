"""Repair: the record compared with the engine, and what is safe to mend mended at once.

A running server is not touched: what can only be mended by making its container again is left, and told.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from fleet import messages
from fleet.errors import Conflict
from fleet.lifecycle import ALIVE, State
from fleet.runs import Run
from worker.console.ended_run import ended_run
from worker.operations.container_folder import ENTRYPOINT
from worker.operations.failure import Ending
from worker.operations.install import prepared_plan, pull_image, server_image
from worker.operations.names import install_name, next_name, private_image, probe_name, server_name
from worker.operations.replacement import pinned_image, replace_server
from worker.operations.work import Work
from worker.runtime.base import NEVER_RUN, EngineContainer


@dataclass(slots=True)
class Findings:
    """Sentences about what was mended, and about what somebody has to do."""

    repaired: list[str] = field(default_factory=list)
    remaining: list[str] = field(default_factory=list)


def repair(work: Work) -> None:
    """Compare and mend; the job's result tells what. Every part is fine when repeated."""
    work.update(step="repair")
    findings = Findings()
    _mend_host(work, findings)
    _remove_leftovers(work, findings)
    if work.container.state is not State.FAILED:
        _mend_image(work, findings)
        found = _mend_container(work, findings)
        _mend_state(work, found, findings)
    result = {"repaired": findings.repaired, "remaining": findings.remaining}
    work.write(finish="done", result=result, tell=[messages.daemon(sentence) for sentence in findings.repaired])


def end_repair(work: Work, ending: Ending) -> None:
    """Say why it could not be repaired."""
    work.write(finish=ending.state, error=ending.reason, tell=[messages.error(ending.reason)])


def _mend_host(work: Work, findings: Findings) -> None:
    """What the container needs of its host."""
    host = work.host
    if not host.volumes.is_mounted(work.container.volume_id):
        host.volumes.ensure_mounted(work.container.volume_id)
        findings.repaired.append("The volume was not mounted on the host; it is mounted again.")
    if host.firewall is not None and host.firewall.is_here() and host.firewall.missing():
        host.firewall.ensure()
        left = host.firewall.missing()
        findings.remaining += left
        if not left:
            findings.repaired.append("Rules of the host's firewall were missing; they are in place again.")


def _remove_leftovers(work: Work, findings: Findings) -> None:
    """Engine containers that no job is using: this one holds the container."""
    names = [install_name(work.name), next_name(work.name), probe_name(work.name)]
    if work.container.state is State.FAILED:
        names.append(server_name(work.name))
    for name in names:
        found = work.host.runtime.inspect(name)
        if found is not None and work.host.is_ours(found) and found.container_id == work.name:
            work.host.runtime.remove(found.engine_id)
            findings.repaired.append(f"A leftover container {name} was removed from the engine.")


def _mend_image(work: Work, findings: Findings) -> None:
    """A private image that lost its name is still what the container was made from."""
    runtime, private = work.host.runtime, private_image(work.name)
    if not work.container.own_image or runtime.has_image(private):
        return
    found = _server(work)
    if found is None:
        return
    if runtime.image_id(found.image_id) is None:
        findings.remaining.append(
            "The private image is lost; the container works only until it must be made again: reinstall it."
        )
        return
    runtime.commit(found.engine_id, private)
    findings.repaired.append("The private image was missing; it was made again from the container.")


def _mend_container(work: Work, findings: Findings) -> EngineContainer:
    """The server's container as the record wants it."""
    runtime = work.host.runtime
    found = _server(work)
    if found is None:
        image = server_image(work)
        if not runtime.has_image(image):
            pull_image(work, work.spec)
            findings.repaired.append(f"The image {image} was missing; it was pulled again.")
        work.write(container_id=replace_server(work, image))
        findings.repaired.append("The engine had no container; it was made again.")
        return _existing(work)
    if found.paused:
        runtime.resume(found.engine_id)
        findings.repaired.append("The container was paused in the engine; it goes on.")
    if not (work.host.data_folder(work.name) / ENTRYPOINT).exists():
        findings.repaired.append("The start script was missing; it was written again.")
    differences = runtime.differences(found.engine_id, prepared_plan(work, found.image))
    if found.running and "limits" in differences:
        runtime.update(found.engine_id, work.spec.limits)
        differences.remove("limits")
        findings.repaired.append(
            "The container in the engine had other limits than the record; they are as recorded now."
        )
    told = f"The container in the engine had other {_listed(differences)} than the record"
    if differences and found.running:
        findings.remaining.append(f"{told}; stop it and repair it again.")
    elif differences:
        work.write(container_id=replace_server(work, pinned_image(work) or found.image))
        findings.repaired.append(f"{told}; it was made again.")
        return _existing(work)
    if work.container.container_id != found.engine_id:
        work.write(container_id=found.engine_id)
        findings.repaired.append("The record named another container of the engine.")
    return found


def _mend_state(work: Work, found: EngineContainer, findings: Findings) -> None:
    """The engine's truth wins."""
    record = work.host.containers.get(work.name)
    if found.running and (record.state not in ALIVE or record.run != found.run):
        state = State.STARTING if work.spec.start_pattern and record.state is State.STARTING else State.RUNNING
        told = [messages.event(messages.RUNNING)] if state is not record.state else []
        work.write(state=state, run=found.run, after_run=found.run, tell=told)
        findings.repaired.append(f"The container runs although the record said {record.state.value}.")
    elif not found.running and record.state in ALIVE:
        is_news = found.run > (record.ended_run or NEVER_RUN)
        last_end = work.host.containers.history.last_end(work.name)
        run = ended_run(found, last_end) if is_news else Run(f"{time.time_ns():020d}", presumed=True)
        work.host.containers.exited(work.name, work.job.node, found.engine_id, run)
        findings.repaired.append(f"The container does not run although the record said {record.state.value}.")


def _server(work: Work) -> EngineContainer | None:
    """The server's container; raises Conflict for a stranger of that name."""
    found = work.host.runtime.inspect(server_name(work.name))
    if found is not None and not work.host.is_ours(found):
        raise Conflict(f"The engine has a container named {found.name} that is not ours; rename or remove it.")
    return found


def _existing(work: Work) -> EngineContainer:
    found = _server(work)
    if found is None:
        raise Conflict("The container was removed from the engine while it was repaired; repair it again.")
    return found


def _listed(names: list[str]) -> str:
    *others, last = names or [""]
    return f"{', '.join(others)} and {last}" if others else last
