"""Telling a host's workers that there is something to do."""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from fleet.errors import Unavailable
from fleet.models import Job
from worker.tasks.broker import queue_of

RUN = "lightd.run"
BEAT = "lightd.beat"
_BEAT_EXPIRY_SECONDS = 20


class Dispatcher:
    """The way into the hosts' queues."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def dispatch(self, job: Job) -> None:
        """Put a job's id into its queue; jobs of the agent need none. Raises Unavailable at once without a broker."""
        if job.queue != "agent":
            self._send(RUN, [job.job_id], job.node, job.queue)

    def beat(self, node: str, queue: str) -> None:
        """Ask whoever consumes this queue for a sign of life. Raises Unavailable."""
        self._send(BEAT, [node, queue], node, queue, expires=_BEAT_EXPIRY_SECONDS)

    def _send(self, task: str, args: list[str], node: str, queue: str, expires: int | None = None) -> None:
        try:
            self._app.send_task(task, args, queue=queue_of(node, queue), declare=[], retry=False, expires=expires)
        except (OperationalError, RedisError, OSError) as error:
            raise Unavailable("The queue cannot be reached; try again soon.", code="store_unavailable") from error
