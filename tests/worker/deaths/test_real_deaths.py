"""A real worker process is killed after each step of every kind of job; the next one ends the job as if nothing was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.images import Image

from fleet.lifecycle import Action
from fleet.models import Job
from fleet.store import Client
from tests.agent.bench import Bench, new_settings
from tests.worker.deaths.trial import Trial

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture
def bench(
    engine: docker.DockerClient, busybox_image: Image, store: Client, store_url: str, tmp_path: Path
) -> Iterator[Bench]:
    """A host without an agent."""
    made = Bench(engine, new_settings(tmp_path, store_url))
    try:
        made.runtime.ensure_network(made.settings.network)
        yield made
    finally:
        made.close()


def reinstalled(trial: Trial) -> Job:
    trial.ready()
    return trial.ask(Action.REINSTALL)


def started(trial: Trial) -> Job:
    trial.ready()
    return trial.ask(Action.START)


def of_running(action: Action) -> Callable[[Trial], Job]:
    def begin(trial: Trial) -> Job:
        trial.running()
        return trial.ask(action)

    return begin


def rebound(trial: Trial) -> Job:
    trial.running()
    return trial.rebind()


def repaired(trial: Trial) -> Job:
    trial.ready()
    trial.vanish()
    return trial.ask(Action.REPAIR)


def limited(trial: Trial) -> Job:
    trial.running()
    return trial.limit()


_PLAIN = {"install_script": None}
_FAILS = {"install_script": "#!/bin/sh\nmkdir -p /opt\nexit 3\n"}


@dataclass(frozen=True)
class Case:
    """How a job is begun, how many steps it has at least, and how it ends."""

    begin: Callable[[Trial], Job]
    least_steps: int
    spec: dict[str, Any] = field(default_factory=dict)
    ends: str = "done"


JOBS = {
    "install": Case(Trial.create, 15),
    "failing install": Case(Trial.create, 6, _FAILS, ends="failed"),
    "reinstall": Case(reinstalled, 15),
    "start": Case(started, 3, _PLAIN),
    "stop": Case(of_running(Action.STOP), 3, _PLAIN),
    "restart": Case(of_running(Action.RESTART), 6, _PLAIN),
    "rebind-network": Case(rebound, 15, _PLAIN),
    "repair": Case(repaired, 4),
    "resources": Case(limited, 3, _PLAIN),
    "delete": Case(of_running(Action.DELETE), 4),
}


@pytest.mark.parametrize("kind", JOBS)
def test_a_job_ends_as_if_nothing_was_whatever_step_its_worker_died_after(bench: Bench, kind: str) -> None:
    case = JOBS[kind]
    with closing(Trial(bench, **case.spec)) as trial:
        job = case.begin(trial)
        assert trial.work(job).state == case.ends
        undisturbed = trial.outcome(job)
    step, died = 0, True
    while died:
        with closing(Trial(bench, **case.spec)) as trial:
            job = case.begin(trial)
            trial.work(job, die_after_step=step)
            died = trial.died
            assert trial.outcome(job) == undisturbed, f"after a death after step {step}"
        step += 1
    print(f"{kind}: {step - 1} deaths")
    assert step > case.least_steps
