"""How gunicorn runs the files process.

`gunicorn -c storage/server/gunicorn_settings.py "storage.server:create_app()"`
"""

from __future__ import annotations

import logging
import resource
import sys

from fleet.settings import read_settings

# Names on disk are bytes, shown as UTF-8 with surrogates; Python itself must decode them so.
if sys.getfilesystemencoding() != "utf-8":
    sys.exit("The files process needs UTF-8 file names: set PYTHONUTF8=1.")

_settings = read_settings()
_settings.run_folder.mkdir(parents=True, exist_ok=True)

# Walking deep trees holds a descriptor a level, in many threads at once.
_, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_open_files = min(_hard, 65536)
resource.setrlimit(resource.RLIMIT_NOFILE, (_open_files, _hard))

_address = _settings.files_address
bind = _address.replace("unix://", "unix:", 1) if _address.startswith("unix://") else _address.split("://", 1)[-1]
# The socket is for the API's own user only.
umask = 0o177
worker_class = "storage.server.gunicorn_worker.FilesWorker"
workers = 1
threads = _settings.files_threads
# The API keeps its connections, and a crowd that asks for nothing may keep some for ten seconds; a worker thread is
# only held while a call runs.
worker_connections = max(_open_files // 4, threads + 100)
keepalive = 75
# A path of 4 KB percent-encoded in the query; the longest gunicorn allows.
limit_request_line = 8190
timeout = 60
graceful_timeout = 20
# No access log: its lines carry queries. `storage.server.calls` logs what is needed.
accesslog = None
errorlog = "-"
logging.basicConfig(level=_settings.log_level.upper(), format="%(levelname)s %(name)s %(message)s")
loglevel = {"debug": "info"}.get(_settings.log_level, "warning")
# Its control socket would be one for all gunicorns of this user.
control_socket_disable = True
proc_name = "lightd-files"
