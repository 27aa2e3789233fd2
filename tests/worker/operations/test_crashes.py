"""A worker may die at any point of a job; another takes the job up, finishes or undoes it, and nothing is left over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as StoreAway

from fleet.errors import EngineUnavailable
from fleet.lifecycle import Action, State
from fleet.models import Job
from tests.support.deadline import eventually
from tests.worker.operations.conftest import GAME_PORT, NODE, Site
from worker.operations.names import install_name, private_image, server_name
from worker.runtime.memory import MemoryRuntime

INSTALL_CALLS = ["pull", "create", "start", "wait", "log_tail", "layer_bytes", "commit", "remove"]
DELETE_CALLS = ["remove", "remove_image"]
START_CALLS = ["start", "inspect"]


class Death(BaseException):
    """The worker process is gone."""


def dying(monkeypatch: pytest.MonkeyPatch, call: str, after: bool, error: BaseException) -> None:
    """Let the next call of the engine's `call` raise `error`, before or after it has happened."""
    real: Callable[..., Any] = getattr(MemoryRuntime, call)

    def die(*arguments: Any) -> Any:
        monkeypatch.setattr(MemoryRuntime, call, real)
        if after:
            real(*arguments)
        raise error

    monkeypatch.setattr(MemoryRuntime, call, die)


def with_script(site: Site, **behaviour: Any) -> Job:
    """An install that uses every call of the engine."""
    site.runtime.remote.add("game:1")
    site.install_behaves("a", layer_bytes=4096, **behaviour)
    return site.create("a", GAME_PORT, image="game:1", install_script="echo")


def run_and_die(site: Site, job: Job) -> None:
    with pytest.raises(Death):
        site.runner.run(job.job_id)
    assert site.job(job).is_open


def assert_nothing_is_left(site: Site) -> None:
    assert site.runtime.every(NODE) == []
    assert not site.runtime.has_image(private_image("a"))
    assert site.port_is_free()
    assert site.host.jobs.open_count(NODE) == 0


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", INSTALL_CALLS)
def test_an_install_goes_on_where_its_worker_died(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    job = with_script(site)
    dying(monkeypatch, call, after, Death())
    run_and_die(site, job)
    assert site.run(job).state == "done"
    container = site.container("a")
    seen = site.runtime.inspect(server_name("a"))
    assert container.state is State.READY and seen is not None and seen.engine_id == container.container_id
    assert seen.image == private_image("a")
    assert [found.name for found in site.runtime.every(NODE)] == [server_name("a")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", INSTALL_CALLS)
def test_an_install_cancelled_after_its_worker_died_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    job = with_script(site)
    dying(monkeypatch, call, after, Death())
    run_and_die(site, job)
    kill = site.ask("a", Action.KILL)
    site.host.jobs.finish(site.host.jobs.claim(kill.job_id, "agent"), "done")
    assert site.run(job).state == "cancelled"
    assert site.container("a").error == "It was cancelled; nothing of it was kept."
    assert_nothing_is_left(site)


@pytest.mark.parametrize("call", [call for call in INSTALL_CALLS if call != "remove"])
def test_an_engine_that_goes_away_fails_the_install_and_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    job = with_script(site)
    dying(monkeypatch, call, True, EngineUnavailable("The engine does not answer."))
    ended = site.run(job)
    assert (ended.state, ended.error) == ("failed", "The engine does not answer.")
    assert_nothing_is_left(site)


def test_what_could_not_be_undone_is_undone_when_the_engine_is_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = with_script(site, exit_code=1)
    dying(monkeypatch, "remove", False, EngineUnavailable("The engine does not answer."))
    half = site.run(job)
    assert half.is_open and half.step == "undo"
    ended = site.run(job)
    assert ended.state == "failed" and ended.error is not None and "exit code 1" in ended.error
    assert_nothing_is_left(site)


def test_a_script_that_outlives_its_worker_is_followed_not_repeated(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install_behaves("a", seconds=0.5)
    job = site.create("a", install_script="echo")
    dying(monkeypatch, "wait", False, Death())
    run_and_die(site, job)
    before = site.runtime.inspect(install_name("a"))
    assert before is not None and before.running
    monkeypatch.setattr(MemoryRuntime, "start", lambda *_: pytest.fail("the script was started again"))
    assert site.run(job).state == "done"
    assert site.relayed == ["a", "a"]


def test_a_store_that_goes_away_leaves_the_job_to_be_taken_up_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = with_script(site)
    dying(monkeypatch, "layer_bytes", True, StoreAway("gone"))
    assert site.run(job).is_open
    assert site.run(job).state == "done"


def test_an_install_whose_worker_died_may_be_deleted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = with_script(site)
    dying(monkeypatch, "layer_bytes", True, Death())
    run_and_die(site, job)
    assert site.run(site.ask("a", Action.DELETE)).state == "done"
    site.run(job)
    assert site.job(job).state == "cancelled"
    assert_nothing_is_left(site)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", START_CALLS)
def test_a_start_goes_on_where_its_worker_died(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    site.ready("a")
    job = site.ask("a", Action.START)
    dying(monkeypatch, call, after, Death())
    run_and_die(site, job)
    assert site.run(job).state == "done"
    assert site.container("a").state is State.RUNNING
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.running and seen.run == site.container("a").run


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("action", [Action.STOP, Action.RESTART])
def test_a_stop_goes_on_where_its_worker_died(
    site: Site, monkeypatch: pytest.MonkeyPatch, action: Action, after: bool
) -> None:
    site.running("a")
    job = site.ask("a", action)
    dying(monkeypatch, "signal", after, Death())
    run_and_die(site, job)
    site.run(job)
    if site.job(job).waits:
        restart = site.see_exit("a")
        assert restart == ("" if action is Action.STOP else job.job_id)
        site.run(job)
    assert site.job(job).state == "done"
    assert site.container("a").state is (State.READY if action is Action.STOP else State.RUNNING)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", DELETE_CALLS)
def test_a_deletion_goes_on_where_its_worker_died(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    site.run(with_script(site))
    job = site.ask("a", Action.DELETE)
    dying(monkeypatch, call, after, Death())
    run_and_die(site, job)
    assert site.run(job).state == "done"
    assert_nothing_is_left(site)


def test_two_deliveries_at_once_do_the_work_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    creations: list[float] = []
    create = MemoryRuntime.create

    def slow_create(runtime: MemoryRuntime, plan: Any) -> str:
        creations.append(time.monotonic())
        eventually(lambda: time.monotonic() > creations[0] + 0.2, within_seconds=2, what="0.2 s")
        return create(runtime, plan)

    monkeypatch.setattr(MemoryRuntime, "create", slow_create)
    job = site.create("a")
    threads = [threading.Thread(target=site.runner.run, args=(job.job_id,), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(creations) == 1
    assert (site.job(job).state, site.job(job).attempt) == ("done", 1)
