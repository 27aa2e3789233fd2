"""Jobs: every call that starts work can be followed to its end."""

from __future__ import annotations

import secrets
import time

import pytest

from tests.support.answers import Answer, accepted, refused
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

FIELDS = {"job_id", "kind", "node", "state", "step", "progress", "error", "result", "created_at", "finished_at"}


def test_a_finished_job_tells_all_about_itself(stack: Stack, servers: Servers) -> None:
    made = accepted(servers.ask())
    stack.wait_for_job(made["job_id"])
    job = accepted(stack.api("GET", f"/jobs/{made['job_id']}"))
    assert job.keys() >= FIELDS | {"internal_id"}
    assert (job["job_id"], job["internal_id"], job["node"]) == (made["job_id"], made["internal_id"], stack.node)
    assert (job["state"], job["error"]) == ("done", None)
    assert job["progress"] is None or job["progress"] == 1
    assert time.time() - 60 < job["created_at"] <= job["finished_at"] < time.time() + 60


def test_a_job_under_way_names_its_step_and_has_no_end_yet(stack: Stack, servers: Servers) -> None:
    made = accepted(servers.ask(install_script="#!/bin/sh\nsleep 600"))

    def under_way() -> Answer | None:
        job = accepted(stack.api("GET", f"/jobs/{made['job_id']}"))
        assert job["state"] in ("queued", "running")
        assert job["finished_at"] is None
        return job if job["state"] == "running" and job["step"] else None

    job = eventually(under_way, within_seconds=10, what="the job's first step") or {}
    assert isinstance(job["step"], str)
    assert job["progress"] is None or 0 <= job["progress"] <= 1
    assert servers.record(made["internal_id"])["job_id"] == made["job_id"]


def test_a_failed_job_says_why(stack: Stack, servers: Servers) -> None:
    made = accepted(servers.ask(install_script="#!/bin/sh\necho the disk is too small\nexit 1"))
    job = stack.wait_for_job(made["job_id"])
    assert job["state"] == "failed"
    assert job["error"]
    assert job["finished_at"] is not None


def test_the_jobs_of_a_container_are_listed(stack: Stack, servers: Servers) -> None:
    made = accepted(servers.ask())
    container = made["internal_id"]
    stack.wait_for_state(container, "ready")
    started = servers.act(container, "start")
    stack.wait_for_job(started["job_id"])
    jobs = accepted(stack.api("GET", f"/containers/{container}/jobs"))["jobs"]
    assert {job["job_id"] for job in jobs} == {made["job_id"], started["job_id"]}
    assert all(job.keys() >= FIELDS for job in jobs)


@pytest.mark.parametrize("job_id", ["x", "d6764075-c5f1-4045-9fb3-85315b85cb0f", "0" * 300])
def test_an_unknown_job_is_404(stack: Stack, job_id: str) -> None:
    refused(stack.api("GET", f"/jobs/{job_id}"), 404)


def test_the_clients_request_id_runs_through_the_jobs_log_lines(stack: Stack, servers: Servers) -> None:
    headers = {"X-Request-ID": f"follow-{secrets.token_hex(6)}"}
    made = accepted(stack.api("POST", "/containers", json=servers.body(), headers=headers))
    assert stack.wait_for_job(made["job_id"])["state"] == "done"
    log = (stack.data / "log/long.log").read_text()
    assert any(headers["X-Request-ID"] in line and made["job_id"] in line for line in log.splitlines())
