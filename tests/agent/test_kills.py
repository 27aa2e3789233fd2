"""A kill that comes when there is nothing left to kill, or something else than was meant."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import sentinel

import pytest

from fleet.keys import key
from fleet.lifecycle import Action
from fleet.models import Job, Limits
from fleet.repositories.jobs import new_job
from fleet.runs import Run
from fleet.settings import Settings
from tests.fleet.conftest import NODE, Record, record
from worker.agent.kills import Kills
from worker.operations.names import install_name, server_name
from worker.runtime.base import LABEL_DATA, LABEL_NODE, ContainerPlan, EngineContainer
from worker.runtime.memory import MemoryRuntime

__all__ = ["record"]

SETTINGS = Settings(data=Path("/ours"), node=NODE)


def cancelled_by_a_kill(record: Record, install: Job) -> Job:
    kill = new_job("kill", NODE, "agent", internal_id="a")
    record.containers.begin(record.containers.get("a"), Action.KILL, kill)
    record.jobs.finish(record.jobs.claim(install.job_id, "w"), "cancelled")
    return kill


def remove(record: Record) -> None:
    deletion = new_job("delete", NODE, "quick", internal_id="a")
    record.containers.begin(record.containers.get("a"), Action.DELETE, deletion, deleting=True)
    record.containers.remove("a", record.jobs.claim(deletion.job_id, "w"))


def obey(record: Record, kill: Job, runtime: MemoryRuntime) -> None:
    Kills(SETTINGS, runtime, record.containers, record.jobs, sentinel.exits).obey(kill.job_id)


def engine_with(folder: Path, owner: str) -> MemoryRuntime:
    """An engine in which a server and an install script named after `a` run, of the Lightd with this data folder."""
    runtime = MemoryRuntime(images={"image"}, networks={"n"})
    labels = {LABEL_NODE: NODE, LABEL_DATA: owner}
    for name in (server_name("a"), install_name("a")):
        plan = ContainerPlan(name, "image", (), "0:0", folder, folder, "n", Limits(1 << 29, 1.0, 100), 1, 1)
        runtime.start(runtime.create(replace(plan, labels=labels)))
    return runtime


def running(runtime: MemoryRuntime) -> list[bool]:
    found = [runtime.inspect(name) for name in (server_name("a"), install_name("a"))]
    return [seen is not None and seen.running for seen in found]


def test_a_kill_of_a_container_that_is_gone_ends(record: Record) -> None:
    kill = cancelled_by_a_kill(record, record.create("a"))
    remove(record)

    obey(record, kill, MemoryRuntime())

    assert record.redis.zcard(key("jobs_open", NODE)) == 0


def test_a_late_kill_spares_the_next_container_of_the_same_name(record: Record, tmp_path: Path) -> None:
    kill = cancelled_by_a_kill(record, record.create("a"))
    remove(record)
    record.create("a")
    runtime = engine_with(tmp_path, str(SETTINGS.data))

    obey(record, kill, runtime)

    assert not record.jobs.get(kill.job_id).is_open
    assert running(runtime) == [True, True]


@pytest.mark.parametrize(("owner", "left"), [(str(SETTINGS.data), [False, False]), ("/another", [True, True])])
def test_a_kill_spares_what_another_lightd_on_the_same_engine_calls_the_same(
    record: Record, tmp_path: Path, owner: str, left: list[bool]
) -> None:
    record.running("a")
    kill = new_job("kill", NODE, "agent", internal_id="a")
    record.containers.begin(record.containers.get("a"), Action.KILL, kill)
    runtime = engine_with(tmp_path, owner)

    obey(record, kill, runtime)

    assert running(runtime) == left


@pytest.mark.parametrize(("ended", "left"), [(False, [False, False]), (True, [True, True])])
def test_a_restart_that_took_too_long_kills_what_it_waits_for_and_not_what_it_has_started(
    record: Record, tmp_path: Path, ended: bool, left: list[bool]
) -> None:
    container, run = record.running("a")
    restart = new_job("restart", NODE, "quick", internal_id="a")
    record.containers.begin(container, Action.RESTART, restart)
    claimed = record.jobs.claim(restart.job_id, "w")
    record.containers.write("a", claimed, wait_until=time.time() - 1, after_run=run)
    if ended:
        assert record.containers.exited("a", NODE, "engine-1", Run(run))[1] == restart.job_id
    runtime = engine_with(tmp_path, str(SETTINGS.data))

    obey(record, restart, runtime)

    assert running(runtime) == left


def test_a_process_that_comes_up_while_the_kill_looks_for_it_is_killed_too(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = record.ready("a")
    record.containers.begin(container, Action.START, new_job("start", NODE, "quick", internal_id="a"))
    kill = new_job("kill", NODE, "agent", internal_id="a")
    record.containers.begin(record.containers.get("a"), Action.KILL, kill)
    runtime = engine_with(tmp_path, str(SETTINGS.data))
    for name in (server_name("a"), install_name("a")):
        runtime.signal(name, "SIGKILL")
    inspect = MemoryRuntime.inspect

    def come_up_after_the_look(engine: MemoryRuntime, name: str) -> EngineContainer | None:
        found = inspect(engine, name)
        if name == server_name("a") and found is not None:
            monkeypatch.undo()
            engine.start(found.engine_id)
        return found

    monkeypatch.setattr(MemoryRuntime, "inspect", come_up_after_the_look)
    obey(record, kill, runtime)

    assert running(runtime) == [False, False]
    assert record.jobs.get(kill.job_id).is_open, "the agent ends it when it sees that end"


def test_a_server_that_somebody_gave_another_name_is_killed_all_the_same(record: Record, tmp_path: Path) -> None:
    container, _ = record.running("a")
    runtime = engine_with(tmp_path, str(SETTINGS.data))
    server = runtime.inspect(server_name("a"))
    assert server is not None
    record.containers.made_again(container, server.engine_id)
    runtime.rename(server.engine_id, "renamed")
    kill = new_job("kill", NODE, "agent", internal_id="a")
    record.containers.begin(record.containers.get("a"), Action.KILL, kill)

    obey(record, kill, runtime)

    found = runtime.inspect("renamed")
    assert found is not None and not found.running
    assert record.jobs.get(kill.job_id).is_open, "the agent ends it when it sees that end"
