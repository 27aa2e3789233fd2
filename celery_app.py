"""Composition of the queues: `celery -A celery_app worker`, and `dispatch` and `beat` for everyone else."""

from __future__ import annotations

from fleet.settings import read_settings
from worker.tasks.broker import create_celery
from worker.tasks.consume import register_tasks
from worker.tasks.dispatch import Dispatcher

settings = read_settings()
app = create_celery(settings)
register_tasks(app, settings)

_dispatcher = Dispatcher(app)
dispatch = _dispatcher.dispatch
beat = _dispatcher.beat
