"""Composition of the API: `gunicorn -c app/gunicorn_settings.py wsgi:app`."""

from __future__ import annotations

from app import create_app
from celery_app import dispatch
from fleet.logs import configure_logging
from fleet.settings import read_settings
from fleet.store import connect

_settings = read_settings()
configure_logging(_settings.log_level)
app = create_app(_settings, connect(_settings), dispatch)
