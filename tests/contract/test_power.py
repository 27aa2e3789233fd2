"""Start, stop, kill and restart, and what the process says meanwhile."""

from __future__ import annotations

import time

import docker
import pytest

from tests.support.answers import accepted, refused
from tests.support.deadline import eventually
from tests.support.servers import READ_LINES, Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

DEAF = "trap '' TERM INT HUP; echo Ready; while true; do sleep 0.2; done"


@pytest.mark.parametrize("action", ["start", "stop", "kill", "restart"])
def test_an_action_is_answered_at_once_with_its_job(stack: Stack, servers: Servers, action: str) -> None:
    container = servers.create() if action == "start" else servers.run()
    answer = servers.act(container, action)
    assert answer["internal_id"] == container
    assert answer["message"] == f"Container {action} initiated"
    job = stack.wait_for_job(answer["job_id"])
    assert (job["state"], job["kind"], job["internal_id"]) == ("done", action, container)


def test_without_a_pattern_a_started_container_is_running_at_once(stack: Stack, servers: Servers) -> None:
    container = servers.create("sleep 600")
    servers.act(container, "start")
    record = stack.wait_for_state(container, "running")
    assert record["started_at"] is not None


def test_with_a_pattern_it_is_starting_until_a_line_matches(stack: Stack, servers: Servers) -> None:
    command = r'read -r go; printf "\033[32mDone (%s.2s)!\033[0m For help, type help\n" "$go"; sleep 600'
    container = servers.create(command, start_pattern=r"^Done \(\d+\.\d+s\)!")
    with stack.socket(container) as events:
        servers.act(container, "start")
        events.wait_for_state("starting")
        stack.wait_for_state(container, "starting")
        events.send({"event": "send_command", "command": "31"})
        events.wait_for_state("running")
        assert servers.record(container)["state"] == "running"


def test_a_process_that_ends_leaves_its_exit_code(stack: Stack, servers: Servers) -> None:
    container = servers.create("echo bye; exit 7")
    with stack.socket(container) as events:
        servers.act(container, "start")
        events.wait_for_state("exit")
        events.wait_for_console("bye")
    record = stack.wait_for_state(container, "ready")
    assert (record["exit_code"], record["oom_killed"], record["install_state"]) == (7, False, "ready")


def test_stop_asks_the_process_with_a_signal(stack: Stack, servers: Servers) -> None:
    command = "trap 'echo saving; exit 0' TERM; echo Ready; while true; do sleep 0.1; done"
    container = servers.run(command, start_pattern="Ready", stop_timeout=30)
    servers.act(container, "stop")
    assert stack.wait_for_state(container, "ready", 10)["exit_code"] == 0
    assert "saving" in servers.logs(container)


def test_stop_sends_the_signal_that_was_chosen(stack: Stack, servers: Servers) -> None:
    command = "trap 'echo got INT; exit 0' INT; trap '' TERM; echo Ready; while true; do sleep 0.1; done"
    container = servers.run(command, start_pattern="Ready", stop_signal="SIGINT", stop_timeout=30)
    servers.act(container, "stop")
    stack.wait_for_state(container, "ready", 10)
    assert "got INT" in servers.logs(container)


def test_stop_types_the_stop_command(stack: Stack, servers: Servers) -> None:
    command = 'trap "" TERM; echo Ready; while read -r line; do [ "$line" = "save and quit" ] && exit 5; done'
    container = servers.run(command, start_pattern="Ready", stop_command="save and quit", stop_timeout=30)
    servers.act(container, "stop")
    assert stack.wait_for_state(container, "ready", 10)["exit_code"] == 5


def test_a_process_that_does_not_stop_is_killed_after_the_timeout(stack: Stack, servers: Servers) -> None:
    container = servers.run(DEAF, start_pattern="Ready", stop_timeout=2)
    began = time.monotonic()
    servers.act(container, "stop")
    stack.wait_for_state(container, "stopping", 5)
    assert stack.wait_for_state(container, "ready", 15)["exit_code"] == 137
    assert time.monotonic() - began >= 1.9


def test_kill_overtakes_a_waiting_stop(stack: Stack, servers: Servers) -> None:
    container = servers.run(DEAF, start_pattern="Ready", stop_timeout=600)
    stop = servers.act(container, "stop")
    stack.wait_for_state(container, "stopping")
    servers.act(container, "kill")
    stack.wait_for_state(container, "ready", 10)
    assert stack.wait_for_job(stop["job_id"])["state"] in ("done", "cancelled")


def test_restart_is_a_new_process_of_the_same_container(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    container = servers.run(READ_LINES, start_pattern="Ready", stop_timeout=2)
    before = servers.record(container)
    process = engine.containers.get(before["container_id"]).attrs["State"]["Pid"]
    with stack.socket(container) as events:
        answer = servers.act(container, "restart")
        assert stack.wait_for_job(answer["job_id"])["state"] == "done"
        events.wait_for_state("starting")
        events.wait_for_state("running", start=events.events.index(events.wait_for_state("starting")))
    after = stack.wait_for_state(container, "running")
    assert after["container_id"] == before["container_id"]
    assert after["started_at"] >= before["started_at"]  # whole seconds: a quick restart may stay in the same one
    assert engine.containers.get(before["container_id"]).attrs["State"]["Pid"] != process


@pytest.mark.parametrize(
    ("running", "action"), [(True, "start"), (False, "stop"), (False, "kill")], ids=["start", "stop", "kill"]
)
def test_an_action_that_the_state_does_not_allow_is_409_and_names_the_state(
    stack: Stack, servers: Servers, running: bool, action: str
) -> None:
    container = servers.run() if running else servers.create()
    body = refused(stack.api("POST", f"/containers/{container}/{action}"), 409)
    assert ("running" if running else "ready") in body["error"]
    assert servers.record(container)["state"] == ("running" if running else "ready")


def test_the_state_follows_the_engine_when_somebody_else_kills_the_process(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    container = servers.run()
    engine.containers.get(f"lightd-{container}").kill()
    assert stack.wait_for_state(container, "ready", 10)["exit_code"] == 137


def test_a_power_call_needs_no_body_and_takes_an_empty_one(stack: Stack, servers: Servers) -> None:
    container = servers.create()
    answer = accepted(stack.api("POST", f"/containers/{container}/start", json={}))
    assert stack.wait_for_job(answer["job_id"])["state"] == "done"


def test_logs_are_the_last_lines_of_the_output(stack: Stack, servers: Servers) -> None:
    container = servers.create("for n in 1 2 3 4 5 6 7 8 9; do echo line $n; done; sleep 600")
    servers.act(container, "start")
    eventually(lambda: "line 9" in servers.logs(container), within_seconds=10, what="the output")
    assert servers.logs(container).replace("\r", "").splitlines() == [f"line {n}" for n in range(1, 10)]
    assert servers.logs(container, "?lines=2").replace("\r", "").splitlines() == ["line 8", "line 9"]
    for query in ("?lines=-1", "?lines=many"):
        refused(stack.api("GET", f"/containers/{container}/logs{query}"), 400)


def test_logs_of_a_container_that_ended_are_still_there(stack: Stack, servers: Servers) -> None:
    container = servers.create("echo last words")
    servers.act(container, "start")
    eventually(lambda: "last words" in servers.logs(container), within_seconds=10, what="the output")
    stack.wait_for_state(container, "ready")
    assert "last words" in servers.logs(container)
