"""`python -m worker.agent`: the agent of this host, until SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading

import structlog

from celery_app import beat, dispatch
from fleet.logs import configure_logging
from fleet.settings import SettingsError, read_settings
from fleet.store import connect
from worker.agent.agent import Agent
from worker.open_files import allow_many
from worker.runtime.docker import DockerRuntime

log = structlog.get_logger()


def main() -> None:
    """Run until a signal says stop."""
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.exit(str(error))
    configure_logging(settings.log_level)
    allow_many()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    runtime = DockerRuntime(settings.engine, settings.engine_timeout_seconds)
    agent = Agent(settings, connect(settings), runtime, dispatch, beat)
    log.info("the agent is at work", node=settings.node, engine=settings.engine)
    agent.run(stop)
    log.info("the agent ends")
    sys.stderr.flush()
    os._exit(0)  # threads that wait for an engine or store that hangs must not hold up the end; nothing is lost by it


if __name__ == "__main__":
    main()
