"""Starting again by policy: when, how often, what cancels it, and that no death in between loses or doubles it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from fleet.errors import ActionNotAllowed, EngineUnavailable
from fleet.keys import key
from fleet.lifecycle import Action, State
from fleet.models import Job
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.nodes import NodeRepository
from fleet.runs import BY_POLICY, Run
from tests.worker.operations.conftest import NODE, Site
from worker.agent.restarts import Restarts
from worker.known_store import KnownStore
from worker.operations.names import server_name
from worker.runtime.memory import MemoryRuntime


class Death(BaseException):
    """The agent process is gone."""


def agent(site: Site, dispatched: list[Job] | None = None) -> Restarts:
    """The part of a new agent that starts what is due; what it enqueues goes into the list."""
    queue = dispatched if dispatched is not None else []
    return Restarts(NODE, site.runtime, site.host.containers, queue.append, store_of(site))


def store_of(site: Site) -> KnownStore:
    """The store as the site's host knows it."""
    return KnownStore(NodeRepository(site.redis, 15), site.host.settings.data, lambda: False)


def crash(site: Site, name: str = "a", exit_code: int = 1, ran_seconds: float = 0) -> None:
    """The process ends by itself, having run so long by the engine's clock, and the agent sees it."""
    container = site.container(name)
    assert container.run and container.container_id
    site.runtime.signal(server_name(name), "SIGKILL")
    ended = f"{int(container.run) + int(ran_seconds * 1e9):020d}"
    run = Run(container.run, exit_code, ended=ended)
    assert site.host.containers.exited(name, NODE, container.container_id, run)[0]


def delay(site: Site, name: str = "a") -> int | None:
    """How many seconds the next start by policy waits, as watchers were told last; None when none is due."""
    at = site.container(name).restart_at
    scores = site.redis.zrange(key("restarts", NODE), 0, -1, withscores=True)
    assert scores == ([] if at is None else [(name, at)]), "record and list agree"
    waits = re.findall(r"starts again in (\d+) s", "\n".join(site.told(name)))
    return None if at is None else int(waits[-1])


def make_due(site: Site, name: str = "a") -> None:
    """Time passes."""
    assert site.redis.zadd(key("restarts", NODE), {name: time.time() - 1}, xx=True, ch=True) == 1


def start_again(site: Site, name: str = "a") -> None:
    """The start that is due happens."""
    make_due(site, name)
    dispatched: list[Job] = []
    agent(site, dispatched).start_due()
    (job,) = dispatched
    assert site.run(job).state == "done"
    assert site.container(name).state is State.RUNNING


def open_jobs(site: Site) -> list[Job]:
    return [job for job in site.host.jobs.of_container("a")[0] if job.is_open]


@pytest.mark.parametrize(
    ("policy", "exit_code", "restarts"),
    [
        ("no", 1, False),
        ("on-crash", 0, False),
        ("on-crash", 1, True),
        ("always", 0, True),
        ("always", 1, True),
    ],
)
def test_the_policy_decides_which_ends_are_followed_by_a_start(
    site: Site, policy: str, exit_code: int, restarts: bool
) -> None:
    site.running("a", restart_policy=policy)
    crash(site, exit_code=exit_code)
    assert site.container("a").state is State.READY
    assert (delay(site) is not None) is restarts


def test_each_crash_waits_twice_as_long_up_to_five_minutes(site: Site) -> None:
    site.running("a", restart_policy="always")
    waited = []
    for _ in range(11):
        crash(site)
        waited.append(delay(site))
        start_again(site)
    assert waited == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_run_that_went_well_begins_the_count_again(site: Site) -> None:
    site.running("a", restart_policy="on-crash", restart_tries=3)
    for _ in range(3):
        crash(site)
        start_again(site)
    crash(site, ran_seconds=301)
    assert delay(site) == 1
    assert site.container("a").restarts == 1


def test_after_the_last_try_it_stays_off_and_that_is_told(site: Site) -> None:
    site.running("a", restart_policy="on-crash", restart_tries=2)
    for _ in range(2):
        crash(site)
        start_again(site)
    crash(site)
    assert delay(site) is None
    assert site.told("a")[-3].endswith("it was started again 2 times and stays off now.")
    found = [happening.event for happening in site.host.containers.history.page("a")[0]]
    assert "restart_given_up" in found
    site.run(site.ask("a", Action.START))
    crash(site)
    assert delay(site) == 1, "a client's start begins anew"


@pytest.mark.parametrize("action", [Action.STOP, Action.KILL])
def test_a_stop_while_the_next_start_waits_cancels_it(site: Site, action: Action) -> None:
    site.running("a", restart_policy="always")
    crash(site)
    job = site.ask("a", action)
    assert site.job(job).state == "done"
    assert delay(site) is None
    assert site.container("a").state is State.READY
    assert site.told("a")[-1] == "The restart that was due is cancelled"
    agent(site).start_due()
    assert open_jobs(site) == []
    with pytest.raises(ActionNotAllowed):
        site.ask("a", action)


@pytest.mark.parametrize("action", [Action.START, Action.RESTART, Action.REINSTALL, Action.DELETE])
def test_any_other_action_takes_the_place_of_the_next_start(site: Site, action: Action) -> None:
    site.running("a", restart_policy="always")
    crash(site)
    job = site.ask("a", action)
    assert delay(site) is None
    assert open_jobs(site) == [site.job(job)]


def test_a_stop_of_a_start_by_policy_is_like_any_other(site: Site) -> None:
    site.running("a", restart_policy="always")
    crash(site)
    start_again(site)
    site.run(site.ask("a", Action.STOP))
    site.see_exit("a")
    assert delay(site) is None and site.container("a").state is State.READY


def test_a_container_that_somebody_starts_behind_our_back_is_not_started_again(site: Site) -> None:
    site.running("a", restart_policy="always")
    crash(site)
    site.runtime.start(server_name("a"))
    seen = site.runtime.inspect(server_name("a"))
    assert seen and site.host.containers.adopt(site.container("a"), seen.run)
    assert delay(site) is None


def test_who_asked_for_it_was_the_policy(site: Site) -> None:
    site.running("a", restart_policy="always")
    crash(site)
    start_again(site)
    newest = site.host.jobs.of_container("a")[0][0]
    assert (newest.kind, newest.asked_by) == ("start", BY_POLICY)


def test_a_start_by_policy_that_fails_is_a_try_and_is_tried_again(site: Site) -> None:
    site.running("a", restart_policy="on-crash", restart_tries=2)
    crash(site)
    site.volumes.failure = EngineUnavailable("The volume's disk is away.")
    for expected in (2, None):
        make_due(site)
        dispatched: list[Job] = []
        agent(site, dispatched).start_due()
        assert site.run(dispatched[0]).state == "failed"
        assert delay(site) == expected
    assert site.told("a")[-1] == "The start failed; it was started again 2 times and stays off now."


def test_a_clients_start_that_fails_is_not_tried_again(site: Site) -> None:
    site.ready("a", restart_policy="always")
    site.volumes.failure = EngineUnavailable("The volume's disk is away.")
    assert site.run(site.ask("a", Action.START)).state == "failed"
    assert delay(site) is None


def test_an_engine_that_is_away_costs_no_try(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.running("a", restart_policy="on-crash")
    crash(site)
    make_due(site)
    with monkeypatch.context() as away:
        away.setattr(MemoryRuntime, "inspect", _unreachable)
        with pytest.raises(EngineUnavailable):
            agent(site).start_due()
    assert site.container("a").restarts == 1 and site.container("a").restart_at
    start_again(site)


def test_what_is_due_in_another_store_waits(site: Site) -> None:
    site.running("a", restart_policy="always")
    crash(site)
    make_due(site)
    assert store_of(site).is_known()
    (site.host.settings.data / "generation").write_text("another store\n")
    agent(site).start_due()
    assert site.container("a").state is State.READY and open_jobs(site) == []


def test_what_a_replaced_record_left_is_forgotten(site: Site) -> None:
    site.ready("a")
    site.redis.zadd(key("restarts", NODE), {"a": time.time() - 1})
    agent(site).start_due()
    assert delay(site) is None
    assert open_jobs(site) == []


def test_while_somebody_is_at_work_on_the_container_the_start_waits(site: Site) -> None:
    site.running("a", restart_policy="always")
    crash(site)
    make_due(site)
    job = site.container("a").job_id
    assert job is not None
    site.redis.hset(key("job", job), "state", "running")
    agent(site).start_due()
    assert site.container("a").state is State.READY and site.container("a").restart_at


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["exited", "restarts_due", "start_by_policy", "dispatch"])
def test_an_agent_may_die_anywhere_and_the_container_is_started_again_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    site.running("a", restart_policy="always")
    site.runtime.signal(server_name("a"), "SIGKILL")
    with monkeypatch.context() as dying:
        doomed = Restarts(NODE, site.runtime, site.host.containers, _dying_dispatch, store_of(site))
        if step != "dispatch":
            dying.setattr(ContainerRepository, step, _dying(getattr(ContainerRepository, step), after))
        with pytest.raises(Death):
            site.see_exit("a")
            make_due(site)
            doomed.start_due()
    if site.container("a").state is State.RUNNING:
        site.see_exit("a")
    if site.container("a").restart_at:
        make_due(site)
    dispatched: list[Job] = []
    agent(site, dispatched).start_due()
    (job,) = open_jobs(site)
    assert dispatched in ([], [job]), "what was not enqueued is for the sweeper"
    assert site.run(job).state == "done"
    assert site.container("a").state is State.RUNNING
    assert len(site.host.containers.history.ends("a")) == 1
    assert [found.asked_by for found in site.host.jobs.of_container("a")[0]].count(BY_POLICY) == 1
    assert delay(site) is None


def _dying(real: Callable[..., Any], after: bool) -> Callable[..., Any]:
    def die(*arguments: Any) -> Any:
        if after:
            real(*arguments)
        raise Death

    return die


def _dying_dispatch(_job: Job) -> None:
    raise Death


def _unreachable(*_: Any) -> None:
    raise EngineUnavailable("The engine does not answer.")
