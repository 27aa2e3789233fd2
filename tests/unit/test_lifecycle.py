"""The lifecycle table says what may happen when, and refusals name the way out."""

from __future__ import annotations

import pytest

from fleet.lifecycle import ALIVE, MOVES, Action, State, not_allowed

LEGAL = [
    (Action.START, State.READY, State.STARTING),
    (Action.STOP, State.RUNNING, State.STOPPING),
    (Action.STOP, State.STARTING, State.STOPPING),
    (Action.KILL, State.STOPPING, State.STOPPING),
    (Action.KILL, State.INSTALLING, State.INSTALLING),
    (Action.RESTART, State.READY, State.STARTING),
    (Action.RESTART, State.RUNNING, State.STOPPING),
    (Action.REINSTALL, State.FAILED, State.INSTALLING),
    (Action.REBIND, State.FAILED, State.FAILED),
    (Action.REPAIR, State.FAILED, State.FAILED),
    (Action.DELETE, State.RUNNING, State.RUNNING),
]


@pytest.mark.parametrize(("action", "state", "expected"), LEGAL)
def test_an_allowed_action_leads_to_its_state(action: Action, state: State, expected: State) -> None:
    assert MOVES[action][state] is expected


ILLEGAL = [
    (Action.START, State.RUNNING),
    (Action.START, State.INSTALLING),
    (Action.START, State.FAILED),
    (Action.STOP, State.READY),
    (Action.KILL, State.READY),
    (Action.RESTART, State.INSTALLING),
    (Action.REINSTALL, State.RUNNING),
]


@pytest.mark.parametrize(("action", "state"), ILLEGAL)
def test_a_refused_action_names_the_state_and_what_is_allowed(action: Action, state: State) -> None:
    assert state not in MOVES[action]
    refusal = not_allowed(action, state)
    assert state.value in refusal.message
    for other, moves in MOVES.items():
        assert (f" {other.value}" in refusal.message.split("allowed now:")[1]) == (state in moves)


def test_every_state_can_be_left_or_deleted() -> None:
    for state in State:
        assert state in MOVES[Action.DELETE]


def test_a_process_may_run_only_in_states_that_can_be_killed() -> None:
    assert all(state in MOVES[Action.KILL] for state in ALIVE)
