"""Lines of input: to a real terminal, in order, once, and never swallowed."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fleet.keys import key
from fleet.lifecycle import Action, State
from tests.agent.bench import Bench
from tests.support.deadline import eventually
from worker.agent.inputs import Inputs

pytestmark = pytest.mark.engine

_ECHO = 'echo up; while read -r line; do echo "got $line"; done'


def _run(host: Bench, name: str, script: str) -> None:
    host.install(name, script)
    host.do(name, Action.START)
    eventually(lambda: host.output(name).startswith(b"up\n"), within_seconds=5, what="the first line")


def test_lines_arrive_in_order_and_once(host: Bench) -> None:
    _run(host, "echo", _ECHO)
    answers = [host.send("echo", f"line {number}\n") for number in range(200)]
    assert answers == [None] * 200
    expected = "up\n" + "".join(f"got line {number}\n" for number in range(200))
    eventually(lambda: host.output("echo") == expected.encode(), within_seconds=10, what="all echoes")


def test_a_burst_of_lines_arrives_in_order_and_once(host: Bench) -> None:
    _run(host, "echo", _ECHO)
    until = time.time() + 60
    with host.stores.record.pipeline() as pipe:
        for number in range(2000):
            order = {
                "input": host.id_of("echo"),
                "data": f"line {number} {'x' * 40}\n",
                "reply": f"r{number}",
                "until": until,
            }
            pipe.rpush(key("orders", host.node), json.dumps(order))
        pipe.execute()
    answers = [host.stores.blocking.blpop([key("reply", f"r{number}")], timeout=30)[1] for number in range(2000)]
    taken = [number for number, answer in enumerate(answers) if answer == ""]
    assert len(taken) > 500, "a program that reads gets most of a burst"
    expected = "up\n" + "".join(f"got line {number} {'x' * 40}\n" for number in taken)
    eventually(lambda: host.output("echo") == expected.encode(), within_seconds=20, what="every line that was taken")


def test_a_program_that_does_not_read_is_not_given_more_than_its_terminal_keeps(host: Bench) -> None:
    _run(host, "deaf", 'echo up; until [ -e go ]; do sleep 0.1; done; while read -r line; do echo "got $line"; done')
    answers = []
    while None not in answers or answers[-1] is None:
        answers.append(host.send("deaf", f"{len(answers):04} {'x' * 500}\n"))
    assert answers[-1] and "not accepting input" in answers[-1]
    taken = len(answers) - 1
    assert 5 <= taken <= 8
    (host.settings.data / "volumes" / host.record("deaf").volume_id / "go").touch()
    expected = "up\n" + "".join(f"got {number:04} {'x' * 500}\n" for number in range(taken))
    eventually(lambda: host.output("deaf") == expected.encode(), within_seconds=10, what="every line that was taken")
    assert host.send("deaf", "again\n") is None


def test_one_program_that_does_not_read_holds_up_no_other(host: Bench) -> None:
    _run(host, "deaf", "echo up; sleep 60")
    _run(host, "echo", _ECHO)
    until = time.time() + 60
    with host.stores.record.pipeline() as pipe:
        for number in range(30):
            order = {"input": host.id_of("deaf"), "data": "x" * 1000 + "\n", "reply": f"d{number}", "until": until}
            pipe.rpush(key("orders", host.node), json.dumps(order))
        pipe.execute()
    assert host.send("echo", "hello\n") is None
    assert host.stores.record.exists(key("reply", "d29")) == 0, "lines for the deaf one still wait"
    eventually(lambda: b"got hello" in host.output("echo"), within_seconds=5, what="the echo")


def test_programs_that_do_not_read_hold_up_no_other_however_much_waits_for_them(
    host: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(host, "deaf", "echo up; sleep 60")
    _run(host, "echo", _ECHO)
    monkeypatch.setattr("worker.agent.inputs._THREADS", 1)  # the others have as many programs that do not read
    inputs = Inputs(host.settings, host.runtime, host.orders, host.containers)
    until = time.time() + 60
    for number in range(12):
        order = {"input": host.id_of("deaf"), "data": "x" * 1000 + "\n", "reply": f"d{number}", "until": until}
        inputs.take(order)
    inputs.take({"input": host.id_of("echo"), "data": "hello\n", "reply": "e", "until": until})
    assert host.stores.blocking.blpop([key("reply", "e")], timeout=30)[1] == ""
    assert host.stores.record.exists(key("reply", "d11")) == 0, "lines for the deaf one still wait"
    assert host.stores.blocking.blpop([key("reply", "d11")], timeout=30)[1] != ""
    monkeypatch.setattr("worker.agent.inputs._IDLE_SECONDS", -60)
    eventually(lambda: inputs.close_idle() or not inputs._keyboards, within_seconds=10, what="an end of the typing")


def test_what_does_not_run_says_so(host: Bench) -> None:
    host.install("idle", "sleep 60")
    assert host.send("idle", "x\n") == "The container is not running; the command was not sent."
    assert host.send("unknown", "x\n") == "The container is not running; the command was not sent."


def test_a_line_for_a_process_that_is_about_to_start_waits_for_it(host: Bench) -> None:
    host.install("echo", _ECHO)
    job = host.begin("echo", Action.START)
    with ThreadPoolExecutor(1) as typist:
        answer = typist.submit(host.send, "echo", "early\n")
        host.perform(job)
        assert answer.result() is None
    eventually(lambda: b"got early" in host.output("echo"), within_seconds=5, what="the echo")


def test_a_container_that_somebody_has_paused_in_the_engine_takes_no_input_and_says_so(host: Bench) -> None:
    _run(host, "echo", _ECHO)
    paused = host.engine.containers.get(f"lightd-{host.id_of('echo')}")
    paused.pause()
    try:
        refusal = host.send("echo", "hello\n")
    finally:
        paused.unpause()
    assert (
        refusal
        == "The container is not accepting input: it has just ended, or is paused in the engine; start or repair it."
    )
    assert host.send("echo", "again\n") is None


def test_input_reaches_the_next_run_too(host: Bench) -> None:
    _run(host, "echo", _ECHO)
    assert host.send("echo", "one\n") is None
    eventually(lambda: b"got one" in host.output("echo"), within_seconds=5, what="the first echo")
    host.await_end(host.begin("echo", Action.KILL, queue="agent"))
    assert host.send("echo", "lost\n") == "The container is not running; the command was not sent."
    host.do("echo", Action.START)
    host.await_state("echo", State.RUNNING)
    assert host.send("echo", "two\n") is None
    eventually(lambda: b"got two" in host.output("echo"), within_seconds=5, what="the second echo")
    assert b"lost" not in host.output("echo")


def test_an_order_that_comes_too_late_is_not_carried_out(host: Bench) -> None:
    _run(host, "echo", _ECHO)
    order = {"input": host.id_of("echo"), "data": "late\n", "reply": "late", "until": time.time() - 1}
    host.stores.record.rpush(key("orders", host.node), json.dumps(order))
    answer = host.stores.blocking.blpop([key("reply", "late")], timeout=30)
    assert "too late" in answer[1]
    assert host.send("echo", "now\n") is None
    eventually(lambda: b"got now" in host.output("echo"), within_seconds=5, what="the echo")
    assert b"late" not in host.output("echo")
