"""A container that failed holds no port; installing it again takes its ports, or nothing."""

from __future__ import annotations

import pytest

from fleet.errors import PortNotInPool, PortTaken
from fleet.lifecycle import Action, InstallState, State
from fleet.models import Container, PortWish
from fleet.repositories.jobs import new_job
from tests.fleet.conftest import NODE, Record

GAME_PORT = PortWish("tcp", ip="0.0.0.0", port=25565)


def failed(record: Record, name: str) -> Container:
    job = record.jobs.claim(record.create(name, GAME_PORT).job_id, "w")
    record.containers.write(
        name,
        job,
        finish="failed",
        error="no such image",
        free_ports=True,
        state=State.FAILED,
        install_state=InstallState.FAILED,
    )
    return record.containers.get(name)


def reinstall(record: Record, container: Container) -> None:
    job = new_job("reinstall", NODE, "long", internal_id=container.internal_id)
    record.containers.begin(container, Action.REINSTALL, job)


def test_a_port_is_free_again_when_an_install_fails(record: Record) -> None:
    container = failed(record, "a")
    assert not record.ports.get("0.0.0.0", 25565, "tcp").in_use
    assert [binding.port for binding in container.ports] == [25565]
    assert container.error == "no such image"
    record.create("b", GAME_PORT)
    assert record.ports.get("0.0.0.0", 25565, "tcp").internal_id == "b"


def test_a_reinstall_takes_the_port_again(record: Record) -> None:
    reinstall(record, failed(record, "a"))
    assert record.ports.get("0.0.0.0", 25565, "tcp").internal_id == "a"


def test_a_reinstall_of_a_container_that_kept_its_port_keeps_it(record: Record) -> None:
    reinstall(record, record.ready("a", GAME_PORT))
    assert record.ports.get("0.0.0.0", 25565, "tcp").internal_id == "a"


def test_a_reinstall_is_refused_when_another_took_the_port(record: Record) -> None:
    container = failed(record, "a")
    record.create("b", GAME_PORT)
    with pytest.raises(PortTaken, match="25565"):
        reinstall(record, container)
    assert record.containers.get("a").state is State.FAILED
    assert record.ports.get("0.0.0.0", 25565, "tcp").internal_id == "b"


def test_a_reinstall_is_refused_when_the_port_left_the_pool(record: Record) -> None:
    container = failed(record, "a")
    record.ports.delete("0.0.0.0", 25565, "tcp")
    with pytest.raises(PortNotInPool):
        reinstall(record, container)
    assert record.containers.get("a").state is State.FAILED
