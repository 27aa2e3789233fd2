"""How gunicorn runs the API: `gunicorn -c app/gunicorn_settings.py wsgi:app`.

gunicorn reads this file before it starts its workers; `app` itself must only be imported in them, after gevent
has patched the standard library.
"""

from __future__ import annotations

import signal
from typing import Any

import gevent

from fleet.settings import read_settings

_settings = read_settings()

bind = [_settings.bind]
workers = _settings.api_workers
worker_class = "gevent"
# Every open WebSocket takes one of these, and at the limit even a plain GET would hang: the sockets have a limit
# of their own that refuses.
worker_connections = _settings.socket_limit + 2000
backlog = 2048
keepalive = 75
timeout = 30
graceful_timeout = 5
preload_app = False
max_requests = 0

# A path of 4 KB percent-encoded in the query; the longest gunicorn allows.
limit_request_line = 8190

# It would be one socket for all gunicorns of this user.
control_socket_disable = True

# The access log would hold the query, and the query may hold a token.
accesslog = None
errorlog = "-"
loglevel = _settings.log_level


def post_worker_init(worker: Any) -> None:
    """Let SIGTERM close the WebSockets. Without that they are cut without a word when the time of grace is over."""
    from app.sockets import leave  # not before the worker exists

    def end() -> None:
        worker.alive = False
        leave(worker.wsgi)

    gevent.signal_handler(signal.SIGTERM, end)


def worker_int(worker: Any) -> None:
    """The same for Ctrl-C, which leaves no time of grace."""
    from app.sockets import leave

    leave(worker.wsgi)
