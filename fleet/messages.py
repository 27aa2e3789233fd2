"""What watchers are told, as the JSON objects of the WebSocket (contract, section 8)."""

from __future__ import annotations

import json
from collections.abc import Mapping

INSTALLING = "installing"
INSTALLED = "installed"
STARTING = "starting"
RUNNING = "running"
STOPPING = "stopping"
EXIT = "exit"
FAILED = "failed"

CONTAINER_STARTED = "Container started"
SERVER_STARTED = "Server started"
CONTAINER_STOPPED = "Container stopped"
CONTAINER_RESTARTED = "Container restarted"
RESTART_CANCELLED = "The restart that was due is cancelled"


def event(name: str) -> str:
    """A change of state."""
    return json.dumps({"event": "event", "data": name})


def at_rest(ended_run: str | None) -> str:
    """The state of a container that is ready, told as its last change was: it was installed, or has ended."""
    return event(EXIT if ended_run else INSTALLED)


def daemon(text: str, seq: int | None = None) -> str:
    """A sentence from Lightd itself; with `seq` it has a place among the container's console messages."""
    event = {"event": "daemon_message", "data": text}
    return json.dumps(event if seq is None else event | {"seq": seq})


def error(text: str) -> str:
    """A sentence from Lightd about something that went wrong."""
    return daemon(f"Error: {text}")


def console(data: str, seq: int) -> str:
    """Whole lines of output; `seq` numbers the container's console messages."""
    return json.dumps({"event": "console", "data": data, "seq": seq})


def duplicate(data: str) -> str:
    """Output once more, for clients that ask for it."""
    return json.dumps({"event": "console duplicate", "data": data})


def with_server(message: str, container_id: str) -> str:
    """A message that says whose it is, for a socket of many containers."""
    return f'{message[:-1]}, "server": {json.dumps(container_id)}}}'


def logs(data: str) -> str:
    """Lines of output on request."""
    return json.dumps({"event": "logs", "data": data})


def progress(job_id: str, step: str, fraction: float | None) -> str:
    """How far a job is, from 0 to 1, or null where nobody knows."""
    return json.dumps({"event": "progress", "job_id": job_id, "step": step, "progress": fraction})


def stats(fields: Mapping[str, float | int | None]) -> str:
    """What a container uses."""
    return json.dumps({"event": "stats", **fields})
