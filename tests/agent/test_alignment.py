"""What the agent makes of a record that nobody works on, and of engine containers that are not its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fleet.keys import key
from fleet.lifecycle import Action, State
from fleet.store import connect
from tests.worker.operations.conftest import GAME_PORT, IMAGE, VOLUME, Site, site
from worker.agent.agent import Agent
from worker.doctor.compose import create_doctor
from worker.doctor.doctor import Doctor
from worker.operations.names import server_name
from worker.operations.plans import server_plan
from worker.recovery.evidence import INSTALL_LOST
from worker.runtime.base import LABEL_DATA, ContainerPlan, EngineContainer
from worker.runtime.memory import MemoryRuntime

__all__ = ["site"]


@pytest.fixture
def agent(site: Site) -> Iterator[Agent]:
    """An agent whose threads do not run."""
    stores = connect(site.host.settings)
    yield Agent(site.host.settings, stores, site.runtime, lambda _job: None, lambda _node, _queue: None)
    for client in (stores.record, stores.blocking, stores.stream, stores.stream_bytes):
        client.close()


def make_again(site: Site) -> str:
    """The server's engine container is made again, and the record does not hear of it; the new engine id."""
    folder, volume = site.host.data_folder("a"), site.volumes.ensure_mounted(VOLUME)
    return site.runtime.create(server_plan(site.host.settings, site.container("a"), IMAGE, volume, folder))


@pytest.fixture
def doctor(site: Site) -> Doctor:
    settings = replace(site.host.settings, firewall=False)
    made = create_doctor(settings, connect(settings), site.runtime, lambda _job: None)
    return replace(made, checks=made.checks[:1], second_look_seconds=0.0)


def leave_installing(site: Site) -> None:
    """A backup was restored that had been saved during an install."""
    job = site.create("a", GAME_PORT)
    site.redis.hset(key("job", job.job_id), mapping={"state": "failed"})


def test_an_install_that_nobody_is_on_any_more_has_failed(site: Site, agent: Agent) -> None:
    leave_installing(site)
    agent.reconciler.compare()
    container = site.container("a")
    assert (container.state, container.error) == (State.FAILED, INSTALL_LOST)
    assert site.port_is_free()
    assert site.told("a")[-2:] == ["failed", f"Error: {INSTALL_LOST}"]
    assert site.run(site.ask("a", Action.REINSTALL)).state == "done"


def test_an_engine_container_that_the_record_does_not_know_is_known_again(
    site: Site, agent: Agent, doctor: Doctor
) -> None:
    site.ready("a", GAME_PORT)
    made = make_again(site)
    agent.reconciler.compare()
    assert site.container("a").container_id == made
    assert doctor.differences() == []
    made = make_again(site)
    (difference,) = doctor.differences()
    assert "speaks of another engine container" in difference.sentence
    assert doctor.mend(difference) == ""
    assert site.container("a").container_id == made
    assert site.run(site.ask("a", Action.START)).state == "done"


def test_the_engines_list_tells_what_happened_behind_our_back(site: Site, agent: Agent) -> None:
    engine_id = site.ready("a", GAME_PORT).container_id or ""
    site.runtime.start(engine_id)
    agent.reconciler.compare(closely=False)
    assert site.container("a").state is State.RUNNING
    site.runtime.signal(engine_id, "SIGKILL")
    agent.reconciler.compare(closely=False)
    assert site.container("a").state is State.READY
    made = make_again(site)
    agent.reconciler.compare(closely=False)
    assert site.container("a").container_id == made


def test_what_the_engines_list_agrees_about_is_not_looked_at_each_time(
    site: Site, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.running("a", GAME_PORT)
    agent.reconciler.compare()
    looks: list[str] = []
    listed, inspect = site.runtime.listed(site.host.settings.node), MemoryRuntime.inspect

    def noted(runtime: MemoryRuntime, name: str) -> EngineContainer | None:
        looks.append(name)
        return inspect(runtime, name)

    monkeypatch.setattr(MemoryRuntime, "listed", lambda _self, _node: listed)
    monkeypatch.setattr(MemoryRuntime, "inspect", noted)
    agent.reconciler.compare(closely=False)
    assert looks == []
    agent.reconciler.compare()
    assert looks


def test_what_a_job_is_about_to_tell_of_is_left_to_it(site: Site, agent: Agent) -> None:
    before = site.ready("a", GAME_PORT)
    make_again(site)
    job = site.ask("a", Action.START)
    agent.reconciler.compare()
    assert site.container("a").container_id == before.container_id
    assert site.run(job).state == "done"
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.running and site.container("a").container_id == seen.engine_id


def test_an_install_that_somebody_is_on_goes_on(site: Site, agent: Agent) -> None:
    job = site.create("a", GAME_PORT)
    agent.reconciler.compare()
    assert site.run(job).state == "done"


def test_the_doctor_tells_of_such_an_install_and_ends_it(site: Site, doctor: Doctor) -> None:
    leave_installing(site)
    (difference,) = doctor.differences()
    assert "installing in the record, but no job is on it" in difference.sentence
    assert doctor.mend(difference) == ""
    assert doctor.differences() == []
    assert site.container("a").state is State.FAILED


def test_the_doctor_tells_of_a_deletion_that_failed(site: Site, doctor: Doctor) -> None:
    site.ready("a")
    job = site.ask("a", Action.DELETE)
    assert doctor.differences() == []
    site.redis.hset(key("job", job.job_id), mapping={"state": "failed"})
    (difference,) = doctor.differences()
    assert "Container a was not deleted whole; delete it again." in difference.sentence


def test_another_lightds_container_of_the_same_name_is_not_taken_for_our_own(site: Site, agent: Agent) -> None:
    ours = site.ready("a")
    assert ours.container_id
    plan = site.runtime._made[ours.container_id].plan
    site.runtime.remove(server_name("a"))
    others = {name: getattr(plan, name) for name in ContainerPlan.__slots__}
    others["labels"] = {**plan.labels, LABEL_DATA: "/srv/other"}
    site.runtime.start(site.runtime.create(ContainerPlan(**others)))
    agent.reconciler.compare()
    assert site.container("a").state is State.READY
    assert agent.consoles.followed() == set(), "whoever may read our consoles may not read theirs"


def test_a_server_that_somebody_gave_another_name_gets_its_own_again(site: Site, agent: Agent, doctor: Doctor) -> None:
    engine_id = site.running("a", GAME_PORT).container_id or ""
    site.runtime.rename(engine_id, "renamed")
    (difference,) = doctor.differences()
    assert "The engine container of a is called renamed now." in difference.sentence
    assert doctor.mend(difference) == ""
    found = site.runtime.inspect(server_name("a"))
    assert found is not None and found.engine_id == engine_id and found.running
    assert doctor.differences() == []


def test_a_name_that_a_stranger_has_taken_meanwhile_stays_theirs(site: Site, agent: Agent) -> None:
    engine_id = site.running("a", GAME_PORT).container_id or ""
    site.runtime.rename(engine_id, "renamed")
    stranger = site.runtime.create(replace(site.runtime._made[engine_id].plan, name=server_name("a"), labels={}))
    site.runtime.signal(engine_id, "SIGKILL")
    agent.reconciler.compare()
    found = site.runtime.inspect(server_name("a"))
    assert found is not None and found.engine_id == stranger
    assert site.container("a").state is State.READY, "what the engine says of ours counts under any name"


def test_a_server_that_somebody_gave_another_name_is_deleted_with_its_container(site: Site) -> None:
    engine_id = site.running("a", GAME_PORT).container_id or ""
    site.runtime.rename(engine_id, "renamed")
    assert site.run(site.ask("a", Action.DELETE)).state == "done"
    assert site.runtime.inspect(engine_id) is None
