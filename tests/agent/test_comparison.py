"""After the agent was away, and whatever somebody did behind its back: the record says what the engine says."""

from __future__ import annotations

import pytest

from fleet.errors import NotFound, Unavailable
from fleet.keys import key
from fleet.lifecycle import Action, State
from fleet.repositories.jobs import new_job
from tests.agent.bench import Bench
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from worker.known_store import KnownStore
from worker.runtime.base import LABEL_NODE

pytestmark = pytest.mark.engine


def test_a_process_that_ended_while_no_agent_ran_is_found(bench: Bench) -> None:
    bench.install("gone", "echo up; sleep 1; echo last words; exit 4")
    bench.do("gone", Action.START)
    bench.runtime.wait(bench.engine_name("gone"), 10)
    assert bench.record("gone").state is State.RUNNING
    bench.start_agent()
    assert bench.await_state("gone", State.READY).exit_code == 4
    assert bench.output("gone") == b"up\nlast words\n"


def test_a_process_that_somebody_else_killed_is_seen(host: Bench) -> None:
    host.install("victim", "sleep 60")
    host.do("victim", Action.START)
    host.engine.containers.get(host.engine_name("victim")).kill()
    assert host.await_state("victim", State.READY).exit_code == 137


def test_a_container_that_somebody_else_started_is_running(host: Bench) -> None:
    host.install("mine", "echo up; sleep 60")
    host.engine.containers.get(host.engine_name("mine")).start()
    record = host.await_state("mine", State.RUNNING)
    assert record.run
    eventually(lambda: host.output("mine") == b"up\n", within_seconds=5, what="its output")
    host.await_end(host.begin("mine", Action.KILL, queue="agent"))
    assert host.record("mine").state is State.READY


def test_a_restart_by_somebody_else_is_followed(host: Bench) -> None:
    host.install("other", "echo up; sleep 60")
    host.do("other", Action.START)
    host.engine.containers.get(host.engine_name("other")).restart(timeout=0)
    found = host.runtime.inspect(host.engine_name("other"))
    assert found
    eventually(lambda: host.record("other").run == found.run, within_seconds=10, what="the new run in the record")
    assert host.record("other").state is State.RUNNING
    eventually(lambda: host.output("other").count(b"up\n") == 2, within_seconds=5, what="the output of both runs")


def test_a_running_container_that_somebody_else_removed_is_ready_and_can_be_started_again(host: Bench) -> None:
    host.install("torn", "sleep 60")
    host.do("torn", Action.START)
    host.engine.containers.get(host.engine_name("torn")).remove(force=True)
    host.await_state("torn", State.READY)
    assert host.await_end(host.do("torn", Action.START)).state == "done"
    assert host.record("torn").state is State.RUNNING


def test_a_container_removed_while_no_agent_ran_is_ready(bench: Bench) -> None:
    bench.install("torn", "sleep 60")
    bench.do("torn", Action.START)
    bench.engine.containers.get(bench.engine_name("torn")).remove(force=True)
    bench.start_agent()
    bench.await_state("torn", State.READY)


def test_what_a_forgotten_container_left_in_the_engine_is_removed(bench: Bench) -> None:
    bench.install("left", "sleep 60")
    bench.do("left", Action.START)
    bench.nodes.generation()
    bench.start_agent()
    bench.await_agent()
    bench.kill_agent()
    job = new_job(Action.DELETE, bench.node, "quick", internal_id=bench.id_of("left"))
    bench.containers.begin(bench.record("left"), Action.DELETE, job, deleting=True)
    bench.containers.remove(bench.id_of("left"), bench.jobs.claim(job.job_id, "test"))
    bench.start_agent()
    eventually(lambda: bench.runtime.inspect(bench.engine_name("left")) is None, within_seconds=15, what="the removal")


def test_in_an_emptied_store_the_agent_changes_nothing_and_asks_for_recover(bench: Bench) -> None:
    bench.install("precious", "sleep 60")
    bench.do("precious", Action.START)
    bench.start_agent()
    eventually((bench.settings.data / "generation").exists, within_seconds=15, what="the first comparison")
    bench.await_agent()

    bench.stores.record.flushall()
    eventually(lambda: "./lightd recover" in bench.log_text(), within_seconds=15, what="the sentence about it")
    eventually(lambda: f"{bench.node}/recover" in bench.nodes.missing(), within_seconds=15, what="its call for help")
    with pytest.raises(Unavailable, match="recover"):
        bench.nodes.online(bench.node)
    bench.kill_agent()
    bench.start_agent()
    bench.await_agent()
    found = bench.runtime.inspect(bench.engine_name("precious"))
    assert found and found.running
    with pytest.raises(NotFound):
        bench.record("precious")


def test_orders_of_a_foreign_store_kill_nobody(bench: Bench) -> None:
    bench.install("precious", "sleep 60")
    bench.do("precious", Action.START)
    KnownStore(bench.nodes, bench.settings.data).accept()
    bench.stores.record.set(key("generation"), "foreign")
    bench.begin("precious", Action.KILL, queue="agent")
    bench.start_agent()
    eventually(lambda: "was dropped" in bench.log_text(), within_seconds=15, what="the dropped order")
    found = bench.runtime.inspect(bench.engine_name("precious"))
    assert found and found.running


def test_a_host_that_holds_containers_does_not_take_an_empty_store_for_its_first(bench: Bench) -> None:
    bench.install("precious", "sleep 60")
    bench.stores.record.flushall()
    bench.start_agent()
    eventually(lambda: "./lightd recover" in bench.log_text(), within_seconds=15, what="the sentence about it")
    bench.await_agent()
    assert bench.runtime.inspect(bench.engine_name("precious"))
    assert not (bench.settings.data / "generation").exists()


def test_a_container_that_only_looks_like_ours_ends_no_listening(host: Bench) -> None:
    host.install("watched", "sleep 60")
    labels = {LABEL_NODE: host.node}
    stranger = host.engine.containers.run(BUSYBOX, ["sleep", "60"], detach=True, labels=labels)
    try:
        host.engine.containers.get(host.engine_name("watched")).start()
        host.await_state("watched", State.RUNNING)
    finally:
        stranger.remove(force=True)
    host.await_end(host.begin("watched", Action.KILL, queue="agent"))
    assert "engine events: failed" not in host.log_text()
