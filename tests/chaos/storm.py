"""A run of chaos: rounds of load and faults from one seed, and after each the look whether all is well again."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from fleet.errors import LightdError
from fleet.lifecycle import State
from tests.chaos.faults import FAULTS, Scene, strike
from tests.chaos.invariants import violations
from tests.chaos.load import Load
from tests.chaos.place import Place
from tests.chaos.timeline import Timeline
from tests.support.deadline import PATIENCE, eventually
from tests.support.ports import free_port

HEALED_SECONDS = 30
_QUIET_SECONDS = 3.0
_POLL_SECONDS = 0.5
MANY = 30
"""So many servers there are before anything goes wrong in a round."""

_SETTLED_SECONDS = 60


@dataclass
class Report:
    """What a run did and found."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    healed_seconds: list[float] = field(default_factory=list)
    last_healed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    servers: int = 0

    @property
    def acknowledged(self) -> int:
        """Calls that were answered with success."""
        return sum(count for status, count in self.answers.items() if status.startswith("2"))

    @property
    def text(self) -> str:
        """For people."""
        healed = ", ".join(f"{seconds:.1f} s" for seconds in self.healed_seconds)
        answers = ", ".join(f"{status}: {count}" for status, count in sorted(self.answers.items()))
        lines = [
            f"chaos from seed {self.seed}: {self.faults.total()} faults of {len(self.faults)} kinds in"
            f" {self.rounds} rounds, {self.servers} servers,"
            f" {self.acknowledged} of {self.answers.total()} calls acknowledged ({answers})",
            f"all was well {healed} after the last fault of each round and after the last start; what healed last:",
            *(f"  {sentence}" for sentence in self.last_healed),
            f"{len(self.broken)} violations",
            *(f"- {sentence}" for sentence in self.broken),
        ]
        return "\n".join(lines)


class Storm:
    """Runs in one place; `timeline` tells what happened."""

    def __init__(self, place: Place, seed: int) -> None:
        self._place = place
        self._random = random.Random(seed)
        self.timeline = Timeline()
        address = f"127.{self._random.randrange(1, 255)}.{free_port() % 250 + 1}.1"
        self._load = Load(seed, place.stack, address, self.timeline)
        self._scene = Scene(place, self._load, self.timeline, self._random, set())
        self.report = Report(seed)

    def run(self, rounds: int, minutes: float = 0) -> Report:
        """So many rounds of every fault, or more until the minutes are over; ends early when a promise is broken."""
        until = time.monotonic() + 60 * minutes
        self._load.settle()
        while self.report.rounds < rounds or time.monotonic() < until:
            self._round()
            if self.report.broken:
                break
        self.report.answers = sum((client.answers for client in self._load.clients), Counter())
        return self.report

    def _round(self) -> None:
        order = self._random.sample(list(FAULTS), len(FAULTS))
        with self._load.working():
            servers = eventually(self._many, within_seconds=_SETTLED_SECONDS, what=f"{MANY} servers")
            self.report.servers = max(self.report.servers, servers)
            for name in order:
                time.sleep(self._random.uniform(0, _QUIET_SECONDS))
                strike(self._scene, name)
                self.report.faults[name] += 1
        self.timeline.note("HEAL", "the load has ended")
        self.report.rounds += 1
        self.report.broken += self._heal() + self.timeline.violations
        if not self.report.broken:
            self.report.broken += self._turn_all() or self._heal()

    def _many(self) -> int:
        """How many servers there are, once they are many."""
        count = sum(server.there is True for server in self._load.servers)
        return count if count >= MANY else 0

    def _turn_all(self) -> list[str]:
        """Start what is at rest and stop what runs: nothing disturbs that any more, so all of it must be done."""
        stack, asked = self._place.stack, {}
        for record in self._place.containers.of_node(self._place.settings.node):
            action = {State.READY: "start", State.RUNNING: "stop"}.get(record.state)
            if action:
                answer = stack.api("POST", f"/containers/{record.internal_id}/{action}")
                asked[record.internal_id, action] = answer.json().get("job_id", answer.text)
        ended = {what: stack.wait_for_job(job_id, _SETTLED_SECONDS) for what, job_id in asked.items()}
        self.timeline.note("HEAL", f"{len(asked)} containers were started or stopped once more")
        return [
            f"At rest the {action} of {name} has {job['state']}: {job['error']}"
            for (name, action), job in ended.items()
            if job["state"] != "done"
        ]

    def _heal(self) -> list[str]:
        """Wait until everything is well; what is not after a long while."""
        began = time.monotonic()
        last = ""
        while True:
            broken = self._broken()
            seconds = time.monotonic() - began
            if broken[:1] != [last]:
                self.timeline.note("HEAL", f"{len(broken)} violations after {seconds:.1f} s {''.join(broken[:1])}")
            if not broken or seconds > HEALED_SECONDS * PATIENCE:
                self.report.healed_seconds.append(seconds)
                self.report.last_healed.append(last)
                return broken
            last = broken[0]
            time.sleep(_POLL_SECONDS)

    def _broken(self) -> list[str]:
        self._place.stack.wait_ready()
        try:
            self._mend_what_strangers_took()
            return violations(self._place, self._load) or self._differences()
        except (OSError, RedisError, LightdError) as error:  # also of requests and of the engine's client
            return [f"Nobody could look whether all is well: {error!r}"]

    def _differences(self) -> list[str]:
        """What an operator would be told at the end; it takes its time, so it comes last."""
        told = self._place.stack.lightd("doctor", check=False)
        return [f"The doctor says: {told.stdout}{told.stderr}"] if told.returncode else []

    def _mend_what_strangers_took(self) -> None:
        """A container that somebody removed comes back with its next start, or, as here, by repair."""
        for name in list(self._scene.removed):
            record = self._place.stack.api("GET", f"/containers/{name}").json()
            if record.get("state") in (State.READY, State.RUNNING):
                answer = self._place.stack.api("POST", f"/containers/{name}/repair")
                if answer.status_code in (409, 503):
                    continue
                self.timeline.note("operator", f"repair of {name} -> {answer.status_code} {answer.text}")
            if record.get("state") not in (State.INSTALLING, State.STARTING, State.STOPPING):
                self._scene.removed.discard(name)
