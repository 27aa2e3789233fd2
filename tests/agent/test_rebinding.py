"""Rebinding on the real engine with the agent at work: whatever call a worker dies in, the server comes back."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from fleet.lifecycle import Action, State
from fleet.models import Job, Port, PortWish
from fleet.repositories.jobs import new_job
from fleet.repositories.ports import PortRepository
from tests.agent.bench import Bench
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from tests.support.ports import free_port
from worker.runtime.docker import DockerRuntime

pytestmark = pytest.mark.engine


SERVER = "trap exit TERM; echo up; while true; do sleep 0.1; done"


class Death(BaseException):
    """The worker process is gone."""


def running_with_a_wish(host: Bench, short: str, command: str = SERVER, **spec: object) -> tuple[Job, int]:
    """A running server without ports, and a rebinding to a port of the pool."""
    host.install(short, command, **spec)
    host.do(short, Action.START)
    number = free_port()
    PortRepository(host.stores.record).add([Port("127.0.0.1", number, "tcp", "", "", False)])
    job = new_job(Action.REBIND, host.node, "elsewhere", internal_id=host.id_of(short))
    wish = PortWish("tcp", ip="127.0.0.1", port=number)
    assert host.containers.begin(host.record(short), Action.REBIND, job, wishes=[wish]) == job.job_id
    return job, number


def ended(host: Bench, job: Job) -> bool:
    """Give the job to a worker, if it is to be had; whether it has ended."""
    return not host.run(job).is_open


LONG = [("create", False), ("create", True), ("signal", False), ("rename", True), ("start", False)]
SHORT = [("signal", True), ("rename", False), ("start", True)]


@pytest.mark.parametrize(
    ("call", "after"), [*SHORT, *(pytest.param(*moment, marks=pytest.mark.long) for moment in LONG)]
)
def test_a_running_server_comes_back_with_its_new_port(
    host: Bench, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    short = f"r{secrets.token_hex(3)}"
    job, number = running_with_a_wish(host, short)
    real: Callable[..., Any] = getattr(DockerRuntime, call)
    dead: list[bool] = []

    def die(*arguments: Any) -> Any:
        monkeypatch.setattr(DockerRuntime, call, real)
        if after:
            real(*arguments)
        dead.append(True)
        raise Death

    monkeypatch.setattr(DockerRuntime, call, die)

    def look() -> bool:
        try:
            return ended(host, job)
        except Death:
            return False

    eventually(look, within_seconds=30, what="the end of the rebinding")
    assert dead and host.jobs.get(job.job_id).state == "done"
    record = host.await_state(short, State.RUNNING)
    found = [one for one in host.runtime.every(host.node) if one.container_id == record.internal_id]
    assert [(one.engine_id, one.name, one.running) for one in found] == [
        (record.container_id, host.engine_name(short), True)
    ]
    assert [port.port for port in record.ports] == [number]
    bindings = host.engine.api.inspect_container(found[0].engine_id)["NetworkSettings"]["Ports"]
    assert [at["HostPort"] for at in bindings[f"{number}/tcp"]] == [str(number)]
    eventually(lambda: host.output(short).count(b"up\n") == 2, within_seconds=10, what="the output of both runs")


def test_an_image_that_lost_its_name_is_kept(host: Bench) -> None:
    name = f"lightd-test/renamed-{secrets.token_hex(3)}:1"
    host.engine.images.get(BUSYBOX).tag(name)
    job, _ = running_with_a_wish(host, "kept", image=name)
    before = host.runtime.inspect(host.engine_name("kept"))
    host.engine.images.remove(name)
    eventually(lambda: ended(host, job), within_seconds=30, what="the end of the rebinding")
    assert host.jobs.get(job.job_id).state == "done"
    after = host.runtime.inspect(host.engine_name("kept"))
    assert before is not None and after is not None
    assert (after.image_id, after.engine_id != before.engine_id) == (before.image_id, True)


def test_a_server_removed_while_it_stops_is_made_again(host: Bench) -> None:
    stubborn = "trap '' TERM; echo up; while true; do sleep 0.1; done"
    job, number = running_with_a_wish(host, "gone", stubborn, stop_timeout_seconds=600)
    assert host.run(job).waits
    host.engine.containers.get(host.engine_name("gone")).remove(force=True)
    eventually(lambda: ended(host, job), within_seconds=30, what="the end of the rebinding")
    assert host.jobs.get(job.job_id).state == "done"
    assert host.await_state("gone", State.RUNNING).ports[0].port == number
