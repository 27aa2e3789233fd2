"""New limits for a container: the engine and the record have the same ones, whatever happens in between."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from fleet.errors import Conflict, EngineUnavailable, NotFound
from fleet.lifecycle import Action, InstallState
from fleet.models import Job, Limits
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import new_job
from tests.worker.operations.conftest import IMAGE, NODE, VOLUME, Site
from tests.worker.operations.test_crashes import Death, dying, run_and_die
from worker.operations.names import server_name
from worker.operations.plans import server_plan
from worker.runtime.memory import MemoryRuntime

MB = 1024 * 1024


def ask(site: Site, **limits: Any) -> Job:
    job = new_job("resources", NODE, "quick", internal_id="a", arguments=limits)
    site.host.containers.open_limits_job(job)
    return job


def agreed(site: Site) -> Limits:
    """The limits, which must be the same in engine and record."""
    limits = site.container("a").spec.limits
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.limits == asdict(limits)
    return limits


def test_new_limits_reach_an_engine_container_that_the_record_does_not_know(site: Site) -> None:
    before = site.ready("a")
    folder, volume = site.host.data_folder("a"), site.volumes.ensure_mounted(VOLUME)
    site.runtime.create(server_plan(site.host.settings, before, IMAGE, volume, folder))
    assert site.run(ask(site, pids=17)).state == "done"
    assert agreed(site).pids == 17


@pytest.mark.parametrize("make", [Site.ready, Site.running], ids=["stopped", "running"])
def test_new_limits_reach_engine_and_record_and_others_stay(site: Site, make: Any) -> None:
    before = make(site, "a")
    job = site.run(ask(site, memory_bytes=64 * MB, swap_bytes=MB))
    assert (job.state, job.error) == ("done", None)
    assert agreed(site) == replace(before.spec.limits, memory_bytes=64 * MB, swap_bytes=MB)
    assert site.container("a").state is before.state
    assert site.container("a").container_id == before.container_id


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["usage", "update"])
def test_a_change_goes_on_where_its_worker_died(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    site.running("a")
    job = ask(site, memory_bytes=64 * MB)
    dying(monkeypatch, call, after, Death())
    run_and_die(site, job)
    assert site.run(job).state == "done"
    assert agreed(site).memory_bytes == 64 * MB


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_change_waits_for_an_engine_that_is_away(site: Site, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    site.running("a")
    job = ask(site, memory_bytes=64 * MB)
    dying(monkeypatch, "update", after, EngineUnavailable("The engine is away."))
    assert site.run(job).is_open
    assert site.run(job).state == "done"
    assert agreed(site).memory_bytes == 64 * MB


@pytest.mark.parametrize("image", [IMAGE, "nowhere:1"], ids=["that goes on", "that gets no image"])
def test_limits_that_a_reinstall_comes_before_are_refused_and_not_left_half_set(
    site: Site, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    before = site.ready("a")
    job = ask(site, memory_bytes=64 * MB)
    update, reinstalls = MemoryRuntime.update, []

    def reinstalled_meanwhile(runtime: MemoryRuntime, engine_id: str, limits: Limits) -> None:
        update(runtime, engine_id, limits)
        if not reinstalls:
            wanted = replace(before.spec, image=image)
            installing = InstallState.INSTALLING
            reinstalls.append(site.ask("a", Action.REINSTALL, next_spec=wanted, install_state=installing))

    monkeypatch.setattr(MemoryRuntime, "update", reinstalled_meanwhile)
    refused = site.run(job)
    assert (refused.state, (refused.result or {}).get("status")) == ("failed", 409)
    site.run(reinstalls[0])
    assert agreed(site) == before.spec.limits


@pytest.mark.parametrize(("limits", "told"), [({"memory_bytes": 64 * MB}, str(100 * MB)), ({"pids": 0}, "uses 1 ")])
def test_less_than_is_used_now_is_refused_with_the_use(site: Site, limits: dict[str, int], told: str) -> None:
    site.process_behaves("a", memory_bytes=100 * MB)
    before = site.running("a").spec.limits
    job = site.run(ask(site, **limits, cpu=0.1))
    assert job.state == "failed" and job.error is not None and told in job.error
    assert job.result == {"status": 409, "code": "below_use"}
    assert agreed(site) == before
    assert site.container("a").error is None


def test_what_the_engine_refuses_leaves_the_old_limits_in_place(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.running("a").spec.limits
    dying(monkeypatch, "update", True, Conflict("The engine refused: device or resource busy"))
    job = site.run(ask(site, memory_bytes=64 * MB))
    assert (job.state, job.error) == ("failed", "The engine refused: device or resource busy")
    assert agreed(site) == before


def test_a_container_that_the_engine_is_just_removing_is_no_container_that_is_not_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.ready("a")

    def update(runtime: MemoryRuntime, engine_id: str, _limits: Limits) -> None:
        if runtime.inspect(engine_id) is None:
            raise NotFound("The engine does not know it: a", code="engine_not_found")
        runtime.remove(engine_id)
        raise Conflict("The engine refused: container is marked for removal", code="engine_refused")

    monkeypatch.setattr(MemoryRuntime, "update", update)
    job = site.run(ask(site, pids=17))
    assert (job.state, (job.result or {})["code"]) == ("failed", "engine_refused")


def test_a_change_that_a_client_makes_meanwhile_is_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ready("a")
    update = MemoryRuntime.update

    def patched_meanwhile(runtime: MemoryRuntime, engine_id: str, limits: Limits) -> None:
        update(runtime, engine_id, limits)
        site.host.containers.amend("a", lambda spec: replace(spec, env={"A": "b"}))

    monkeypatch.setattr(MemoryRuntime, "update", patched_meanwhile)
    assert site.run(ask(site, pids=50)).state == "done"
    assert (agreed(site).pids, site.container("a").spec.env) == (50, {"A": "b"})


def test_a_newer_wish_finds_what_a_dead_worker_left_and_wins(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.running("a")
    first = ask(site, pids=50)
    dying(monkeypatch, "update", True, Death())
    run_and_die(site, first)
    assert site.run(ask(site, cpu=0.5)).state == "done"
    assert (agreed(site).pids, agreed(site).cpu) == (100, 0.5)
    assert site.run(first).state == "cancelled"
    assert (agreed(site).pids, agreed(site).cpu) == (100, 0.5)


def test_a_container_that_the_engine_has_lost_gets_the_limits_at_its_next_start(site: Site) -> None:
    site.ready("a")
    site.runtime.remove(server_name("a"))
    assert site.run(ask(site, pids=50)).state == "done"
    site.run(site.ask("a", Action.START))
    assert agreed(site).pids == 50


def test_a_container_that_is_gone_is_not_found(site: Site) -> None:
    site.ready("a")
    job = ask(site, pids=50)
    site.run(site.ask("a", Action.DELETE))
    assert site.run(job).result == {"status": 404, "code": "container_not_found"}


def test_a_container_deleted_meanwhile_keeps_no_new_limits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ready("a")
    update = MemoryRuntime.update

    def deleted_meanwhile(runtime: MemoryRuntime, engine_id: str, limits: Limits) -> None:
        update(runtime, engine_id, limits)
        site.ask("a", Action.DELETE)

    monkeypatch.setattr(MemoryRuntime, "update", deleted_meanwhile)
    assert site.run(ask(site, pids=50)).state == "cancelled"
    assert ContainerRepository(site.redis).get("a").spec.limits.pids == 100
