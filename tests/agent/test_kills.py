"""A kill that comes when there is nothing left to kill, or something else than was meant."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import sentinel

from fleet.keys import key
from fleet.lifecycle import Action
from fleet.models import Job, Limits
from fleet.repositories.jobs import new_job
from tests.fleet.conftest import NODE, Record, record
from worker.agent.kills import Kills
from worker.operations.names import install_name, server_name
from worker.runtime.base import ContainerPlan
from worker.runtime.memory import MemoryRuntime

__all__ = ["record"]


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
    Kills(runtime, record.containers, record.jobs, sentinel.exits).obey(kill.job_id)


def test_a_kill_of_a_container_that_is_gone_ends(record: Record) -> None:
    kill = cancelled_by_a_kill(record, record.create("a"))
    remove(record)

    obey(record, kill, MemoryRuntime())

    assert record.redis.zcard(key("jobs_open", NODE)) == 0


def test_a_late_kill_spares_the_next_container_of_the_same_name(record: Record, tmp_path: Path) -> None:
    kill = cancelled_by_a_kill(record, record.create("a"))
    remove(record)
    record.create("a")
    runtime = MemoryRuntime()
    runtime.images.add("image")
    runtime.ensure_network("n")
    for name in (server_name("a"), install_name("a")):
        limits = Limits(1 << 29, 1.0, 100)
        runtime.start(runtime.create(ContainerPlan(name, "image", (), "0:0", tmp_path, tmp_path, "n", limits, 1, 1)))

    obey(record, kill, runtime)

    assert not record.jobs.get(kill.job_id).is_open
    for name in (server_name("a"), install_name("a")):
        found = runtime.inspect(name)
        assert found is not None and found.running
