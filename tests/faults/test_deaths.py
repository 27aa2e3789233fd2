"""Each process killed while it is needed: nothing acknowledged is lost, nothing is doubled, nothing leaks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import docker
import pytest
import requests

from tests.support.answers import accepted, refused
from tests.support.at_once import at_once
from tests.support.deadline import eventually
from tests.support.event_socket import Event, EventSocket
from tests.support.servers import Servers, numbers_in
from tests.support.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]

READINESS = ("GET", "/readyz")
COUNTING = "n=0; while true; do echo line $n; n=$((n+1)); usleep 20000; done"


def last_number(events: EventSocket) -> int:
    numbers = numbers_in(events.console_text())
    return numbers[-1] if numbers else -1


def wait_for_more(events: EventSocket, more: int, seconds: float = 20) -> None:
    """Wait until numbers arrive that are `more` beyond the last one seen."""
    goal = last_number(events) + more
    eventually(lambda: last_number(events) >= goal, within_seconds=seconds, what=f"line {goal}")


def has_every_number_once(*watchers: EventSocket) -> None:
    """What the watchers got, one after the other, is 0, 1, 2, …; a failure names the `seq` beside the hole."""
    expected = 0
    for event in (event for watcher in watchers for event in watcher.events if event["event"] == "console"):
        for number in numbers_in(event["data"]):
            assert number == expected, f"line {number} instead of {expected}, in seq {event['seq']}: {_seqs(*watchers)}"
            expected += 1


def _seqs(*watchers: EventSocket) -> list[list[tuple[int, list[int]]]]:
    return [
        [(event["seq"], numbers_in(event["data"])) for event in watcher.events if event["event"] == "console"]
        for watcher in watchers
    ]


@pytest.mark.parametrize("name", ["long", "quick"])
def test_an_install_goes_on_or_fails_with_a_reason_when_a_worker_is_killed(
    stack: Stack, servers: Servers, engine: docker.DockerClient, name: str
) -> None:
    port = servers.port()
    script = "#!/bin/sh\necho begun\nsleep 3\necho made > made.txt\ntouch /opt-made"
    made = accepted(servers.ask("cat made.txt; ls /opt-made", ports=[port], install_script=script))
    container = made["internal_id"]
    eventually(lambda: "begun" in servers.logs(container), within_seconds=20, what="the install")
    stack.wait_restarted(name, stack.kill(name))
    job = stack.wait_for_job(made["job_id"], 30)
    record = servers.record(container)
    assert not engine.containers.list(all=True, filters={"name": f"lightd-{container}-install"})
    if job["state"] == "done":
        assert record["state"] == "ready"
        servers.act(container, "start")
        eventually(lambda: "/opt-made" in servers.logs(container), within_seconds=15, what="the output")
        assert "made" in servers.logs(container).split()
    else:
        assert (record["state"], bool(record["error"])) == ("failed", True)
        assert not servers.in_use(port)


def test_what_is_asked_while_the_workers_are_dead_is_done_when_they_are_back(stack: Stack, servers: Servers) -> None:
    container = servers.create()
    old = {name: stack.kill(name) for name in ("long", "quick")}
    started = servers.act(container, "start")
    made = accepted(servers.ask())
    for name, pid in old.items():
        stack.wait_restarted(name, pid)
    assert stack.wait_for_job(started["job_id"], 30)["state"] == "done"
    assert stack.wait_for_job(made["job_id"], 30)["state"] == "done"
    stack.wait_for_state(container, "running")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("name", ["store", "stream"])
def test_the_api_recovers_when_a_store_is_restarted_and_nothing_is_lost(
    stack: Stack, servers: Servers, name: str, number: signal.Signals
) -> None:
    port = servers.port()
    container = servers.run(ports=[port])
    before = servers.record(container)
    old = stack.kill(name, number)
    for answer in _answers_until_restarted(stack, name, old):
        if answer.status_code != 200:
            refused(answer, 503)
            assert int(answer.headers["Retry-After"]) >= 1
    eventually(lambda: stack.api("GET", "/containers").ok, within_seconds=5, what="the recovery of the API")
    assert servers.record(container) == before
    assert servers.in_use(port)
    with stack.socket(container) as events:
        events.wait_for_state("running")
        events.send({"event": "send_command", "command": "still there"})
        events.wait_for_console("got still there", 15)
    killed = servers.act(container, "kill")
    assert stack.wait_for_job(killed["job_id"], 15)["state"] == "done"
    assert stack.wait_for_job(servers.act(container, "start")["job_id"], 30)["state"] == "done"
    assert stack.wait_for_job(accepted(servers.ask())["job_id"], 30)["state"] == "done"


def _answers_until_restarted(stack: Stack, name: str, old: int) -> Iterator[requests.Response]:
    while stack.pid(name) == old:
        yield stack.api("GET", "/containers", timeout=60)


def test_while_the_store_does_not_answer_everything_is_503_and_says_when_to_try_again(
    stack: Stack, servers: Servers
) -> None:
    container = servers.create()
    before = servers.record(container)
    stack.kill("store", signal.SIGSTOP)
    try:
        calls = [("GET", "/containers"), ("POST", f"/containers/{container}/start"), ("POST", "/volumes"), READINESS]
        answers = at_once([partial(stack.api, method, path, timeout=60) for method, path in calls])
        for answer in answers:
            refused(answer, 503)
            assert int(answer.headers["Retry-After"]) >= 1
        assert "store" in answers[-1].json()["error"], "readiness names what is missing"
    finally:
        stack.kill("store", signal.SIGCONT)
    eventually(lambda: _answers(stack), within_seconds=5, what="the recovery of the API")
    stack.wait_ready()
    assert servers.record(container)["container_id"] == before["container_id"]
    eventually(lambda: servers.record(container)["state"] in ("ready", "running"), within_seconds=20, what="rest")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_client_misses_nothing_when_the_api_is_restarted(
    stack: Stack, servers: Servers, number: signal.Signals
) -> None:
    container = servers.create(COUNTING)
    with stack.socket(container) as first:
        servers.act(container, "start")
        wait_for_more(first, 50)
        old = stack.kill("api", number)
        code = first.wait_closed(10)
        if number == signal.SIGTERM:
            assert code == 1001
    stack.wait_restarted("api", old)
    eventually(lambda: _answers(stack), within_seconds=5, what="an answer of the new API")
    last_seq = max(event["seq"] for event in first.events if event["event"] == "console")
    with stack.socket(container, since=last_seq) as second:
        second.wait_for_console("line")
        wait_for_more(second, 50)
    has_every_number_once(first, second)
    assert last_number(first) >= 49


def _answers(stack: Stack) -> bool:
    try:
        return stack.api("GET", "/containers", timeout=2).ok
    except requests.RequestException:
        return False


def test_every_line_comes_exactly_once_when_the_agent_is_killed(stack: Stack, servers: Servers) -> None:
    container = servers.create(COUNTING)
    with stack.socket(container) as events:
        servers.act(container, "start")
        for _ in range(3):
            wait_for_more(events, 50)
            stack.wait_restarted("agent", stack.kill("agent"))
        wait_for_more(events, 100)
        assert servers.record(container)["state"] == "running", "the container ran on"
    has_every_number_once(events)


def test_a_command_arrives_after_the_agent_was_killed(stack: Stack, servers: Servers) -> None:
    container = servers.run()
    stack.wait_restarted("agent", stack.kill("agent"))
    with stack.socket(container) as events:
        events.wait_for_state("running")

        def repeats() -> bool:
            seen = len(events.events)
            events.send({"event": "send_command", "command": "hello"})
            answer = events.wait_for(_is_echo_or_error, 15, start=seen)
            return bool(answer["event"] == "console")

        eventually(repeats, within_seconds=15, what="the command's echo")


def _is_echo_or_error(event: Event) -> bool:
    return "got hello" in event["data"] if event["event"] == "console" else event["event"] == "daemon_message"


def test_an_end_that_the_agent_did_not_see_is_known_when_it_is_back(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    container = servers.run("read -r line; exit 9")
    old = stack.kill("agent")
    engine.containers.get(f"lightd-{container}").kill()
    stack.wait_restarted("agent", old)
    assert stack.wait_for_state(container, "ready", 15)["exit_code"] == 137


def test_a_reader_never_sees_half_a_file_though_the_files_process_is_killed(stack: Stack, servers: Servers) -> None:
    made = servers.volume(64)
    target = Path(made["path"]) / "contested"
    with _writing(stack, made["volume_id"]) as statuses:
        for _ in range(3):
            seen = len(statuses)
            eventually(lambda seen=seen: 200 in statuses[seen:], within_seconds=20, what="a write")  # type: ignore[misc]
            stack.wait_restarted("files", stack.kill("files"))
            content = target.read_bytes()
            assert (len(content), len(set(content))) == (2 * 2**20, 1), "whole, and of one writer"
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 3
    route = f"/volumes/{made['volume_id']}/files"
    body = {"path": "after", "content": "the files process is back"}
    eventually(lambda: stack.api("POST", route, json=body).ok, within_seconds=10, what="a write")
    names = [file["name"] for file in accepted(stack.api("GET", route))["files"]]
    assert [name for name in names if name != "lost+found"] == ["after", "contested"], "no half file is left"


def test_a_volume_whose_deletion_was_cut_off_goes_all_the_same(stack: Stack, servers: Servers) -> None:
    made = servers.volume()
    route = f"/volumes/{made['volume_id']}"
    old = stack.kill("files")
    answer = stack.api("DELETE", route)
    stack.wait_restarted("files", old)
    if answer.status_code == 503:
        eventually(lambda: not Path(made["path"]).exists(), within_seconds=60, what="the end of what is left of it")
    assert not Path(made["path"]).is_mount()
    refused(stack.api("GET", route), 404, "Volume not found")


@contextmanager
def _writing(stack: Stack, volume: str) -> Iterator[list[int]]:
    """Two writers of 2 MB replace one file again and again; the statuses of their calls."""
    statuses: list[int] = []
    done = threading.Event()

    def write(letter: str) -> None:
        body = {"path": "contested", "content": letter * (2 * 2**20)}
        while not done.is_set():
            answer = stack.api("POST", f"/volumes/{volume}/files", json=body)
            if answer.status_code == 503:
                refused(answer, 503)
                assert "Retry-After" in answer.headers
            statuses.append(answer.status_code)

    writers = [threading.Thread(target=write, args=(letter,), daemon=True) for letter in "ab"]
    for writer in writers:
        writer.start()
    try:
        yield statuses
    finally:
        done.set()
        for writer in writers:
            writer.join(60)
