"""Whether a running process was started with what the record says now."""

from __future__ import annotations

import hashlib
import json

from fleet.lifecycle import State
from fleet.models import Container, Spec

_UP = (State.STARTING, State.RUNNING)


def startup_digest(spec: Spec) -> str:
    """What a process learns at its start and never again, as a short text to compare."""
    told = json.dumps([spec.startup_command, spec.env], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def restart_needed(container: Container) -> bool:
    """Whether its process has not seen a change that only a start tells it."""
    known = container.started_with
    return container.state in _UP and known is not None and known != startup_digest(container.spec)
