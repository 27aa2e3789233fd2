"""Containers: reading their records and changing them in single atomic steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from fleet import messages
from fleet.errors import Conflict, NotFound
from fleet.keys import key
from fleet.lifecycle import ALIVE, MOVES, Action, InstallState, State, not_allowed
from fleet.models import Container, Job, PortWish, Spec
from fleet.repositories.container_fields import changed_fields, container_from_fields, new_fields
from fleet.repositories.history import History
from fleet.repositories.jobs import job_fields
from fleet.repositories.refusals import PORT_REASONS, creation_error, installing, port_error
from fleet.runs import Run, end_of
from fleet.scripts import Scripts
from fleet.store import Client

_CHANGEABLE = [state for state in State if state is not State.INSTALLING]
"""Where a spec may be changed."""


class Superseded(Exception):
    """A guarded write was refused: another action, another attempt or the end of the run came first."""


class ContainerRepository:
    """All containers of the fleet; `history` is what happened to them."""

    def __init__(self, redis: Client) -> None:
        self.history = History(redis)
        self._redis = redis
        self._scripts = Scripts(redis)

    def get(self, container_id: str) -> Container:
        """One container; raises NotFound."""
        fields = self._redis.hgetall(key("container", container_id))
        if not fields:
            raise NotFound("Container not found", code="container_not_found")
        return container_from_fields(fields)

    def exists(self, container_id: str) -> bool:
        """Whether there is a record of this container."""
        return bool(self._redis.exists(key("container", container_id)))

    def page(self, after: str = "", limit: int = 100) -> tuple[list[Container], str | None]:
        """Up to `limit` containers by name after `after`, and the name to go on from if there may be more."""
        first = f"({after}" if after else "-"
        names = self._redis.zrange(key("containers"), first, "+", bylex=True, offset=0, num=limit)
        return self.many(names), names[-1] if len(names) == limit else None

    def names(self) -> list[str]:
        """Ids of all containers, in order."""
        found: list[str] = self._redis.zrange(key("containers"), 0, -1)
        return found

    def many(self, container_ids: Iterable[str]) -> list[Container]:
        """The containers of these names that exist."""
        with self._redis.pipeline(transaction=False) as pipe:
            for name in container_ids:
                pipe.hgetall(key("container", name))
            return [container_from_fields(fields) for fields in pipe.execute() if fields]

    def of_node(self, node: str) -> list[Container]:
        """Every container of one host."""
        names = self._redis.zrange(key("containers"), 0, -1)
        return [container for container in self.many(names) if container.node == node]

    def create(self, container: Container, wishes: Sequence[PortWish], job: Job) -> str:
        """Record a new container, take its ports and open its install job, all or nothing.

        Answers the id of the job, or of the one that an earlier try of this very call has opened.
        Raises AlreadyExists, NotFound (volume), PortNotInPool, PortTaken or Conflict (no port free).
        """
        request = {
            "container": new_fields(container),
            "ports": [asdict(wish) for wish in wishes],
            "job": job_fields(job),
            "messages": [messages.event(messages.INSTALLING)],
        }
        answer = self._scripts.run("create_container", request)
        if answer[0] == "refused":
            raise creation_error(container.internal_id, answer[1], answer[2:])
        return answer[1] if answer[0] == "same" else job.job_id

    def begin(
        self,
        container: Container,
        action: Action,
        job: Job,
        /,
        *,
        wishes: Sequence[PortWish] | None = None,
        **changes: Any,
    ) -> str:
        """Move a container as `action` asks and open its job; the record, event and orders change together.

        A reinstall takes the ports again that a failed install gave back, and brings a `next_spec`; a rebinding takes
        those of `wishes` beside the ones that it has. Answers the id of the job, or of the one of this kind that is
        under way already.
        A stop or kill of one that waits for its policy's next start cancels that, and its job is done at once.
        Raises ActionNotAllowed, Conflict while another job has the container, PortTaken, PortNotInPool.
        """
        for state in [container.state, *State]:
            if state is State.READY and action in (Action.STOP, Action.KILL) and self._cancel_restart(container, job):
                return job.job_id
            if state not in MOVES[action]:
                continue
            request = _begin_request(container, action, state, job, changes)
            if wishes is not None:
                request["wishes"] = [asdict(wish) for wish in wishes]
            answer = self._scripts.run("transition", request)
            if answer[0] == "same":
                return answer[1]
            if answer[0] == "ok":
                return job.job_id
            if answer[1] != "state":
                _raise_refusal(answer)
        raise not_allowed(action, self.get(container.internal_id).state)

    def _cancel_restart(self, container: Container, job: Job) -> bool:
        """Have nothing started by policy any more; False when nothing was to be."""
        now = time.time()
        request = {
            "id": container.internal_id,
            "at": now,
            "guard": {"states": [State.READY], "restart_due": True},
            "job": job_fields(job),
            "finish": {"job_id": job.job_id, "fields": {"state": "done", "finished_at": now}},
            "messages": [messages.daemon(messages.RESTART_CANCELLED)],
        }
        return self._scripts.run("transition", request)[0] == "ok"

    def restarts_due(self, node: str) -> list[str]:
        """The containers of a host whose policy starts them now."""
        names: list[str] = self._redis.zrangebyscore(key("restarts", node), "-inf", time.time())
        return names

    def start_by_policy(self, container: Container, job: Job) -> bool:
        """Begin the start that is due; False when it is due no more, or somebody is at work on the container."""
        request = _begin_request(container, Action.START, State.READY, job, {})
        request["guard"]["restart_due"] = True
        return self._scripts.run("transition", request)[0] == "ok"

    def amend(self, container_id: str, change: Callable[[Spec], Spec], named: Sequence[str] = ()) -> Container:
        """Change what a container shall be; the record afterwards. `change` may be asked again for a newer spec.

        `named` are the fields that are told in its history.

        Raises NotFound, ActionNotAllowed while it installs, Conflict while it is deleted.
        """
        while True:
            container = self.get(container_id)
            spec = change(container.spec)
            request = {
                "id": container_id,
                "guard": {
                    "states": _CHANGEABLE,
                    "revision": str(container.revision),
                },
                "set": changed_fields({"spec": spec}, container.updated_at if spec == container.spec else time.time()),
                "changed": list(named) or None,
            }
            answer = self._scripts.run("transition", request)
            if answer[0] == "ok":
                return self.get(container_id)
            if answer[1] == "state":
                raise installing()
            if answer[1] != "revision":
                _raise_refusal(answer)

    def open_limits_job(self, job: Job) -> str:
        """Record a job that changes limits; it takes the place of an earlier one that is not done.

        Answers the id of the job, or of the one with the same limits that is under way already.
        Raises NotFound, ActionNotAllowed while the container installs, Conflict while it is deleted.
        """
        answer = self._scripts.run("open_limits_job", {"job": job_fields(job)})
        if answer[0] == "refused":
            if answer[1] == "installing":
                raise installing()
            _raise_refusal(answer)
        return answer[1] if answer[0] == "same" else job.job_id

    def write(
        self,
        name: str,
        job: Job,
        /,
        *,
        finish: str | None = None,
        error: str | None = None,
        tell: Sequence[str] = (),
        after_run: str | None = None,
        wait_until: float | None = None,
        unless_cancelled: bool = False,
        free_ports: bool = False,
        rebound: bool | None = None,
        result: dict[str, Any] | None = None,
        revision: int | None = None,
        **changes: Any,
    ) -> None:
        """Change a record on behalf of a job; `finish` ends the job with that state in the same step.

        `error` goes into job and record, `result` into the job. `wait_until` parks the job until the process ends,
        SIGKILL follows at that time. `unless_cancelled` refuses once somebody has asked for the job to be stopped.
        `free_ports` gives the container's ports back to the pool. `rebound` ends a rebinding: the new ports take the
        place of the old ones, or are given back. `revision` is that of the spec that a new one was made from, which
        is refused (`state`) once an install has begun that brings its own.
        Raises Superseded.
        """
        now = time.time()
        if error is not None:
            changes["error"] = error
        request = {
            "id": name,
            "node": job.node,
            "at": now,
            "guard": {
                "job": job.job_id,
                "attempt": str(job.attempt),
                "after_run": after_run,
                "uncancelled": unless_cancelled or None,
                "revision": None if revision is None else str(revision),
                "states": None if revision is None else _CHANGEABLE,
            },
            "set": changed_fields(changes, now),
            "messages": list(tell),
            "wait": wait_until,
            "free_ports": free_ports or None,
            "rebound": rebound,
        }
        if finish:
            fields = {"state": finish, "finished_at": now, "error": error}
            if result is not None:
                fields["result"] = json.dumps(result)
            request["finish"] = {"job_id": job.job_id, "fields": fields}
        answer = self._scripts.run("transition", request)
        if answer[0] != "ok":
            raise Superseded(answer[1])

    def fail_install(self, container: Container, reason: str) -> bool:
        """An install that its job left unfinished when it ended has failed. False when the record has changed."""
        failed = {"state": State.FAILED, "install_state": InstallState.FAILED, "container_id": None, "error": reason}
        request = {
            "id": container.internal_id,
            "guard": {"states": [State.INSTALLING], "ended_job": container.job_id},
            "set": changed_fields(
                {**failed, "run": None, "ended_run": None, "own_image": False, "next_spec": None}, time.time()
            ),
            "free_ports": True,
            "messages": [messages.event(messages.FAILED), messages.error(reason)],
        }
        return self._scripts.run("transition", request)[0] == "ok"

    def matched(self, container: Container) -> bool:
        """The start pattern was seen: `starting` becomes `running`. False when that came too late."""
        now = time.time()
        request = {
            "id": container.internal_id,
            "guard": {"states": [State.STARTING], "engine_id": container.container_id, "after_run": container.run},
            "set": changed_fields({"state": State.RUNNING}, now),
            "messages": [messages.event(messages.RUNNING), messages.daemon(messages.SERVER_STARTED)],
        }
        return self._scripts.run("transition", request)[0] == "ok"

    def adopt(self, container: Container, run: str) -> bool:
        """A run that nobody asked for was found: the container is `running`. False when the record has changed."""
        request = {
            "id": container.internal_id,
            "guard": {"states": [container.state], "engine_id": container.container_id, "after_run": run},
            "set": changed_fields({"state": State.RUNNING, "run": run}, time.time()),
            "messages": [] if container.state is State.RUNNING else [messages.event(messages.RUNNING)],
        }
        return self._scripts.run("transition", request)[0] == "ok"

    def made_again(self, container: Container, engine_id: str) -> bool:
        """Its engine container was made again, and nobody has told the record. False when the record has changed."""
        request = {
            "id": container.internal_id,
            "guard": {"engine_id": container.container_id or ""},
            "set": changed_fields({"container_id": engine_id}, time.time()),
        }
        return self._scripts.run("transition", request)[0] == "ok"

    def exited(self, container_id: str, node: str, engine_id: str, run: Run) -> tuple[bool, str]:
        """The process has ended. Answers whether that was news, and the id of a job that now goes on, or ''."""
        now = time.time()
        changes = {"ended_run": run.started, "exit_code": run.exit_code, "oom_killed": run.oom_killed}
        request = {
            "id": container_id,
            "node": node,
            "at": now,
            "guard": {"engine_id": engine_id, "after_run": run.started},
            "set": changed_fields(changes, now),
            "ending": None if run.presumed else end_of(run, now),
            "messages": [messages.event(messages.EXIT), messages.daemon(messages.CONTAINER_STOPPED)],
            "restart_messages": [messages.event(messages.STARTING)],
        }
        answer = self._scripts.run("exited", request)
        return answer[0] == "ok", answer[1] if answer[0] == "ok" else ""

    def remove(self, container_id: str, job: Job) -> None:
        """Forget a container and free what it held; ends its delete job. Raises Superseded."""
        guard = {"job": job.job_id, "attempt": str(job.attempt)}
        answer = self._scripts.run("remove_container", {"id": container_id, "at": time.time(), "guard": guard})
        if answer[0] != "ok":
            raise Superseded(answer[1])

    def forget(self, container_id: str) -> None:
        """Forget a container whose host is away, and free what it held; its jobs are over. Raises NotFound."""
        answer = self._scripts.run("remove_container", {"id": container_id, "at": time.time()})
        if answer[0] != "ok":
            _raise_refusal(answer)

    def tell(self, container_id: str, *told: str) -> None:
        """Tell a container's watchers something without changing its record."""
        self._scripts.run("transition", {"id": container_id, "guard": {}, "messages": list(told)})

    def feed(self, container_id: str, after: str = "-", count: int = 512) -> list[tuple[str, str]]:
        """Entries `(id, message)` of the feed after the id `after`, oldest first."""
        first = after if after == "-" else f"({after}"
        entries = self._redis.xrange(key("feed", container_id), first, "+", count=count)
        return [(entry_id, fields["m"]) for entry_id, fields in entries]

    def feed_holds(self, container_id: str, entry_id: str) -> bool:
        """Whether the feed still has this entry, so that nothing after it was dropped."""
        return bool(self._redis.xrange(key("feed", container_id), entry_id, entry_id))

    def snapshot(self, container_id: str) -> tuple[Container | None, str]:
        """A container, None when there is none, and the id of the feed's newest entry, both of the same moment."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(key("container", container_id))
            pipe.xrevrange(key("feed", container_id), count=1)
            fields, entries = pipe.execute()
        return container_from_fields(fields) if fields else None, str(entries[0][0]) if entries else "0-0"

    def last_feed_id(self, container_id: str) -> str:
        """Id of the newest entry of the feed; `0-0` for none."""
        entries = self._redis.xrevrange(key("feed", container_id), count=1)
        return str(entries[0][0]) if entries else "0-0"

    def write_install_log(self, container_id: str, text: str) -> None:
        """Keep the tail of an install's output, unless the container was deleted by force meanwhile."""
        if self.exists(container_id):
            self._redis.set(key("install_log", container_id), text)

    def install_log(self, container_id: str) -> str:
        """The tail of the last install's output."""
        return self._redis.get(key("install_log", container_id)) or ""


def _begin_request(
    container: Container, action: Action, state: State, job: Job, changes: dict[str, Any]
) -> dict[str, Any]:
    """The transition out of `state`: what every action writes besides its own changes."""
    now = time.time()
    destination = MOVES[action][state]
    still_failed = state is destination is State.FAILED
    cancels_install = action is Action.KILL and state is State.INSTALLING
    to_agent = job.queue == "agent" or action is Action.DELETE
    return {
        "id": container.internal_id,
        "node": container.node,
        "at": now,
        "guard": {"states": [state], "revision": str(container.revision) if "next_spec" in changes else None},
        "set": changed_fields({"state": destination, **({} if still_failed else {"error": None}), **changes}, now),
        "job": {
            **job_fields(job),
            "waits": "exit" if action is Action.KILL and state in ALIVE else None,
            "deadline": now + 10 if action is Action.KILL and state in ALIVE else None,
            "aside": "1" if cancels_install else None,
            "step": "start" if action is Action.RESTART and destination is State.STARTING else None,
        },
        "aside": cancels_install or None,
        "take_ports": action is Action.REINSTALL or None,
        "order": json.dumps({"kill": container.internal_id, "job": job.job_id}) if to_agent else None,
        "messages": [messages.event(destination)] if destination is not state else [],
    }


def _raise_refusal(answer: list[str]) -> None:
    if answer[1] == "missing":
        raise NotFound("Container not found", code="container_not_found")
    if answer[1] == "deleting":
        raise Conflict("This container is being deleted.", code="being_deleted")
    if answer[1] == "busy":
        raise Conflict(f"A {answer[2]} of this container is under way; wait for job {answer[3]}.", code="busy")
    if answer[1] in PORT_REASONS:
        raise port_error(answer[1], answer[2])
    if answer[1] == "revision":
        raise Conflict("The container was changed at the same moment; try again.", code="changed_meanwhile")
    raise Superseded(answer[1])
