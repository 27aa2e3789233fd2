"""A line of input for a container: one function, for REST and for sockets."""

from __future__ import annotations

from app.services import Services
from fleet.errors import ActionNotAllowed
from fleet.input_line import input_line
from fleet.lifecycle import State
from fleet.orders import Orders

_LISTENING = (State.STARTING, State.RUNNING)


def send_command(services: Services, container_id: str, text: str) -> None:
    """Write one line to the terminal of a container's process, once; returns when that was done.

    Raises Invalid, NotFound, ActionNotAllowed, Conflict when the process does not take it, Unavailable when the
    host is offline or its engine away, NodeTimeout when its agent is silent.
    """
    line = input_line(text)
    container = services.containers.get(container_id)
    if container.state not in _LISTENING:
        raise ActionNotAllowed(f"Cannot send a command to a container that is {container.state.value}; start it first.")
    services.nodes.online(container.node)
    Orders(services.stores.record, services.stores.blocking).send_input(container.node, container_id, line)
