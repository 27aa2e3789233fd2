"""What tests of rebinding ask: which ports the record, the pool and the engine give to container `a`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.models import Job, Port, PortBinding, PortWish
from fleet.repositories.ports import PortRepository
from tests.worker.operations.conftest import NODE, Site
from worker.operations.names import server_name
from worker.runtime.base import ContainerPlan, EngineContainer
from worker.runtime.memory import MemoryRuntime

NEW_PORT = PortWish("tcp", ip="0.0.0.0", port=25600)


@pytest.fixture(autouse=True)
def more_ports(site: Site) -> None:
    """Beside GAME_PORT the pool has 25600 and 25601."""
    PortRepository(site.redis).add([Port("0.0.0.0", number, "tcp", "", "", False) for number in (25600, 25601)])


@pytest.fixture(autouse=True)
def plans(monkeypatch: pytest.MonkeyPatch) -> dict[str, ContainerPlan]:
    """What each engine container was made from, by engine id."""
    made: dict[str, ContainerPlan] = {}
    create = MemoryRuntime.create

    def noting(runtime: MemoryRuntime, plan: ContainerPlan) -> str:
        engine_id = create(runtime, plan)
        made[engine_id] = plan
        return engine_id

    monkeypatch.setattr(MemoryRuntime, "create", noting)
    return made


def holder(site: Site, number: int) -> str:
    """Who has the port by the pool; '' for nobody."""
    return PortRepository(site.redis).get("0.0.0.0", number, "tcp").internal_id


def in_engine(site: Site) -> EngineContainer:
    """The one container that the engine has for `a`."""
    (found,) = [found for found in site.runtime.every(NODE) if found.container_id == "a"]
    assert found.name == server_name("a")
    return found


def run_through(site: Site, job: Job) -> Job:
    """Have a worker do the job, with the process ending and the agent seeing it in between."""
    site.run(job)
    if site.job(job).waits:
        site.runtime.signal(in_engine(site).engine_id, "SIGKILL")
        assert site.see_exit("a") == job.job_id
        site.run(job)
    return site.job(job)


def occupy(site: Site, plans: dict[str, ContainerPlan], number: int, name: str = "stranger") -> None:
    """Something else on the host uses this port from now on."""
    plan = plans[in_engine(site).engine_id]
    ports = (PortBinding("0.0.0.0", number, "tcp", 1),)
    site.runtime.start(site.runtime.create(replace(plan, name=name, labels={}, ports=ports)))


def assert_bound(site: Site, plans: dict[str, ContainerPlan], number: int, *free: int) -> None:
    """Record, pool and engine agree on the one port; the others are free and nothing is left half-way."""
    container, found = site.container("a"), in_engine(site)
    assert [port.port for port in container.ports] == [number]
    assert [port.port for port in plans[found.engine_id].ports] == [number]
    assert (container.next_ports, container.container_id) == (None, found.engine_id)
    assert {other: holder(site, other) for other in (number, *free)} == {number: "a", **dict.fromkeys(free, "")}
    assert site.host.jobs.open_count(NODE) == 0
