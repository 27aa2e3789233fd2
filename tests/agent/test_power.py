"""Ends of processes: asked for, forced, by themselves; and what the agent makes of them."""

from __future__ import annotations

import json
import threading
import time

import pytest

from fleet.lifecycle import Action, State
from tests.agent.bench import Bench
from tests.support.deadline import eventually

pytestmark = pytest.mark.engine

_STUBBORN = "trap '' TERM; echo up; while true; do sleep 1; done"


def test_a_process_that_ends_by_itself_leaves_the_container_ready_with_its_exit_code(host: Bench) -> None:
    host.install("short", "echo bye; exit 3")
    host.do("short", Action.START)
    record = host.await_state("short", State.READY)
    assert record.exit_code == 3
    assert record.run == record.ended_run
    assert host.feed("short")[-2:] == ["exit", "Container stopped"]
    assert host.output("short") == b"bye\n"


def test_watchers_see_the_last_line_before_the_exit(host: Bench) -> None:
    host.install("last", "sleep 0.2; echo last words")
    host.do("last", Action.START)
    eventually(lambda: "exit" in host.feed("last"), within_seconds=10, what="the exit")
    assert host.output("last") == b"last words\n"


def test_a_stop_is_done_when_the_process_has_ended(host: Bench) -> None:
    host.install("kind", "trap 'echo saving; exit 0' TERM; echo up; while true; do sleep 0.1; done")
    host.do("kind", Action.START)
    eventually(lambda: host.output("kind") == b"up\n", within_seconds=5, what="the first line")
    job = host.do("kind", Action.STOP)
    assert host.await_end(job).state == "done"
    assert host.record("kind").state is State.READY
    assert host.output("kind").endswith(b"saving\n")


def test_a_process_that_does_not_stop_in_time_is_killed(host: Bench) -> None:
    host.install("deaf", _STUBBORN, stop_timeout_seconds=1)
    host.do("deaf", Action.START)
    eventually(lambda: host.output("deaf") == b"up\n", within_seconds=5, what="the first line")
    began = time.monotonic()
    job = host.do("deaf", Action.STOP)
    assert host.await_end(job).state == "done"
    assert time.monotonic() - began >= 1
    assert host.record("deaf").exit_code == 137


def test_a_pending_stop_is_enforced_by_the_next_agent(host: Bench) -> None:
    host.install("deaf", _STUBBORN, stop_timeout_seconds=2)
    host.do("deaf", Action.START)
    eventually(lambda: host.output("deaf") == b"up\n", within_seconds=5, what="the first line")
    job = host.do("deaf", Action.STOP)
    host.kill_agent()
    host.start_agent()
    assert host.await_end(job).state == "done"
    assert host.record("deaf").state is State.READY


def test_a_restart_goes_on_when_the_process_has_ended(host: Bench) -> None:
    host.install("again", "trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done")
    host.do("again", Action.START)
    first = host.record("again").run
    eventually(lambda: host.output("again") == b"up\n", within_seconds=5, what="the first line")
    job = host.do("again", Action.RESTART)
    assert host.await_end(job).state == "done"
    record = host.await_state("again", State.RUNNING)
    assert record.run and first and record.run > first
    eventually(lambda: host.output("again").count(b"up\n") == 2, within_seconds=5, what="the second run's line")
    assert host.feed("again")[-6:] == [
        "stopping", "exit", "Container stopped", "starting", "Container restarted", "running"
    ]  # fmt: skip


def test_a_kill_needs_no_worker(host: Bench) -> None:
    host.install("victim", _STUBBORN)
    host.do("victim", Action.START)
    job = host.begin("victim", Action.KILL, queue="agent")
    assert host.await_end(job).state == "done"
    assert host.record("victim").state is State.READY


def test_a_kill_overtakes_pending_stops_of_others(host: Bench) -> None:
    names = [f"deaf{number}" for number in range(6)]
    for name in [*names, "victim"]:
        host.install(name, _STUBBORN, stop_timeout_seconds=60)
        host.do(name, Action.START)
    for name in names:
        host.do(name, Action.STOP)
    job = host.begin("victim", Action.KILL, queue="agent")
    assert host.await_end(job).state == "done"
    for name in names:
        host.await_end(host.begin(name, Action.KILL, queue="agent"))


def test_a_kill_of_what_does_not_run_settles_the_record(host: Bench) -> None:
    """A start that its worker has not come to yet: nobody will ever report its end."""
    host.install("idle", "sleep 60")
    start = host.begin("idle", Action.START)
    job = host.begin("idle", Action.KILL, queue="agent")
    assert host.await_end(job).state == "done"
    assert host.await_end(start).state == "cancelled"
    assert host.record("idle").state is State.READY
    assert host.feed("idle")[-2:] == ["exit", "Container stopped"]


def test_an_order_whose_kill_has_ended_long_ago_hits_nobody(host: Bench) -> None:
    host.install("alive", "sleep 60")
    host.do("alive", Action.START)
    job = host.begin("alive", Action.KILL, queue="agent")
    host.await_end(job)
    host.do("alive", Action.START)
    run = host.record("alive").run
    host.stores.record.rpush(f"lightd:orders:{host.node}", json.dumps({"kill": host.id_of("alive"), "job": job.job_id}))
    assert host.send("alive", "x\n") is None, "orders are taken one after the other"
    found = host.runtime.inspect(host.engine_name("alive"))
    assert found and found.running and found.run == run


def test_a_kill_ends_an_install(host: Bench) -> None:
    installing = threading.Thread(target=_install, args=(host,), daemon=True)
    installing.start()
    eventually(lambda: b"working" in host.output("slow"), within_seconds=10, what="the install script's line")
    job = host.begin("slow", Action.KILL, queue="agent")
    assert host.await_end(job).state == "done"
    record = host.await_state("slow", State.FAILED)
    assert record.error == "It was cancelled; nothing of it was kept."
    installing.join(60)
    assert host.runtime.inspect(f"{host.engine_name('slow')}-install") is None


def _install(host: Bench) -> None:
    with pytest.raises(AssertionError):
        host.install("slow", "true", install_script="#!/bin/sh\necho working\nsleep 600\n")
