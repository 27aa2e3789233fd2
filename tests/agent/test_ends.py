"""Ends of runs on a real engine: what is kept of them, and processes that are started again by policy."""

from __future__ import annotations

import pytest

from fleet.lifecycle import Action, State
from fleet.runs import RunEnd
from tests.agent.bench import Bench
from tests.support.deadline import eventually

pytestmark = pytest.mark.engine

_COUNT_RUNS = 'n=$(cat runs 2>/dev/null || echo 0); n=$((n + 1)); echo $n > runs; echo "run $n"'


def ends(bench: Bench, name: str) -> list[RunEnd]:
    return bench.containers.history.ends(bench.id_of(name))


def await_ends(bench: Bench, name: str, count: int) -> list[RunEnd]:
    return eventually(
        lambda: ends(bench, name) if len(ends(bench, name)) >= count else None,
        within_seconds=60,
        what=f"{count} ends of {name}",
    )


def test_a_crash_keeps_its_last_lines_without_colours_and_how_long_it_ran(host: Bench) -> None:
    host.install("noisy", r'for n in $(seq 30); do printf "\033[31mline $n\033[0m\n"; done; sleep 1; exit 3')
    host.do("noisy", Action.START)
    (end,) = await_ends(host, "noisy", 1)
    assert (end.cause, end.exit_code, end.signal, end.oom_killed) == ("crash", 3, None, False)
    assert end.output.splitlines() == [f"line {number}" for number in range(11, 31)]
    assert end.ran_seconds >= 1
    assert round(end.ended_at - end.started_at, 1) == round(end.ran_seconds, 1)
    assert any(told.startswith("Container crashed (exit code 3) after") for told in host.feed("noisy"))


def test_the_output_of_the_run_before_is_not_taken_for_this_ones(host: Bench) -> None:
    host.install("twice", f"{_COUNT_RUNS}; exit 1")
    for count in (1, 2):
        host.do("twice", Action.START)
        assert await_ends(host, "twice", count)[0].output == f"run {count}\n"


def test_a_process_that_took_too_much_memory_was_ended_by_its_limit(host: Bench) -> None:
    host.install("greedy", "echo eating; exec tail -c 200m /dev/zero")
    host.do("greedy", Action.START)
    (end,) = await_ends(host, "greedy", 1)
    assert (end.cause, end.signal, end.oom_killed) == ("limit", "SIGKILL", True)
    assert end.output == "eating\n"


def test_an_end_that_was_asked_for_is_not_followed_by_a_start(host: Bench) -> None:
    host.install("calm", "sleep 60", restart_policy="always")
    for action, queue in ((Action.STOP, "quick"), (Action.KILL, "agent")):
        host.do("calm", Action.START)
        host.await_state("calm", State.RUNNING)
        job = host.do("calm", action) if queue == "quick" else host.begin("calm", action, queue=queue)
        assert host.await_end(job, within_seconds=60).state == "done"
        assert ends(host, "calm")[0].cause == action
        record = host.record("calm")
        assert (record.state, record.restart_at) == (State.READY, None)


def test_a_crashed_process_is_started_again_until_it_runs(host: Bench) -> None:
    host.install("lazy", f"{_COUNT_RUNS}; [ $n -lt 3 ] && exit 1; sleep 600", restart_policy="on-crash")
    host.do("lazy", Action.START)
    eventually(lambda: "run 3" in host.output("lazy").decode(), within_seconds=60, what="the third run")
    host.await_state("lazy", State.RUNNING, within_seconds=60)
    assert [end.exit_code for end in ends(host, "lazy")] == [1, 1]
    assert host.record("lazy").restarts == 2


def test_an_end_that_no_agent_saw_is_kept_once_and_followed_by_the_policys_start(bench: Bench) -> None:
    bench.install("alone", f"{_COUNT_RUNS}; [ $n -lt 2 ] && exit 5; sleep 600", restart_policy="on-crash")
    bench.do("alone", Action.START)
    bench.runtime.wait(bench.engine_name("alone"), 20)
    bench.start_agent()
    (end,) = await_ends(bench, "alone", 1)
    bench.kill_agent()
    assert (end.exit_code, end.output) == (5, "run 1\n")
    bench.start_agent()
    bench.work()
    eventually(lambda: b"run 2" in bench.output("alone"), within_seconds=60, what="the second run")
    bench.await_state("alone", State.RUNNING, within_seconds=60)
    assert len(ends(bench, "alone")) == 1
