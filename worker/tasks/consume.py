"""The tasks as a worker process takes them: decode, call a plain function, return nothing."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import celeryd_init, setup_logging, worker_init

from fleet.logs import configure_logging
from fleet.repositories.nodes import NodeRepository
from fleet.settings import Settings
from fleet.store import connect
from worker.tasks.dispatch import BEAT, RUN

if TYPE_CHECKING:
    from worker.operations.run import Runner


class Consumer:
    """What a worker process needs for its tasks; made when the process is a worker, for others it stays empty."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runner: Runner | None = None
        self._nodes: NodeRepository | None = None

    def begin(self, **_signal: Any) -> None:
        """Connect to stores and engine. Other processes import this module too: they never pay for it."""
        from worker.operations.compose import create_runner

        self._nodes = NodeRepository(connect(self._settings).record, self._settings.node_timeout_seconds)
        self._runner = create_runner(self._settings)

    def log(self, **_signal: Any) -> None:
        """Log as all other processes do; that a job came and went is in its record."""
        configure_logging(self._settings.log_level)
        for name in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def run(self, job_id: str) -> None:
        """Do one job."""
        if self._runner is None:
            raise RuntimeError("This process is not a worker.")
        self._runner.run(job_id)

    def beat(self, node: str, queue: str) -> None:
        """Show that this queue is consumed."""
        if self._nodes is None:
            raise RuntimeError("This process is not a worker.")
        self._nodes.beat(node, queue)


def register_tasks(app: Celery, settings: Settings) -> None:
    """Make `app` able to consume."""
    consumer = Consumer(settings)
    app.task(name=RUN)(consumer.run)
    app.task(name=BEAT)(consumer.beat)
    celeryd_init.connect(_expect_root, weak=False)
    worker_init.connect(consumer.begin, weak=False)
    setup_logging.connect(consumer.log, weak=False)


def _expect_root(**_signal: Any) -> None:
    """Workers mount and hand over files, so they run as root; Celery's warning is about pickled messages."""
    warnings.filterwarnings("ignore", category=SecurityWarning)
