"""Rebinding: other ports, the same file system, and a server that runs again if it ran."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.errors import Conflict, PortTaken
from fleet.lifecycle import Action, State
from fleet.models import Job, PortWish
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import new_job
from tests.worker.operations.conftest import GAME_PORT, IMAGE, NODE, Site
from tests.worker.operations.rebinding import (
    NEW_PORT,
    assert_bound,
    holder,
    in_engine,
    more_ports,
    occupy,
    plans,
    run_through,
)
from worker.operations.names import private_image
from worker.runtime.base import ContainerPlan
from worker.runtime.memory import MemoryRuntime

__all__ = ["more_ports", "plans"]

Plans = dict[str, ContainerPlan]


def test_a_stopped_container_gets_other_ports_and_stays_stopped(site: Site, plans: Plans) -> None:
    site.ready("a", GAME_PORT)
    job = run_through(site, site.rebind("a", NEW_PORT))
    assert (job.state, site.container("a").state) == ("done", State.READY)
    assert job.result is not None and [port["port"] for port in job.result["ports"]] == [25600]
    assert_bound(site, plans, 25600, 25565)
    assert not in_engine(site).running


def test_a_running_container_runs_again_with_its_other_ports(site: Site, plans: Plans) -> None:
    site.running("a", GAME_PORT)
    assert run_through(site, site.rebind("a", NEW_PORT)).state == "done"
    container, found = site.container("a"), in_engine(site)
    assert found.running
    assert (container.state, container.run, container.exit_code) == (State.RUNNING, found.run, None)
    assert_bound(site, plans, 25600, 25565)
    told = ["stopping", "exit", "Container stopped", "starting", "Container started", "running"]
    assert site.told("a")[-len(told) :] == told


def test_a_start_pattern_is_waited_for_again(site: Site) -> None:
    site.ready("a", GAME_PORT, start_pattern="Done")
    site.run(site.ask("a", Action.START))
    assert run_through(site, site.rebind("a", NEW_PORT)).state == "done"
    assert (site.container("a").state, site.container("a").run) == (State.STARTING, in_engine(site).run)
    assert site.told("a")[-1] == "Container started"


def test_the_process_is_asked_to_end_before_it_is_killed(site: Site) -> None:
    site.process_behaves("a", stops_on_input=b"stop\n")
    site.running("a", GAME_PORT, stop_command="stop")
    job = site.run(site.rebind("a", NEW_PORT))
    assert job.waits and site.container("a").state is State.STOPPING
    assert not in_engine(site).running


def test_what_the_install_script_left_is_still_there(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    site.ready("a", GAME_PORT, install_script="echo")
    assert run_through(site, site.rebind("a", NEW_PORT)).state == "done"
    assert in_engine(site).image == private_image("a")


def test_an_image_whose_name_was_lost_is_kept_all_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ready("a", GAME_PORT)
    monkeypatch.setattr(MemoryRuntime, "image_id", lambda _runtime, name: None if name == IMAGE else name)
    site.runtime.images.add(in_engine(site).image_id)
    assert run_through(site, site.rebind("a", NEW_PORT)).state == "done"
    assert in_engine(site).image == in_engine(site).image_id


def test_a_port_that_stays_is_held_all_the_time(site: Site, plans: Plans) -> None:
    site.running("a", GAME_PORT)
    job = site.rebind("a", GAME_PORT, NEW_PORT)
    assert run_through(site, job).state == "done"
    assert [port.port for port in plans[in_engine(site).engine_id].ports] == [25565, 25600]
    assert (holder(site, 25565), holder(site, 25600)) == ("a", "a")


def test_without_ports_all_are_free_again(site: Site, plans: Plans) -> None:
    site.ready("a", GAME_PORT)
    assert run_through(site, site.rebind("a")).state == "done"
    assert plans[in_engine(site).engine_id].ports == site.container("a").ports == ()
    assert holder(site, 25565) == ""


def test_old_and_new_ports_are_held_until_the_engine_has_the_new_ones(site: Site) -> None:
    site.running("a", GAME_PORT)
    job = site.run(site.rebind("a", NEW_PORT))
    assert job.waits
    assert (holder(site, 25565), holder(site, 25600)) == ("a", "a")
    assert [port.port for port in site.container("a").ports] == [25565]


def test_a_port_that_the_host_uses_disturbs_no_running_server(site: Site, plans: Plans) -> None:
    before = site.running("a", GAME_PORT)
    occupy(site, plans, 25600)
    job = run_through(site, site.rebind("a", NEW_PORT))
    assert (job.state, job.error) == ("failed", "Port 0.0.0.0:25600 is in use by something else on the host.")
    after = site.container("a")
    assert (after.state, after.run, after.container_id) == (State.RUNNING, before.run, before.container_id)
    assert after.error == job.error and in_engine(site).running
    assert_bound(site, plans, 25565, 25600)


def test_a_port_that_the_host_takes_at_the_last_moment_brings_the_old_ones_back(site: Site, plans: Plans) -> None:
    site.running("a", GAME_PORT)
    job = site.run(site.rebind("a", NEW_PORT))
    occupy(site, plans, 25600)
    site.runtime.signal(in_engine(site).engine_id, "SIGTERM")
    site.see_exit("a")
    job = site.run(job)
    assert (job.state, job.error) == ("failed", "Port 0.0.0.0:25600 is in use by something else on the host.")
    assert (site.container("a").state, site.container("a").run) == (State.RUNNING, in_engine(site).run)
    assert in_engine(site).running
    assert_bound(site, plans, 25565, 25600)
    assert site.told("a")[-3:] == ["Container started", "running", f"Error: {job.error}"]


def test_a_server_that_cannot_be_started_again_is_ready_and_says_why(site: Site, plans: Plans) -> None:
    site.running("a", GAME_PORT)
    job = site.run(site.rebind("a", NEW_PORT))
    occupy(site, plans, 25600)
    site.runtime.signal(in_engine(site).engine_id, "SIGTERM")
    site.see_exit("a")
    occupy(site, plans, 25565, name="another stranger")
    job = site.run(job)
    assert job.state == "failed" and "25600" in (job.error or "")
    assert "could not be started again: Port 0.0.0.0:25565" in (job.error or "")
    assert site.container("a").state is State.READY
    assert_bound(site, plans, 25565, 25600)


def test_a_process_that_ends_at_once_leaves_the_container_ready(site: Site, plans: Plans) -> None:
    site.running("a", GAME_PORT)
    job = site.run(site.rebind("a", NEW_PORT))
    site.runtime.signal(in_engine(site).engine_id, "SIGTERM")
    site.see_exit("a")
    site.process_behaves("a", seconds=0, exit_code=3)
    assert site.run(job).state == "done"
    site.see_exit("a")
    assert (site.container("a").state, site.container("a").exit_code) == (State.READY, 3)
    assert_bound(site, plans, 25600, 25565)


def test_a_server_that_ends_by_itself_meanwhile_is_not_started_again(
    site: Site, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.running("a", GAME_PORT)
    job = site.rebind("a", NEW_PORT)
    real = MemoryRuntime.start

    def start(runtime: MemoryRuntime, engine_id: str) -> None:
        real(runtime, engine_id)
        monkeypatch.setattr(MemoryRuntime, "start", real)
        runtime.signal(site.container("a").container_id or "", "SIGTERM")
        site.see_exit("a")

    monkeypatch.setattr(MemoryRuntime, "start", start)
    assert run_through(site, job).state == "done"
    assert site.container("a").state is State.READY and not in_engine(site).running
    assert_bound(site, plans, 25600, 25565)


def kill(site: Site) -> Job:
    """Ask for a kill and do the agent's part of it."""
    job = site.ask("a", Action.KILL)
    found = in_engine(site)
    if site.runtime.signal(found.engine_id, "SIGKILL"):
        site.see_exit("a")
    site.host.jobs.finish(site.host.jobs.claim(job.job_id, "agent"), "done")
    return job


def test_a_kill_ends_a_server_that_is_being_stopped_and_keeps_its_ports(site: Site, plans: Plans) -> None:
    site.process_behaves("a", ignores=frozenset({"SIGTERM"}))
    site.running("a", GAME_PORT)
    job = site.run(site.rebind("a", NEW_PORT))
    assert site.job(kill(site)).state == "done"
    assert site.run(job).state == "cancelled"
    assert site.container("a").state is State.READY and not in_engine(site).running
    assert_bound(site, plans, 25565, 25600)


def test_a_kill_after_the_new_process_came_up_ends_it(
    site: Site, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.running("a", GAME_PORT)
    job = site.run(site.rebind("a", NEW_PORT))
    site.runtime.signal(in_engine(site).engine_id, "SIGTERM")
    site.see_exit("a")
    real = MemoryRuntime.start

    def start(runtime: MemoryRuntime, engine_id: str) -> None:
        kill_job = site.ask("a", Action.KILL)  # the agent sees to it before there is a process
        site.host.jobs.finish(site.host.jobs.claim(kill_job.job_id, "agent"), "done")
        real(runtime, engine_id)

    monkeypatch.setattr(MemoryRuntime, "start", start)
    assert site.run(job).state == "cancelled"
    assert site.container("a").state is State.READY and not in_engine(site).running
    assert_bound(site, plans, 25565, 25600)


@pytest.mark.parametrize("action", [Action.START, Action.RESTART, Action.REINSTALL, Action.REPAIR])
def test_no_other_action_comes_in_between(site: Site, action: Action) -> None:
    site.ready("a", GAME_PORT)
    job = site.rebind("a", NEW_PORT)
    with pytest.raises(Conflict, match=f"rebind-network .*{job.job_id}"):
        site.ask("a", action)
    assert site.run(job).state == "done"


def test_a_start_that_is_under_way_is_not_overtaken(site: Site) -> None:
    site.ready("a", GAME_PORT)
    start = site.ask("a", Action.START)
    with pytest.raises(Conflict, match=start.job_id):
        site.rebind("a", NEW_PORT)
    assert holder(site, 25600) == ""


def test_the_same_rebinding_asked_twice_is_one_job(site: Site) -> None:
    container = site.ready("a", GAME_PORT)
    job = site.rebind("a", NEW_PORT)
    again = new_job(Action.REBIND, NODE, "quick", internal_id="a")
    assert site.host.containers.begin(container, Action.REBIND, again, wishes=[NEW_PORT]) == job.job_id


def test_a_taken_port_changes_nothing(site: Site, plans: Plans) -> None:
    site.ready("a", GAME_PORT)
    site.create("b", NEW_PORT)
    with pytest.raises(PortTaken, match="25600"):
        site.rebind("a", PortWish("tcp", ip="0.0.0.0", port=25601), NEW_PORT)
    assert holder(site, 25601) == ""
    assert site.container("a").state is State.READY


def test_a_deletion_takes_its_place_and_frees_everything(site: Site) -> None:
    site.running("a", GAME_PORT)
    job = site.run(site.rebind("a", NEW_PORT))
    deletion = site.ask("a", Action.DELETE)
    assert site.run(deletion).state == "done"
    assert site.job(job).state == "cancelled"
    assert (holder(site, 25565), holder(site, 25600)) == ("", "")
    assert site.runtime.every(NODE) == []


def test_a_port_may_stay_and_lead_elsewhere(site: Site, plans: Plans) -> None:
    site.running("a", GAME_PORT)
    wish = PortWish("tcp", container_port=80, ip="0.0.0.0", port=25565)
    assert run_through(site, site.rebind("a", wish)).state == "done"
    assert [port.container_port for port in plans[in_engine(site).engine_id].ports] == [80]
    assert_bound(site, plans, 25565, 25600)


def test_any_free_port_may_be_asked_for(site: Site) -> None:
    site.ready("a", GAME_PORT)
    assert run_through(site, site.rebind("a", PortWish("tcp", container_port=80), NEW_PORT)).state == "done"
    assert [(port.port, port.container_port) for port in site.container("a").ports] == [(25601, 80), (25600, 25600)]


def test_a_failed_container_whose_port_is_gone_gets_another_one_and_is_installed_again(
    site: Site, plans: Plans
) -> None:
    site.run(site.create("a", GAME_PORT, image="nowhere:1"))
    site.ready("b", GAME_PORT)
    with pytest.raises(PortTaken):
        site.ask("a", Action.REINSTALL)
    job = site.run(site.rebind("a", NEW_PORT))
    container = site.container("a")
    assert job.state == "done" and job.result is not None and [port["port"] for port in job.result["ports"]] == [25600]
    assert (container.state, container.next_ports) == (State.FAILED, None)
    assert (holder(site, 25565), holder(site, 25600)) == ("b", ""), "what failed holds no port"
    site.runtime.remote.add("nowhere:1")
    assert site.run(site.ask("a", Action.REINSTALL)).state == "done"
    assert_bound(site, plans, 25600)


def test_a_rebinding_of_a_failed_container_that_fails_leaves_it_without_ports_as_before(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run(site.create("a", GAME_PORT, image="nowhere:1"))
    job = site.rebind("a", NEW_PORT, GAME_PORT)
    write = type(site.host.containers).write

    def refuse(containers: ContainerRepository, name: str, writer: Job, /, **changes: Any) -> None:
        if changes.get("rebound"):
            raise Conflict("Not now.")
        write(containers, name, writer, **changes)

    monkeypatch.setattr(type(site.host.containers), "write", refuse)
    assert site.run(job).error == "Not now."
    container = site.container("a")
    assert (container.state, container.next_ports) == (State.FAILED, None)
    assert [port.port for port in container.ports] == [25565]
    assert (holder(site, 25565), holder(site, 25600)) == ("", "")
