"""Start patterns: when a starting container counts as running."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from fleet.lifecycle import Action, State
from tests.agent.bench import Bench
from tests.support.deadline import eventually
from worker.agent.starts import Starts

pytestmark = pytest.mark.engine


def test_a_container_is_running_when_its_pattern_appears_and_not_before(host: Bench) -> None:
    script = "echo loading; until [ -e /tmp/go ]; do sleep 0.05; done; printf 'Do\\033[32mne\\033[0m (3s)\\n'; sleep 60"
    host.install("server", script, start_pattern=r"Done \(\d+s\)")
    host.do("server", Action.START)
    eventually(lambda: host.output("server") == b"loading\n", within_seconds=5, what="the first line")
    assert host.record("server").state is State.STARTING
    host.engine.containers.get(host.engine_name("server")).exec_run(["touch", "/tmp/go"])
    host.await_state("server", State.RUNNING)
    assert host.feed("server")[-3:] == ["Container started", "running", "Server started"]


def test_a_pattern_that_is_printed_at_once_is_seen(host: Bench) -> None:
    for attempt in range(5):
        host.install(f"quick{attempt}", "echo Ready; sleep 60", start_pattern="Ready")
        host.do(f"quick{attempt}", Action.START)
        host.await_state(f"quick{attempt}", State.RUNNING, within_seconds=5)
        told = host.feed(f"quick{attempt}")
        assert told[-3:] == ["Container started", "running", "Server started"]


def test_a_pattern_of_an_earlier_run_does_not_count(host: Bench) -> None:
    script = "if [ -e seen ]; then sleep 60; fi; touch seen; echo Ready"
    host.install("twice", script, start_pattern="Ready")
    host.do("twice", Action.START)
    host.await_state("twice", State.READY)
    host.do("twice", Action.START)
    host.kill_agent()
    host.start_agent()
    host.await_agent()
    host.install("other", "echo Ready; sleep 60", start_pattern="Ready")
    host.do("other", Action.START)
    host.await_state("other", State.RUNNING)
    assert host.record("twice").state is State.STARTING


def test_a_pattern_that_was_printed_while_no_agent_ran_is_found(host: Bench) -> None:
    host.install("late", "echo loading; sleep 1; echo Ready; sleep 60", start_pattern="^Ready$")
    host.do("late", Action.START)
    eventually(lambda: host.output("late") == b"loading\n", within_seconds=5, what="the first line")
    host.kill_agent()
    log = host.runtime.log_tail
    eventually(
        lambda: b"Ready" in log(host.engine_name("late"), 5), within_seconds=5, what="the pattern in the engine's log"
    )
    host.start_agent()
    host.await_state("late", State.RUNNING)
    eventually(lambda: host.output("late") == b"loading\nReady\n", within_seconds=5, what="the output")


def test_a_line_of_many_parts_is_matched_as_one(host: Bench) -> None:
    script = "head -c 20000 /dev/zero | tr '\\0' a; echo ' Ready'; sleep 60"
    host.install("long", script, start_pattern="^a+ Ready$")
    host.do("long", Action.START)
    host.await_state("long", State.RUNNING)


def test_a_container_that_ends_before_its_pattern_is_ready_again(host: Bench) -> None:
    host.install("crash", "echo loading; exit 1", start_pattern="Ready")
    host.do("crash", Action.START)
    assert host.await_state("crash", State.READY).exit_code == 1
    assert "running" not in host.feed("crash")


def test_a_pattern_that_changes_meanwhile_is_looked_for_from_the_first_line_on(host: Bench) -> None:
    host.install("patched", "echo Ready; sleep 60", start_pattern="Never")
    host.do("patched", Action.START)
    eventually(lambda: host.output("patched") == b"Ready\n", within_seconds=30, what="the first line")
    host.kill_agent()
    found = host.runtime.inspect(host.engine_name("patched"))
    assert found is not None
    starts, stop = Starts(host.containers), threading.Event()
    starts.expect(host.record("patched"), found)
    host.containers.amend(host.id_of("patched"), lambda spec: replace(spec, start_pattern="Ready"))
    starts.expect(host.record("patched"), found)
    thread = threading.Thread(target=starts.run, args=(stop,), daemon=True)
    thread.start()
    try:
        host.await_state("patched", State.RUNNING)
    finally:
        stop.set()
        thread.join(60)
    host.start_agent()
