"""Installs that cannot succeed: the reason is told, and everything taken is given back."""

from __future__ import annotations

import time
from typing import Any

import docker
import pytest

from tests.support.answers import Answer, accepted
from tests.support.registry import Registry
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def outcome(stack: Stack, servers: Servers, engine: docker.DockerClient, **fields: Any) -> tuple[Answer, Answer]:
    """Ask for a container with a port, wait for its failure; its job and its record."""
    port = servers.port()
    body = servers.body(ports=[port], **fields)
    container = body["internal_id"]
    with stack.socket(container) as events:
        made = accepted(servers.post(body))
        job = stack.wait_for_job(made["job_id"], 40)
        events.wait_for_state("failed")
    assert events.states() == ["installing", "failed"]
    record = servers.record(container)
    assert (job["state"], record["state"], record["install_state"]) == ("failed", "failed", "failed")
    assert record["error"] == job["error"]
    assert not servers.in_use(port), "its port is free again"
    assert not engine.containers.list(all=True, filters={"name": container})
    assert not engine.images.list(name=f"lightd/{container}")
    return job, record


def test_an_image_that_nobody_has_is_named_in_the_reason(
    stack: Stack, servers: Servers, engine: docker.DockerClient, registry: Registry
) -> None:
    image = f"{registry.address}/nothing:1"
    job, _ = outcome(stack, servers, engine, image=image)
    assert image in job["error"]
    assert "Traceback" not in job["error"]


def test_a_registry_that_does_not_answer_is_named_in_the_reason(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    port = servers.port()
    image = f"127.0.0.1:{port['port']}/game:1"
    job, _ = outcome(stack, servers, engine, image=image)
    assert image in job["error"]


def test_a_script_that_fails_is_quoted_with_its_last_lines(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    script = "#!/bin/sh\nfor n in $(seq 1 200); do echo noise $n; done\necho cannot reach the mirror >&2\nexit 1"
    job, _ = outcome(stack, servers, engine, install_script=script)
    assert "cannot reach the mirror" in job["error"]
    assert "1" in job["error"].replace("mirror", "")
    assert "noise 1\n" not in job["error"]
    assert len(job["error"]) < 4000


def test_a_script_whose_interpreter_is_missing_says_so(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    job, _ = outcome(stack, servers, engine, install_script="#!/usr/bin/perl6\nsay 1")
    assert "perl6" in job["error"]


def test_a_script_that_never_ends_is_ended_at_its_time(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    began = time.monotonic()
    script = "#!/bin/sh\nwhile true; do sleep 1; done"
    job, _ = outcome(stack, servers, engine, install_script=script, install_timeout=2)
    assert time.monotonic() - began >= 2
    assert "2 s" in job["error"], "the limit is named"


def test_a_script_that_eats_all_its_memory_fails_with_a_reason(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    script = "#!/bin/sh\nx=aaaaaaaaaaaaaaaa\nwhile true; do x=$x$x; done"
    job, _ = outcome(stack, servers, engine, install_script=script, install_timeout=20)
    assert "memory" in job["error"].lower()


def test_a_script_that_fills_the_volume_harms_nobody_else(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    volume = servers.volume(16)["volume_id"]
    script = "#!/bin/sh\nset -e\ndd if=/dev/zero of=big bs=1M count=100"
    job, _ = outcome(stack, servers, engine, install_script=script, volume_id=volume)
    assert "No space left" in job["error"]
