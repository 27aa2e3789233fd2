"""Containers print, start, are deleted and made anew: whoever watches, through whichever process, knows the same."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random

import pytest

from fleet import messages
from fleet.lifecycle import Action, State
from fleet.repositories.jobs import new_job
from tests.sockets.conftest import NODE, Api
from tests.support.deadline import eventually
from tests.support.event_socket import Event, EventSocket

STEPS = 300
GONE = ("Container deleted", "Container not found")
READY = (messages.INSTALLED, messages.EXIT)


class Lives:
    """One name, and the containers that have it one after the other; each numbers its lines from nought on."""

    def __init__(self, api: Api, name: str) -> None:
        self.name = name
        self.state: State | None = None
        self.number = 0
        self.printed = 0
        self._api = api

    @property
    def lines(self) -> list[str]:
        """All that the container of now has printed."""
        return [f"{self.number}:{line}" for line in range(self.printed)] if self.state else []

    def step(self, random: Random) -> None:
        """Let something happen."""
        chance = random.random()
        if self.state is None:
            self._begin()
        elif chance < 0.75:
            before, self.printed = self.printed, self.printed + random.randint(1, 4)
            self._api.print(self.name, *self.lines[before:])
        elif self.state is State.RUNNING:
            self._act(Action.STOP, State.READY, messages.EXIT)
        elif chance < 0.9:
            self._act(Action.START, State.RUNNING, messages.RUNNING)
        else:
            self._end()
            if random.random() < 0.5:
                self._begin()

    def _begin(self) -> None:
        self.number, self.printed = self.number + 1, 0
        made = self._api.create(self.name, State.INSTALLING)
        self._finish(made.job_id, State.READY, messages.INSTALLED)

    def _act(self, action: Action, state: State, told: str) -> None:
        job = new_job(action, NODE, "quick", internal_id=self.name)
        self._api.containers.begin(self._api.containers.get(self.name), action, job)
        self._finish(job.job_id, state, told)

    def _finish(self, job_id: str | None, state: State, told: str) -> None:
        job = self._api.claim(job_id or "")
        self._api.containers.write(self.name, job, finish="done", state=state, tell=[messages.event(told)])
        self.state = state

    def _end(self) -> None:
        job = new_job(Action.DELETE, NODE, "quick", internal_id=self.name)
        self._api.containers.begin(self._api.containers.get(self.name), Action.DELETE, job, deleting=True)
        self._api.console.forget(self.name, None)
        self._api.containers.remove(self.name, self._api.claim(job.job_id))
        self.state = None


def told(events: list[Event], lives: Lives) -> tuple[State | None, list[str]]:
    """What somebody who got these events believes of a name: the state, and the lines of its newest container."""
    state: State | None = None
    for event in events:
        if event["event"] == "event":
            state = State.READY if event["data"] in READY else State(event["data"])
        elif event["event"] == "daemon_message" and event["data"].startswith(GONE):
            state = None
    printed = "".join(event["data"] for event in events if event["event"] == "console").splitlines()
    return state, [line for line in printed if state and line.startswith(f"{lives.number}:")]


class Watcher:
    """One of a name, or one of all."""

    def __init__(self, api: Api, lives: list[Lives], random: Random) -> None:
        self._name = random.choice([*lives, None, None])
        if self._name is None:
            self.socket = EventSocket(api.many_url())
            since = {each.name: 0 for each in lives}
            self.socket.send({"event": "subscribe", "containers": random.choice(["*", list(since)]), "since": since})
        else:
            self.socket = api.socket(self._name.name, since=0)

    def agrees(self, lives: Lives) -> bool:
        """Whether it was told of a name what is true, if it is one of those that it watches."""
        if self._name is None:
            events = [event for event in self.socket.events if event.get("server") == lives.name]
            return told(events, lives) == (lives.state, lives.lines)
        return self._name is not lives or told(self.socket.events, lives) == (lives.state, lives.lines)


@pytest.mark.parametrize("seed", [1, 2])
def test_all_watchers_agree_whatever_happens_to_what_they_watch(own_api: Api, seed: int) -> None:
    random = Random(seed)
    lives = [Lives(own_api, name) for name in "abc"]
    with own_api.beside() as other, ExitStack() as opened:
        watchers: list[Watcher] = []
        for step in range(STEPS):
            random.choice(lives).step(random)
            api = random.choice([own_api, other])
            if step % 15 == 0:
                watchers.append(Watcher(api, lives, random))
                opened.enter_context(watchers[-1].socket)
            elif step % 5 == 0:
                api.socket(random.choice(lives).name, since=0).close()
        for watcher in watchers:
            for each in lives:
                eventually(lambda at=watcher, of=each: at.agrees(of), within_seconds=10, what="agreement")
            assert not [event for event in watcher.socket.events if "is lost" in str(event.get("data"))]
