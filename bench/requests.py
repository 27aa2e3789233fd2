"""Requests a second for one container's record through the whole stack, by wrk with 16 connections."""

from __future__ import annotations

import re
import subprocess

import docker

from bench.figures import show
from tests.support.images import BUSYBOX
from tests.support.stack import VENDOR_TYPE, Stack


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Rate and median latency of `GET /containers/<id>`."""
    volume = stack.api("POST", "/volumes", json={"size": 16}).json()["volume_id"]
    body = {"internal_id": "bench", "image": BUSYBOX, "volume_id": volume, "startup_command": "true"}
    job = stack.api("POST", "/containers", json=body).json()["job_id"]
    stack.wait_for_job(job)
    headers = ["-H", f"Authorization: Bearer {stack.token}", "-H", f"Accept: {VENDOR_TYPE}"]
    command = ["wrk", "-t1", "-c16", "-d15s", "--latency", *headers, f"{stack.base_url}/containers/bench"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output:
        raise AssertionError(output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    middle = re.search(r"50%\s+(\S+)", output)
    last = re.search(r"99%\s+(\S+)", output)
    assert rate and middle and last, output
    show("GET /containers/<id>, 16 connections", f"{float(rate[1]):,.0f} requests/s", "1,500 requests/s")
    show("median (p99)", f"{middle[1]} ({last[1]})", "12 ms")
