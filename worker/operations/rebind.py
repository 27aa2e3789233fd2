"""Rebinding: the server's container with other ports, and the same file system.

Until the end the container holds its old and its new ports. First a container that does nothing else tries the new
ports, so that one which cannot be had disturbs nobody. Then the server is stopped, made again and started again.

A container that failed has no server and holds no port: it has others from then on, which its reinstall takes.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from fleet import messages
from fleet.errors import Conflict, EngineUnavailable, LightdError
from fleet.lifecycle import ALIVE, State
from fleet.models import Container
from fleet.repositories.containers import Superseded
from fleet.restart import startup_digest
from worker.operations.engine_start import start_engine_container
from worker.operations.failure import Ending
from worker.operations.install import make, prepared_plan, server_image
from worker.operations.journal import Parked, Step, run_steps
from worker.operations.names import next_name, probe_name, server_name
from worker.operations.replacement import pinned_image, replace_server
from worker.operations.stop import ask_to_end, settle_run
from worker.operations.work import Work
from worker.runtime.base import LABEL_JOB, LABEL_ROLE, ROLE_PROBE, EngineContainer

_KILL_SECONDS = 10.0


def rebind(work: Work) -> bool:
    """Do all steps. True when the job shall be taken up again at once; raises Undone when the old ports stay."""
    if work.container.state is State.FAILED:
        ports = [asdict(port) for port in work.container.next_ports or ()]
        work.write(finish="done", rebound=True, free_ports=True, result={"ports": ports})
        return False
    steps = [
        Step("probe", lambda: _probe(work), lambda: work.host.remove_from_engine(probe_name(work.name))),
        Step("stop", lambda: _stop(work)),
        Step("swap", lambda: _swap(work), lambda: _put_back(work)),
    ]
    try:
        run_steps(work, steps)
    except Parked as parked:
        return parked.ended
    seen = _current(work) if work.journal["swap"]["started"] else None
    ports = [asdict(port) for port in _rebound(work).container.ports]
    _conclude(work, seen, finish="done", rebound=True, result={"ports": ports})
    return False


def end_rebind(work: Work, ending: Ending) -> None:
    """The old ports stay. A server that was stopped for this is started again, unless somebody killed it."""
    if work.container.state is State.FAILED:
        tell = [messages.error(ending.reason)]
        work.write(finish=ending.state, error=ending.reason, tell=tell, rebound=False, free_ports=True)
        return
    seen, reason = _current(work), ending.reason
    work.write(container_id=seen.engine_id if seen else None)
    stopped = work.journal.get("stop", {}).get("start", False)
    if seen and stopped and ending.state == "failed" and not seen.running:
        try:
            seen = _start(work, seen.engine_id)
        except EngineUnavailable:
            raise
        except LightdError as error:
            reason += f" It could not be started again: {error.message}"
    runs = seen if seen and seen.running else None
    _conclude(work, runs, finish=ending.state, error=reason, rebound=False)


def _probe(work: Work) -> dict[str, Any]:
    """Have the engine bind the new ports once. Answers the image that the server's container is made from."""
    image = pinned_image(work) or server_image(work)
    held = {port.member for port in work.container.ports}
    fresh = tuple(port for port in _rebound(work).container.ports if port.member not in held)
    if fresh:
        plan = prepared_plan(work, image)
        labels = {**plan.labels, LABEL_ROLE: ROLE_PROBE}
        plan = replace(plan, name=probe_name(work.name), command=("/bin/sh", "-c", ":"), ports=fresh, labels=labels)
        work.host.remove_from_engine(plan.name)
        start_engine_container(work, make(work, plan))
        work.host.remove_from_engine(plan.name)
    return {"image": image}


def _stop(work: Work) -> dict[str, bool]:
    """Ask a running process to end and park the job. Answers whether it has to be started again."""
    record, seen = work.container, _current(work)
    if record.state in ALIVE and seen is not None and seen.running:
        if record.state is not State.STOPPING:
            work.write(state=State.STOPPING, tell=[messages.event(messages.STOPPING)])
        if ask_to_end(work):
            raise Parked(ended=False)
    ended = bool(record.run and (record.ended_run or "") >= record.run)
    if record.state in ALIVE and not ended and settle_run(work):
        raise Parked(ended=True)
    return {"start": record.state is State.STARTING and ended}


def _swap(work: Work) -> dict[str, bool]:
    """Put a container with the new ports in the old one's place; answers whether it was started."""
    found = _current(work)
    engine_id = found.engine_id if found and _is_new(work, found) else ""
    if not engine_id:
        engine_id = replace_server(_rebound(work), work.journal["probe"]["image"], made_by=work.job.job_id)
    work.write(container_id=engine_id)
    starts = work.journal["stop"]["start"] and work.container.state is State.STARTING
    if starts:
        _start(work, engine_id)
        work.stop_if_cancelled()  # a kill may have looked for the process before it ran
    return {"started": starts}


def _put_back(work: Work) -> None:
    """Have a container with the old ports in its place again."""
    work.host.remove_from_engine(next_name(work.name))
    if "stop" not in work.journal:
        return
    found = _current(work)
    if found is not None and not _is_new(work, found):
        return
    if found is not None and found.running:
        work.host.runtime.signal(found.engine_id, "SIGKILL")
        work.host.runtime.wait(found.engine_id, _KILL_SECONDS)
    replace_server(work, work.journal["probe"]["image"])


def _start(work: Work, engine_id: str) -> EngineContainer:
    work.write(started_with=startup_digest(work.spec))
    start_engine_container(work, engine_id)
    seen = _current(work)
    if seen is None:
        raise Conflict("The container was removed from the engine while it started; start it again.")
    return seen


def _conclude(work: Work, seen: EngineContainer | None, **ending: Any) -> None:
    """End the job and show the run `seen`, or that nothing runs. Raises Superseded."""
    error = ending.get("error")
    told = [messages.error(error)] if error else []
    record = work.host.containers.get(work.name)
    if seen is None:
        if record.state in ALIVE:
            told.insert(0, messages.event(messages.EXIT))
            ending["state"] = State.READY
        work.write(tell=told, **ending)
        return
    try:
        work.write(tell=[*_news(work, record, seen), *told], after_run=seen.run, **_shown(work, record, seen), **ending)
    except Superseded as refusal:
        if str(refusal) != "run":
            raise
        work.write(tell=told, **ending)  # it has ended meanwhile, and the record knows


def _shown(work: Work, record: Container, seen: EngineContainer) -> dict[str, Any]:
    """What the record is to say of a run: nothing new of one that was never stopped."""
    if record.run == seen.run:
        return {} if record.state in (State.STARTING, State.RUNNING) else {"state": State.RUNNING}
    state = State.STARTING if work.spec.start_pattern else State.RUNNING
    return {"run": seen.run, "state": state, "exit_code": None, "oom_killed": False}


def _news(work: Work, record: Container, seen: EngineContainer) -> list[str]:
    shown = _shown(work, record, seen)
    told = [messages.daemon(messages.CONTAINER_STARTED)] if "run" in shown else []
    return [*told, messages.event(messages.RUNNING)] if shown.get("state") is State.RUNNING else told


def _current(work: Work) -> EngineContainer | None:
    return work.host.runtime.inspect(server_name(work.name))


def _is_new(work: Work, found: EngineContainer) -> bool:
    return found.labels.get(LABEL_JOB) == work.job.job_id


def _rebound(work: Work) -> Work:
    """The same work on a container that has its new ports."""
    container = work.container
    return replace(work, container=replace(container, ports=container.next_ports or ()))
