"""The supervisor: whatever ends is started again, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from scripts.instance_lock import holder
from scripts.plan import Process
from scripts.precedence import NICENESS
from scripts.supervisor import ALREADY_RUNNING
from tests.launcher.supervised import Supervised, is_alive, kill, listener, shell, used_ticks
from tests.support.deadline import eventually

Supervise = Callable[..., Supervised]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """Starts supervisors in this test's folder; ends them with the test."""
    started: list[Supervised] = []

    def start(*processes: Process, options: tuple[str, ...] = (), grace_seconds: float = 10) -> Supervised:
        started.append(Supervised(tmp_path, list(processes), *options, grace_seconds=grace_seconds))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end()


def test_a_process_that_ends_is_started_again(supervise: Supervise) -> None:
    supervised = supervise(shell("worker", "exec sleep 600"))
    old = supervised.pid("worker")
    kill(old)
    eventually(lambda: supervised.record("worker")["restarts"] == 1, within_seconds=5, what="a restart")
    assert supervised.pid("worker") != old
    assert supervised.record("worker")["last_end"] == "by SIGKILL"


def test_a_process_that_keeps_ending_is_started_ever_more_slowly(supervise: Supervise) -> None:
    supervised = supervise(shell("broken", "echo again; exit 7"))
    eventually(lambda: supervised.log("broken").count("again") == 4, within_seconds=10, what="four starts")
    begun = time.monotonic()
    eventually(lambda: supervised.log("broken").count("again") == 5, within_seconds=10, what="a fifth start")
    assert time.monotonic() - begun > 1.0
    assert supervised.record("broken")["last_end"] == "with exit code 7"


def test_a_program_that_is_not_there_does_not_stop_the_others(supervise: Supervise) -> None:
    supervised = supervise(Process("absent", ["/nonexistent/program"]), shell("worker", "exec sleep 600"))
    assert is_alive(supervised.pid("worker"))
    eventually(lambda: "absent cannot be started" in supervised.log("supervisor"), within_seconds=5, what="a reason")


def test_an_urgent_process_and_what_it_starts_take_precedence_over_the_rest(supervise: Supervise) -> None:
    script = "nice; exec sleep 600"
    supervised = supervise(shell("agent", script, urgent=True), shell("worker", script))
    for name, niceness in (("agent", NICENESS), ("worker", os.getpriority(os.PRIO_PROCESS, 0))):
        pid = supervised.pid(name)
        eventually(lambda: supervised.log(name).startswith(f"{niceness}\n"), within_seconds=10, what="niceness")  # noqa: B023
        assert os.getpriority(os.PRIO_PROCESS, pid) == niceness
    autogroup = Path("/proc") / str(supervised.pid("agent")) / "autogroup"
    assert not autogroup.exists() or autogroup.read_text().endswith(f" nice {NICENESS}\n")


def test_the_others_start_when_the_store_listens(supervise: Supervise, tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"
    supervised = supervise(shell("worker", "echo here; exec sleep 600"), listener("store", path, after_seconds=0.5))
    eventually(lambda: "here" in supervised.log("worker"), within_seconds=5, what="the worker's line")
    assert supervised.record("worker")["started_at"] - supervised.record("store")["started_at"] >= 0.5


def test_output_goes_to_the_log_and_to_the_terminal(supervise: Supervise) -> None:
    supervised = supervise(shell("talker", "echo one; echo two >&2; printf three; exec sleep 600"), options=("--show",))
    eventually(lambda: supervised.log("talker") == "one\ntwo\n", within_seconds=5, what="the whole lines")
    supervised.end()
    assert " talker | one\n" in supervised.terminal()
    assert supervised.log("talker") == "one\ntwo\nthree\n"


def test_a_process_that_closes_its_output_goes_on_and_costs_nothing(supervise: Supervise) -> None:
    supervised = supervise(shell("silent", "exec >/dev/null 2>&1; exec sleep 600"))
    supervised.pid("silent")
    before = used_ticks(supervised.process.pid)
    time.sleep(1)  # the measured second, not a wait for something
    assert used_ticks(supervised.process.pid) - before <= 2
    assert supervised.record("silent")["restarts"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything(supervise: Supervise, number: signal.Signals) -> None:
    supervised = supervise(shell("one", "exec sleep 600"), shell("two", "sleep 600 & wait"))
    pids = [supervised.pid("one"), supervised.pid("two")]
    assert supervised.end(number) == 0
    assert not any(map(is_alive, pids))
    assert holder(supervised.plan.lock_path) is None


def test_the_stores_end_last(supervise: Supervise, tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"
    slow_end = "trap 'sleep 0.5; exit' TERM; echo ready; while :; do sleep 0.05; done"
    supervised = supervise(listener("store", path), shell("worker", slow_end))
    eventually(lambda: "ready" in supervised.log("worker"), within_seconds=5, what="the worker's trap")
    supervised.end()
    ended = [line.split()[1] for line in supervised.log("supervisor").splitlines() if " ended " in line]
    assert ended[:2] == ["worker", "store"]


def test_what_a_process_leaves_behind_ends_with_it(supervise: Supervise, tmp_path: Path) -> None:
    supervised = supervise(shell("parent", f"sleep 600 & echo $! > {tmp_path}/left; wait"))
    note = tmp_path / "left"
    eventually(lambda: note.exists() and note.read_text().strip(), within_seconds=5, what="the grandchild")
    left = int(note.read_text())
    kill(supervised.pid("parent"))
    eventually(lambda: not is_alive(left), within_seconds=5, what="the end of the grandchild")


def test_an_end_and_the_last_output_may_be_seen_at_once(supervise: Supervise, tmp_path: Path) -> None:
    note = tmp_path / "left"
    supervised = supervise(shell("parent", f"sleep 600 & echo $! > {note}; wait"), shell("other", "exec sleep 600"))
    eventually(lambda: note.exists() and note.read_text().strip(), within_seconds=5, what="the grandchild")
    other, parent, left = supervised.pid("other"), supervised.pid("parent"), int(note.read_text())
    supervised.process.send_signal(signal.SIGSTOP)
    for pid in (other, parent, left):  # the other wakes the supervisor, the parent's end comes before its output's
        kill(pid)
        eventually(partial(is_gone, pid), within_seconds=5, what=f"the end of {pid}")
    supervised.process.send_signal(signal.SIGCONT)
    eventually(lambda: supervised.record("parent").get("restarts"), within_seconds=5, what="a restart")
    assert supervised.process.poll() is None


def is_gone(pid: int) -> bool:
    """Whether no process with this id runs any more."""
    return not is_alive(pid)


def test_no_process_is_orphaned_when_the_supervisor_is_killed(supervise: Supervise) -> None:
    supervised = supervise(shell("one", "exec sleep 600"), shell("stubborn", "trap '' TERM; while :; do sleep 1; done"))
    pids = [supervised.pid("one"), supervised.pid("stubborn")]
    supervised.end(signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, pids)), within_seconds=5, what="the end of all processes")


def test_a_second_supervisor_steps_aside(supervise: Supervise) -> None:
    first = supervise(shell("worker", "exec sleep 600"))
    old = first.pid("worker")
    second = supervise(shell("worker", "exec sleep 600"))
    assert second.process.wait(60) == ALREADY_RUNNING
    assert first.pid("worker") == old
    assert holder(first.plan.lock_path) == first.process.pid


def test_a_process_that_will_not_end_is_killed_after_its_grace(supervise: Supervise) -> None:
    deaf = shell("stubborn", "trap '' TERM; echo deaf; while :; do sleep 1; done")
    supervised = supervise(deaf, grace_seconds=0.5)
    eventually(lambda: "deaf" in supervised.log("stubborn"), within_seconds=5, what="the trap")
    pid, begun = supervised.pid("stubborn"), time.monotonic()
    assert supervised.end() == 0
    assert time.monotonic() - begun >= 0.5
    assert not is_alive(pid)


def test_a_second_signal_does_not_wait_for_the_grace(supervise: Supervise) -> None:
    supervised = supervise(shell("stubborn", "trap '' TERM; echo deaf; while :; do sleep 1; done"), grace_seconds=300)
    eventually(lambda: "deaf" in supervised.log("stubborn"), within_seconds=5, what="the trap")
    supervised.process.terminate()
    eventually(
        lambda: "told to end" in supervised.log("supervisor"), within_seconds=5, what="the first signal's effect"
    )
    assert supervised.end(signal.SIGINT) == 0
