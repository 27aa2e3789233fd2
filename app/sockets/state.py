"""How a container's record reads to somebody who begins to watch it."""

from __future__ import annotations

from fleet import messages
from fleet.lifecycle import State
from fleet.models import Container


def state_message(container: Container) -> str:
    """The current state, told as the last change of state was: a container at rest was installed, or has ended."""
    if container.state is State.READY:
        return messages.at_rest(container.ended_run)
    return messages.event(container.state.value)


def not_found_message(container_id: str) -> str:
    """For a watcher of a container that does not exist, or not yet."""
    return messages.daemon(f"Container not found: {container_id}. Its events will follow once it exists.")
