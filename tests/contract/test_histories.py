"""What happened to a container: its events, the ends of its runs, and its restart policy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.answers import accepted, refused
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def events_of(stack: Stack, container: str, query: str = "") -> list[dict[str, Any]]:
    """Newest first."""
    found: list[dict[str, Any]] = accepted(stack.api("GET", f"/containers/{container}/events{query}"))["events"]
    return found


def test_a_crash_is_told_kept_and_shown(stack: Stack, servers: Servers) -> None:
    container = servers.create("echo some words; exit 3")
    with stack.socket(container) as events:
        servers.act(container, "start")
        told = events.wait_for(lambda event: "crashed" in str(event.get("data")), 30)
        events.wait_for_state("exit", 30)
    assert told["event"] == "daemon_message"
    assert told["data"].startswith("Container crashed (exit code 3) after ")
    assert told["data"].endswith("; it is not started again by itself.")
    record = servers.record(container)
    assert (record["exit_code"], record["oom_killed"], record["restart_at"]) == (3, False, None)
    end = record["last_end"]
    assert (end["cause"], end["exit_code"], end["signal"], end["output"]) == ("crash", 3, None, "some words\n")
    assert end["started_at"] <= end["ended_at"]
    assert accepted(stack.api("GET", f"/containers/{container}/ends")) == {"ends": [end]}
    (crash,) = [event for event in events_of(stack, container) if event["event"] == "crash"]
    assert crash["data"] == {name: value for name, value in end.items() if name != "output" and value is not None}


def test_events_say_who_asked_and_come_newest_first_in_pages(stack: Stack, servers: Servers) -> None:
    token = accepted(stack.api("POST", "/auth/tokens", json={"ttl": "1h"}))
    container = servers.create("sleep 600")
    sent = {"X-Request-ID": "my-request-7"}
    started = stack.api("POST", f"/containers/{container}/start", token=token["token"], headers=sent)
    job = accepted(started)["job_id"]
    stack.wait_for_job(job)
    found = events_of(stack, container)
    assert [event["at"] for event in found] == sorted((event["at"] for event in found), reverse=True)
    asked = next(event["data"] for event in found if event["event"] == "job_asked" and event["data"]["job_id"] == job)
    assert asked == {"job_id": job, "kind": "start", "asked_by": token["id"], "request_id": "my-request-7"}
    install = [event["data"] for event in found if event["event"] == "job_asked"][-1]
    assert (install["kind"], install["asked_by"]) == ("install", "master")
    pages: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = f"?limit=2&cursor={cursor}" if cursor else "?limit=2"
        page = accepted(stack.api("GET", f"/containers/{container}/events{query}"))
        assert len(page["events"]) <= 2
        pages += page["events"]
        cursor = page.get("next_cursor")
    assert pages == found
    refused(stack.api("GET", f"/containers/{container}/events?limit=0"), 400)


def test_a_command_over_a_socket_names_its_caller_too(stack: Stack, servers: Servers) -> None:
    token = accepted(stack.api("POST", "/auth/tokens", json={"ttl": "1h"}))
    container = servers.create("sleep 600")
    with stack.socket(container, token=token["token"]) as socket:
        socket.send({"event": "power", "action": "start"})
        socket.wait_for_state("running", 30)
    asked = [event["data"] for event in events_of(stack, container) if event["event"] == "job_asked"]
    assert (asked[0]["kind"], asked[0]["asked_by"]) == ("start", token["id"])


def test_a_crash_is_followed_by_as_many_starts_as_were_asked_for(stack: Stack, servers: Servers) -> None:
    container = servers.create("exit 9", restart_policy={"policy": "on-crash", "max_tries": 1})
    with stack.socket(container) as socket:
        servers.act(container, "start")
        socket.wait_for(lambda event: "starts again in 1 s (try 1 of 1)" in str(event.get("data")), 30)
        socket.wait_for(lambda event: "started again 1 times and stays off" in str(event.get("data")), 60)
    ends = accepted(stack.api("GET", f"/containers/{container}/ends"))["ends"]
    assert [end["exit_code"] for end in ends] == [9, 9]
    record = servers.record(container)
    assert record["restart_policy"] == {"policy": "on-crash", "max_tries": 1}
    assert (record["restarts"], record["restart_at"]) == (1, None)
    asked = [event["data"] for event in events_of(stack, container) if event["event"] == "job_asked"]
    assert (asked[0]["kind"], asked[0]["asked_by"]) == ("start", "policy")


def test_a_stop_ends_a_loop_of_crashes(stack: Stack, servers: Servers) -> None:
    container = servers.create("exit 9", restart_policy="always")
    servers.act(container, "start")

    eventually(lambda: servers.record(container)["restarts"] >= 3, within_seconds=60, what="the third start")
    stopped = servers.act(container, "stop")
    assert stack.wait_for_job(stopped["job_id"])["state"] == "done"
    record = servers.record(container)
    assert (record["state"], record["restart_at"], record["restarts"]) == ("ready", None, 0)


def test_an_unknown_container_has_no_history(stack: Stack) -> None:
    for what in ("events", "ends"):
        refused(stack.api("GET", f"/containers/nobody/{what}"), 404, "Container not found")
