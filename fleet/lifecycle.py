"""The states of a container and the one table of actions that a state allows."""

from __future__ import annotations

from enum import StrEnum

from fleet.errors import ActionNotAllowed


class State(StrEnum):
    """Where a container is in its life."""

    INSTALLING = "installing"
    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


class InstallState(StrEnum):
    """What came of the last install."""

    INSTALLING = "installing"
    READY = "ready"
    FAILED = "failed"


class Action(StrEnum):
    """What a client may ask of a container. The value is also the kind of the job that does it."""

    INSTALL = "install"
    START = "start"
    STOP = "stop"
    KILL = "kill"
    RESTART = "restart"
    REINSTALL = "reinstall"
    REBIND = "rebind-network"
    REPAIR = "repair"
    DELETE = "delete"


ALIVE = (State.STARTING, State.RUNNING, State.STOPPING)
"""States in which a process of the container may run."""

MOVES: dict[Action, dict[State, State]] = {
    Action.START: {State.READY: State.STARTING},
    Action.STOP: {State.STARTING: State.STOPPING, State.RUNNING: State.STOPPING},
    Action.KILL: {
        State.INSTALLING: State.INSTALLING,
        State.STARTING: State.STOPPING,
        State.RUNNING: State.STOPPING,
        State.STOPPING: State.STOPPING,
    },
    Action.RESTART: {
        State.READY: State.STARTING,
        State.STARTING: State.STOPPING,
        State.RUNNING: State.STOPPING,
    },
    Action.REINSTALL: {State.READY: State.INSTALLING, State.FAILED: State.INSTALLING},
    Action.REBIND: {state: state for state in (State.READY, State.STARTING, State.RUNNING, State.FAILED)},
    Action.REPAIR: {state: state for state in State if state is not State.INSTALLING},
    Action.DELETE: {state: state for state in State},
}
"""For each action: the states it may be asked in, and the state it leads to at once.

What failed is healed by a reinstall; where its ports went to others meanwhile, by a rebinding before that.
"""


def not_allowed(action: Action, state: State) -> ActionNotAllowed:
    """The error for an action that `state` does not allow."""
    allowed = ", ".join(known.value for known, moves in MOVES.items() if state in moves)
    return ActionNotAllowed(f"Cannot {action.value} a container that is {state.value}; allowed now: {allowed}.")
