"""What a client changed in a container's record reaches the engine at the next start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleet.lifecycle import Action, State
from fleet.models import Spec
from fleet.restart import restart_needed
from tests.worker.operations.conftest import Site
from tests.worker.operations.test_crashes import Death, dying, run_and_die
from worker.operations.names import private_image, server_name
from worker.runtime.base import LABEL_SPEC, ContainerPlan
from worker.runtime.memory import MemoryRuntime


def change(site: Site, **fields: Any) -> None:
    site.host.containers.amend("a", lambda spec: replace(spec, **fields))


def made(site: Site) -> ContainerPlan:
    """The plan that the one engine container was made from."""
    (container,) = site.runtime._made.values()
    return container.plan


def test_without_a_change_the_engine_container_is_kept(site: Site) -> None:
    site.install_behaves("a")
    before = site.ready("a", env={"A": "b"}, install_script="x")
    assert site.run(site.ask("a", Action.START)).state == "done"
    assert site.container("a").container_id == before.container_id


@pytest.mark.parametrize("fields", [{"env": {"A": "2"}}, {"labels": {"team": "red"}}, {"stop_signal": "SIGINT"}])
def test_a_change_makes_the_engine_container_again_at_the_next_start(site: Site, fields: dict[str, Any]) -> None:
    before = site.ready("a")
    change(site, **fields)
    assert site.run(site.ask("a", Action.START)).state == "done"
    after = site.container("a")
    assert (after.state, after.container_id != before.container_id) == (State.RUNNING, True)
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.engine_id == after.container_id
    assert made(site).env.get("A") == after.spec.env.get("A")
    for value in after.spec.labels.values():
        assert value in made(site).labels[LABEL_SPEC]


def test_what_an_install_left_survives_a_change(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    site.ready("a", install_script="x")
    change(site, env={"A": "2"})
    site.run(site.ask("a", Action.START))
    assert made(site).image == private_image("a")
    assert site.runtime.has_image(private_image("a"))


def test_a_restart_brings_a_change_too(site: Site) -> None:
    site.running("a")
    change(site, env={"A": "2"})
    assert restart_needed(site.container("a"))
    job = site.ask("a", Action.RESTART)
    site.run(job)
    site.see_exit("a")
    assert site.run(job).state == "done"
    assert made(site).env["A"] == "2"
    assert not restart_needed(site.container("a"))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["inspect", "create", "start"])
def test_a_changed_start_goes_on_where_its_worker_died(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    site.ready("a")
    change(site, env={"A": "2"})
    job = site.ask("a", Action.START)
    dying(monkeypatch, call, after, Death())
    run_and_die(site, job)
    assert site.run(job).state == "done"
    assert (site.container("a").state, made(site).env["A"]) == (State.RUNNING, "2")
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and (seen.engine_id, seen.run) == (
        site.container("a").container_id,
        site.container("a").run,
    )


def test_a_change_after_the_start_was_read_is_told_as_not_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ready("a")
    job = site.ask("a", Action.START)
    start = MemoryRuntime.start

    def changed_meanwhile(runtime: MemoryRuntime, engine_id: str) -> None:
        change(site, env={"A": "2"})
        start(runtime, engine_id)

    monkeypatch.setattr(MemoryRuntime, "start", changed_meanwhile)
    assert site.run(job).state == "done"
    assert "A" not in made(site).env
    assert restart_needed(site.container("a"))


def test_a_change_before_anything_of_the_start_was_used_is_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ready("a")
    job = site.ask("a", Action.START)
    amended: list[Spec] = []
    write = type(site.host.containers).write

    def changed_meanwhile(containers: Any, *arguments: Any, **more: Any) -> None:
        write(containers, *arguments, **more)
        if not amended:
            amended.append(site.host.containers.amend("a", lambda spec: replace(spec, env={"A": "2"})).spec)

    monkeypatch.setattr(type(site.host.containers), "write", changed_meanwhile)
    assert site.run(job).state == "done"
    assert made(site).env["A"] == "2"
    assert not restart_needed(site.container("a"))


def test_a_newer_lightd_makes_its_containers_its_own_way_at_the_next_start(site: Site) -> None:
    before = site.ready("a")
    site.host = replace(site.host, settings=replace(site.host.settings, tmp_mb=128))
    site.run(site.ask("a", Action.START))
    assert site.container("a").container_id != before.container_id
    assert made(site).tmp_mb == 128
