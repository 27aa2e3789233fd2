"""Jobs and volumes that somebody left half done."""

from __future__ import annotations

import time
import uuid

import pytest

from fleet.keys import key
from fleet.lifecycle import Action, State
from fleet.models import Volume
from storage.volumes import Volumes
from storage.volumes.layout import lock_path
from storage.volumes.locks import is_locked, locked
from tests.agent.bench import Bench
from tests.support.deadline import PATIENCE, eventually
from worker.agent.leftovers import Leftovers
from worker.known_store import KnownStore
from worker.operations.locks import container_lock

pytestmark = pytest.mark.engine


def test_a_job_whose_message_was_lost_is_done_all_the_same(host: Bench) -> None:
    host.install("lost", "sleep 60")
    job = host.begin("lost", Action.START)
    assert host.await_end(job, within_seconds=15).state == "done"
    assert host.record("lost").state is State.RUNNING


def test_a_job_whose_worker_died_is_given_to_another(host: Bench) -> None:
    host.install("dead", "sleep 60")
    job = host.begin("dead", Action.START)
    host.jobs.claim(job.job_id, "a worker that dies")
    ended = host.await_end(job, within_seconds=20)
    assert (ended.state, ended.attempt) == ("done", 2)


def test_a_kill_whose_order_was_lost_is_carried_out(host: Bench) -> None:
    host.install("victim", "sleep 60")
    host.do("victim", Action.START)
    job = host.begin("victim", Action.KILL, queue="agent")
    host.stores.record.zadd(key("deadlines", host.node), {job.job_id: time.time()})
    assert host.await_end(job).state == "done"


def test_a_job_that_waits_in_its_queue_is_not_put_there_twice(bench: Bench) -> None:
    bench.install("patient", "sleep 60")
    job = bench.begin("patient", Action.START)
    queue = f"node.{bench.node}.quick"
    bench.stores.record.rpush(queue, "a message that no worker has taken yet")
    bench.start_agent()
    bench.await_agent()
    beats = bench.stores.record.llen(queue)
    bench.stores.record.zadd(key("jobs_open", bench.node), {job.job_id: time.time() - 100})
    eventually(lambda: bench.stores.record.llen(queue) > beats, within_seconds=10, what="the next sign of life")
    assert not any(job.job_id in message for message in bench.stores.record.lrange(queue, 0, -1))


def test_a_job_whose_container_is_being_worked_on_is_not_sent_to_wait_there_twice(host: Bench) -> None:
    host.install("busy", "sleep 60")
    with container_lock(host.settings, host.id_of("busy"), "another job"):
        path = host.settings.run_folder / "locks" / f"container-{host.id_of('busy')}.lock"
        assert is_locked(path)
        job = host.begin("busy", Action.START)
        host.stores.record.zadd(key("jobs_open", host.node), {job.job_id: time.time() - 100})
        host.jobs.claim(job.job_id, "a worker that dies")
        host.stores.record.delete(key("lease", job.job_id))
        with pytest.raises(AssertionError):
            eventually(
                lambda: job.job_id in host.log_text(), within_seconds=3 / PATIENCE, what="its going into the queue"
            )
    assert not is_locked(path)
    assert host.await_end(job).state == "done"


def test_what_is_left_of_an_unfinished_volume_is_removed(bench: Bench) -> None:
    long_ago = int(time.time()) - 600
    ids = {state: str(uuid.uuid4()) for state in ("creating", "deleting", "ready")}
    for state, volume_id in ids.items():
        Volumes(bench.settings).create(volume_id, 16)
        path = str(bench.settings.data / "volumes" / volume_id)
        bench.volumes.save(Volume(volume_id, bench.node, path, 16, "directory", state, long_ago, long_ago))
    bench.start_agent()
    eventually(lambda: not bench.volumes.unfinished(bench.node, 0), within_seconds=10, what="the removal")
    folders = {entry.name for entry in (bench.settings.data / "volumes").iterdir() if not entry.name.startswith(".")}
    assert folders == {ids["ready"]}
    assert bench.volumes.find(ids["ready"])


def test_a_volume_that_somebody_is_at_work_on_is_left_alone(bench: Bench) -> None:
    volume_id, long_ago = str(uuid.uuid4()), int(time.time()) - 600
    Volumes(bench.settings).create(volume_id, 16)
    bench.volumes.save(Volume(volume_id, bench.node, "", 16, "directory", "creating", long_ago, long_ago))
    store = KnownStore(bench.nodes, bench.settings.data)
    store.accept()
    leftovers = Leftovers(bench.node, bench.volumes, Volumes(bench.settings), store)
    with locked(lock_path(bench.settings, volume_id)):
        leftovers.remove()
        assert bench.volumes.exists(volume_id)
    leftovers.remove()
    assert not bench.volumes.exists(volume_id)
    assert Volumes(bench.settings).known() == []
    assert bench.volumes.unfinished(bench.node, 0) == []


def test_a_volume_is_left_to_its_maker_as_long_as_the_host_would_begin_with_it(bench: Bench) -> None:
    volume_id, now = str(uuid.uuid4()), int(time.time())
    bench.volumes.save(Volume(volume_id, bench.node, "", 16, "directory", "creating", now + 600, now + 600))
    store = KnownStore(bench.nodes, bench.settings.data)
    store.accept()
    Leftovers(bench.node, bench.volumes, Volumes(bench.settings), store).remove()
    assert bench.volumes.exists(volume_id)
    assert len(bench.volumes.unfinished(bench.node, -1200)) == 1


def test_the_host_says_that_it_is_there_and_what_it_is(host: Bench) -> None:
    (node,) = host.nodes.every()
    assert node.id == host.node
    assert node.cpus >= 1
    assert node.memory_bytes > 1 << 28
    assert node.engine_version[0].isdigit()
    assert host.nodes.is_online(node)
    assert host.nodes.choose() == node
