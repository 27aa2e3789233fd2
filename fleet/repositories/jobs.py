"""Jobs: the record of every piece of work, so that no queue needs to be trusted."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from structlog.contextvars import get_contextvars

from fleet.errors import Conflict, NodeTimeout, NotFound, Unavailable
from fleet.identifiers import new_job_id
from fleet.keys import key
from fleet.models import Job
from fleet.repositories.idempotency import current_idempotency
from fleet.scripts import Scripts
from fleet.store import Client

LEASE_SECONDS = 6

CANCELLABLE = ("install", "reinstall", "compress", "decompress", "pull")
"""Kinds of jobs that can be stopped on their way, and then leave nothing behind."""

CANCELLED = "It was cancelled; nothing of it was kept."


class JobRefused(Exception):
    """A job cannot be taken or written any more; the message is the script's reason."""


class Cancelled(Exception):
    """Somebody asked for the job to be cancelled."""


def new_job(
    kind: str,
    node: str,
    queue: str,
    *,
    internal_id: str | None = None,
    volume_id: str | None = None,
    arguments: dict[str, Any] | None = None,
    asked_by: str | None = None,
) -> Job:
    """A job that is not recorded yet. It carries id, caller and idempotency record of the current request, if any."""
    context = get_contextvars()
    return Job(
        job_id=new_job_id(),
        kind=kind,
        node=node,
        queue=queue,
        state="queued",
        created_at=time.time(),
        internal_id=internal_id,
        volume_id=volume_id,
        arguments=arguments or {},
        request_id=context.get("request_id"),
        idempotency=current_idempotency.get(),
        asked_by=asked_by or context.get("asked_by"),
    )


class JobRepository:
    """All jobs; `blocking` is a client that may wait for an answer."""

    def __init__(self, redis: Client, blocking: Client) -> None:
        self._redis = redis
        self._blocking = blocking
        self._scripts = Scripts(redis)

    def get(self, job_id: str) -> Job:
        """One job; raises NotFound."""
        fields = self._redis.hgetall(key("job", job_id))
        if not fields:
            raise _unknown()
        return _from_fields(fields)

    def of_container(self, container_id: str, after: str = "", limit: int = 100) -> tuple[list[Job], str | None]:
        """Up to `limit` of a container's jobs, newest first, from the one after `after` on.

        Answers also the id to go on from if there may be more.
        """
        start = 0
        if after:
            rank = self._redis.zrevrank(key("container_jobs", container_id), after)
            if rank is None:
                return [], None
            start = rank + 1
        names = self._redis.zrevrange(key("container_jobs", container_id), start, start + limit - 1)
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(key("job", name))
            jobs = [_from_fields(fields) for fields in pipe.execute() if fields]
        return jobs, names[-1] if len(names) == limit else None

    def claim(self, job_id: str, worker: str) -> Job:
        """Take a job whose file lock is held; raises JobRefused when it ended, waits or was superseded."""
        request = {"job_id": job_id, "worker": worker, "lease_seconds": LEASE_SECONDS, "at": time.time()}
        answer = self._scripts.run("claim_job", request)
        if answer[0] != "ok":
            raise JobRefused(answer[1])
        return replace(self.get(job_id), attempt=int(answer[1]))

    def update(self, job: Job, tell: Sequence[str] = (), **changes: Any) -> None:
        """Write step, progress or journal; raises JobRefused when stale and Cancelled when asked to stop."""
        answer = self._update(job, {"set": _texts(changes), "messages": list(tell)})
        if answer[1]:
            raise Cancelled

    def finish(self, job: Job, state: str, error: str | None = None, tell: Sequence[str] = (), **changes: Any) -> None:
        """End a job that changes no container; `changes` are further fields, such as its result."""
        ending = {"state": state, "finished_at": time.time(), "error": error, **_texts(changes)}
        self._update(job, {"finish": ending, "messages": list(tell)})

    def _update(self, job: Job, request: dict[str, Any]) -> list[str]:
        request |= {"job_id": job.job_id, "attempt": str(job.attempt)}
        request |= {"container": job.internal_id} if job.internal_id else {"volume": job.volume_id}
        answer = self._scripts.run("update_job", request)
        if answer[0] != "ok":
            raise JobRefused(answer[1])
        return answer

    def open_on_volume(self, job: Job) -> str:
        """Record a new job on a volume, which has one at a time.

        Answers the id of the job, or of the one that an earlier try of this very call has opened.
        Raises NotFound when the volume is not there or not ready, Conflict while another job is on it.
        """
        answer = self._scripts.run("open_volume_job", {"job": job_fields(job)})
        if answer[0] != "refused":
            return answer[1] if answer[0] == "same" else job.job_id
        if answer[1] == "missing":
            raise NotFound("Volume not found", code="volume_not_found")
        raise Conflict(
            f"The volume is busy with job {answer[2]}; try again when that has ended.",
            code="volume_busy",
        )

    def cancel(self, job_id: str) -> None:
        """Ask for a job to be stopped and undone; one on a volume that nobody has begun ends at once.

        Raises NotFound, and Conflict when it has ended or is of a kind that cannot be stopped.
        """
        request = {"job_id": job_id, "kinds": list(CANCELLABLE), "at": time.time(), "error": CANCELLED}
        answer = self._scripts.run("cancel_job", request)
        if answer[0] == "ok":
            return
        if answer[1] == "missing":
            raise _unknown()
        if answer[1] == "ended":
            raise Conflict(f"The job is {answer[2]} already.", code="job_ended")
        raise Conflict(f"A job of kind {answer[2]} cannot be cancelled.", code="not_cancellable")

    def is_cancelled(self, job_id: str) -> bool:
        """Whether somebody asked for the job to be cancelled."""
        return bool(self._redis.hget(key("job", job_id), "cancel"))

    def renew(self, job_ids: Sequence[str], worker: str) -> None:
        """Show that a worker is still on these jobs."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.set(key("lease", job_id), worker, ex=LEASE_SECONDS, xx=True)
            pipe.execute()

    def wait(self, job_id: str, seconds: float) -> Job:
        """The job once it has ended; raises NodeTimeout when that takes longer, Unavailable when the store lost it.

        Any number of callers may wait.
        """
        reply = key("reply", job_id)
        if self._redis.hget(key("job", job_id), "state") in ("queued", "running"):
            # The answer is moved onto its own list, not taken off: it wakes the next who waits.
            answer = self._blocking.blmove(reply, reply, seconds, src="LEFT", dest="RIGHT")
            if answer is None:
                raise NodeTimeout("The node has not finished this yet; see the job.")
        try:
            return self.get(job_id)
        except NotFound as error:  # what the caller asked about may well be there
            raise Unavailable(f"The store has lost job {job_id}; look what was done.", code="job_lost") from error

    def unattended(self, node: str, silent_seconds: float) -> list[Job]:
        """Open jobs of a host that nobody has a lease on and that were enqueued `silent_seconds` ago or more."""
        before = time.time() - silent_seconds
        names = self._redis.zrangebyscore(key("jobs_open", node), "-inf", before)
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(key("job", name))
                pipe.exists(key("lease", name))
            answers = pipe.execute()
        pairs = zip(answers[0::2], answers[1::2], strict=True)
        return [_from_fields(fields) for fields, leased in pairs if fields and not leased and not fields.get("waits")]

    def enqueued(self, job: Job) -> None:
        """Note that a job was put into its queue again just now."""
        self._redis.zadd(key("jobs_open", job.node), {job.job_id: time.time()}, xx=True)

    def overdue(self, node: str) -> list[Job]:
        """Jobs of a host whose wait for an exit has lasted too long; each is named again after 5 s."""
        now = time.time()
        names = self._redis.zrangebyscore(key("deadlines", node), "-inf", now)
        jobs = [self.get(name) for name in names]
        for job in jobs:
            self._redis.zadd(key("deadlines", node), {job.job_id: now + 5}, xx=True)
        return jobs

    def open_count(self, node: str) -> int:
        """How many jobs of a host have not ended."""
        return int(self._redis.zcard(key("jobs_open", node)))


def _unknown() -> NotFound:
    return NotFound("Job not found", code="job_not_found")


def job_fields(job: Job) -> dict[str, Any]:
    """A new job as a script takes it."""
    return {
        "job_id": job.job_id,
        "kind": job.kind,
        "node": job.node,
        "queue": job.queue,
        "state": job.state,
        "created_at": job.created_at,
        "internal_id": job.internal_id,
        "volume_id": job.volume_id,
        "step": job.step,
        "request_id": job.request_id,
        "idempotency": job.idempotency,
        "asked_by": job.asked_by,
        "attempt": job.attempt,
        "arguments": json.dumps(job.arguments) if job.arguments else None,
    }


def _texts(changes: dict[str, Any]) -> dict[str, str]:
    return {
        name: json.dumps(value) if isinstance(value, dict) else "" if value is None else str(value)
        for name, value in changes.items()
    }


def _from_fields(fields: dict[str, str]) -> Job:
    def number(name: str) -> float | None:
        return float(fields[name]) if fields.get(name) else None

    return Job(
        job_id=fields["job_id"],
        kind=fields["kind"],
        node=fields["node"],
        queue=fields["queue"],
        state=fields["state"],
        created_at=float(fields["created_at"]),
        internal_id=fields.get("internal_id"),
        volume_id=fields.get("volume_id"),
        step=fields.get("step"),
        progress=number("progress"),
        error=fields.get("error") or None,
        result=json.loads(fields["result"]) if fields.get("result") else None,
        finished_at=number("finished_at"),
        attempt=int(fields.get("attempt", 0)),
        arguments=json.loads(fields["arguments"]) if fields.get("arguments") else {},
        journal=json.loads(fields["journal"]) if fields.get("journal") else {},
        cancel=bool(fields.get("cancel")),
        waits=bool(fields.get("waits")),
        request_id=fields.get("request_id"),
        asked_by=fields.get("asked_by"),
    )
