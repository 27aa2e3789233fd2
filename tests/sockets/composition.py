"""The API on the stores of a test, run by a real gunicorn; jobs are recorded and go nowhere.

Besides Lightd's own routes it tells what the sockets hold on to, so that tests can see leaks.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import gevent
from flask import Flask

from app import create_app
from app.auth import public
from app.sockets import following
from fleet.logs import configure_logging
from fleet.models import Job
from fleet.settings import read_settings
from fleet.store import connect
from tests.sockets.conftest import CONSOLE_SECONDS


def compose() -> Flask:
    """What gunicorn serves."""
    following._CONSOLE_SECONDS = float(os.environ.get(CONSOLE_SECONDS, following._CONSOLE_SECONDS))
    settings = read_settings()
    configure_logging(settings.log_level)
    composed = create_app(settings, connect(settings), _dispatch)
    composed.add_url_rule("/held", view_func=public(_held))
    return composed


def _dispatch(_job: Job) -> None:
    """No worker here."""


def _held() -> dict[str, Any]:
    """What this process holds on to for its sockets."""
    from flask import current_app

    live = current_app.extensions["lightd.sockets"]
    gc.collect()
    objects = gc.get_objects()
    greenlets = [thing for thing in objects if issubclass(type(thing), gevent.Greenlet) and not thing.dead]
    return {
        "pid": os.getpid(),
        "clients": len(live.registry),
        "watches": sum(hub.watch_count for hub in live.hubs),
        "greenlets": len(greenlets),
        "objects": len(objects),
        "memory_kb": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024,
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


app = compose()
