"""A real agent process is killed after each step of a kill; the next one brings it to the same end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from fleet.lifecycle import Action
from fleet.models import Job
from fleet.repositories.jobs import JobRepository
from fleet.settings import Settings
from fleet.store import connect
from tests.agent.bench import Bench
from tests.support.deadline import eventually
from tests.worker.deaths.mortal import Fate
from tests.worker.deaths.test_real_deaths import bench
from tests.worker.deaths.trial import Trial
from worker.agent.agent import Agent
from worker.runtime.docker import DockerRuntime

__all__ = ["bench"]

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(900)]

_DEAF = "trap '' TERM; while true; do sleep 1; done"


def of_running(trial: Trial) -> Job:
    trial.running()
    return trial.ask(Action.KILL)


def of_one_that_does_not_stop(trial: Trial) -> Job:
    trial.running()
    assert trial.work_once(trial.ask(Action.STOP)).waits
    return trial.ask(Action.KILL)


def of_ready(trial: Trial) -> Job:
    trial.running()
    killed = trial.ask(Action.KILL)
    trial.vanish()
    return killed


CASES = {"running": of_running, "stopping": of_one_that_does_not_stop, "vanished": of_ready}


@pytest.mark.parametrize("what", CASES)
def test_a_kill_ends_as_if_nothing_was_whatever_step_its_agent_died_after(bench: Bench, what: str) -> None:
    step, died, undisturbed = -1, True, ""
    while died:
        with closing(Trial(bench, install_script=None, startup_command=_DEAF)) as trial:
            job = CASES[what](trial)
            died = step >= 0 and Fate(step).meet_in(an_agent(bench.settings, trial, job))
            assert not Fate(None).meet_in(an_agent(bench.settings, trial, job))
            undisturbed = undisturbed or trial.outcome(job)
            assert trial.outcome(job) == undisturbed, f"after a death after step {step}"
            assert bench.jobs.get(job.job_id).state == "done"
        died, step = died or step < 0, step + 1
    print(f"kill of one that is {what}: {step - 1} deaths")
    assert step > 1


def an_agent(settings: Settings, trial: Trial, job: Job) -> Callable[[], None]:
    """What an agent does that finds the job in the record."""

    def work() -> None:
        stores = connect(settings)
        agent = Agent(settings, stores, DockerRuntime(settings.engine, 30), lambda _: None, lambda *_: None)
        jobs = JobRepository(stores.record, stores.blocking)

        def is_done() -> bool:
            agent.reconciler.compare()
            return not jobs.get(job.job_id).is_open

        agent.inbox.obey({"kill": trial.name, "job": job.job_id})
        eventually(is_done, within_seconds=10, what="the end of the kill")

    return work
