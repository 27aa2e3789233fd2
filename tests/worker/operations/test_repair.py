"""Repair: what the engine lost or has otherwise than the record is mended and told; a running server is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from fleet.errors import Conflict, Unavailable
from fleet.lifecycle import Action, State
from fleet.models import Job, Limits
from tests.worker.operations.conftest import GAME_PORT, IMAGE, NODE, VOLUME, Site
from tests.worker.operations.rebinding import in_engine
from tests.worker.operations.test_crashes import Death, dying
from worker.firewall import Firewall
from worker.operations.container_folder import ENTRYPOINT
from worker.operations.names import install_name, next_name, private_image, probe_name, server_name
from worker.runtime.base import LABEL_DATA, ContainerPlan
from worker.runtime.memory import MemoryRuntime


def repair(site: Site) -> tuple[list[str], list[str]]:
    """What a repair did, and what it left."""
    job = site.run(site.ask("a", Action.REPAIR))
    assert (job.state, job.result is not None) == ("done", True), job
    found: dict[str, list[str]] = job.result or {}
    return found["repaired"], found["remaining"]


def made_otherwise(site: Site, **changes: Any) -> None:
    """The engine's container as somebody else made it again."""
    site.runtime.remove(server_name("a"))
    create = MemoryRuntime.create

    def create_otherwise(runtime: MemoryRuntime, plan: ContainerPlan) -> str:
        return create(runtime, replace(plan, **changes))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryRuntime, "create", create_otherwise)
        repair(site)


def plan_of(site: Site) -> ContainerPlan:
    """What the engine's container is made from when it is made again."""
    plans: list[ContainerPlan] = []
    create = MemoryRuntime.create

    def noting(runtime: MemoryRuntime, plan: ContainerPlan) -> str:
        plans.append(replace(plan, name=server_name("a")))
        return create(runtime, plan)

    site.runtime.remove(server_name("a"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryRuntime, "create", noting)
        repair(site)
    return plans[-1]


def test_a_whole_container_needs_nothing(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    before = site.ready("a", GAME_PORT, install_script="echo")
    assert repair(site) == ([], [])
    assert site.container("a").container_id == before.container_id


def test_a_worker_in_a_network_of_its_own_leaves_the_firewall_to_the_agent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in compose.yaml, where it may set no rules either."""

    def refuse(_firewall: Firewall) -> None:
        raise Unavailable("iptables-restore failed: Permission denied")

    monkeypatch.setattr(Firewall, "ensure", refuse)
    site.ready("a", GAME_PORT)
    site.host = replace(site.host, firewall=Firewall("not-here"))
    assert repair(site) == ([], [])


def test_a_running_container_needs_nothing(site: Site) -> None:
    before = site.running("a", GAME_PORT)
    assert repair(site) == ([], [])
    assert (site.container("a").state, site.container("a").run) == (State.RUNNING, before.run)


def test_a_missing_engine_container_is_made_again(site: Site) -> None:
    site.ready("a", GAME_PORT)
    site.runtime.remove(server_name("a"))
    assert repair(site) == (["The engine had no container; it was made again."], [])
    assert site.container("a").container_id == in_engine(site).engine_id
    assert site.run(site.ask("a", Action.START)).state == "done"


def test_a_container_that_ran_and_is_missing_is_ready_again(site: Site) -> None:
    site.running("a")
    site.runtime.remove(server_name("a"))
    repaired, _ = repair(site)
    assert repaired[-1] == "The container does not run although the record said running."
    assert site.container("a").state is State.READY
    assert {"exit", *repaired} <= set(site.told("a"))


def test_a_missing_image_is_pulled(site: Site) -> None:
    site.runtime.remote.add("game:1")
    site.ready("a", image="game:1")
    site.runtime.remove(server_name("a"))
    site.runtime.images.discard("game:1")
    repaired, _ = repair(site)
    assert repaired[0] == "The image game:1 was missing; it was pulled again."
    assert in_engine(site).image == "game:1"


def known_by_id(image_id: str) -> Callable[[MemoryRuntime, str], str | None]:
    """The engine's answer when an image has lost its name and is still there."""
    real = MemoryRuntime.image_id

    def ask(runtime: MemoryRuntime, image: str) -> str | None:
        return image if image == image_id else real(runtime, image)

    return ask


def test_a_private_image_is_made_again_from_the_container(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install_behaves("a", layer_bytes=4096)
    site.ready("a", install_script="echo")
    site.runtime.images.discard(private_image("a"))
    monkeypatch.setattr(MemoryRuntime, "image_id", known_by_id(in_engine(site).image_id))
    assert repair(site) == (["The private image was missing; it was made again from the container."], [])
    assert site.runtime.has_image(private_image("a"))


def test_a_private_image_of_which_nothing_is_left_is_told(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    site.ready("a", install_script="echo")
    site.runtime.images.discard(private_image("a"))
    told = "The private image is lost; the container works only until it must be made again: reinstall it."
    assert repair(site) == ([], [told])


def test_what_an_install_left_and_nobody_has_any_more_is_not_replaced_silently(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    site.ready("a", install_script="echo")
    site.runtime.remove(server_name("a"))
    site.runtime.images.discard(private_image("a"))
    job = site.run(site.ask("a", Action.REPAIR))
    lost = "What the install script put into the image is lost; reinstall the container."
    assert (job.state, job.error) == ("failed", lost)
    assert site.run(site.ask("a", Action.START)).error == job.error
    assert site.run(site.ask("a", Action.REINSTALL)).state == "done"
    assert repair(site) == ([], [])


@pytest.mark.parametrize(
    ("changes", "aspects"),
    [
        ({"ports": ()}, "ports"),
        ({"limits": Limits(1, 1.0, 1)}, "limits"),
        ({"labels": {"lightd.id": "a", "lightd.node": NODE}}, "labels"),
        ({"mounts": {"/x": "/y"}}, "mounts"),
        ({"read_only": False}, "rights"),
        ({"ports": (), "limits": Limits(1, 1.0, 1)}, "ports and limits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stopped_container_that_differs_is_made_again(site: Site, changes: dict[str, Any], aspects: str) -> None:
    site.ready("a", GAME_PORT)
    if "labels" in changes:
        changes = {"labels": changes["labels"] | {LABEL_DATA: str(site.host.settings.data)}}
    made_otherwise(site, **changes)
    told = f"The container in the engine had other {aspects} than the record; it was made again."
    assert repair(site) == ([told], [])
    assert repair(site) == ([], [])


def test_a_running_container_that_differs_is_left_alone_and_told(site: Site) -> None:
    site.ready("a", GAME_PORT)
    made_otherwise(site, ports=())
    site.run(site.ask("a", Action.START))
    run = in_engine(site).run
    told = "The container in the engine had other ports than the record; stop it and repair it again."
    assert repair(site) == ([], [told])
    assert in_engine(site).run == run


def test_a_running_container_gets_the_limits_of_its_record(site: Site) -> None:
    before = site.running("a")
    site.runtime.update(before.container_id or "", Limits(1, 1.0, 1))
    told = "The container in the engine had other limits than the record; they are as recorded now."
    assert repair(site) == ([told], [])
    assert in_engine(site).limits == asdict(before.spec.limits)
    assert site.container("a").run == before.run


def test_a_change_that_waits_for_the_next_start_is_not_broken(site: Site) -> None:
    site.running("a")
    site.host.containers.amend("a", lambda spec: replace(spec, env={"A": "2"}, labels={"team": "red"}))
    assert repair(site) == ([], [])


def test_a_container_that_runs_while_the_record_says_ready_is_running(site: Site) -> None:
    container = site.ready("a")
    site.runtime.start(container.container_id or "")
    assert repair(site) == (["The container runs although the record said ready."], [])
    assert (site.container("a").state, site.container("a").run) == (State.RUNNING, in_engine(site).run)


def test_a_container_that_ended_while_the_record_says_running_is_ready(site: Site) -> None:
    site.running("a")
    site.runtime.signal(server_name("a"), "SIGKILL")
    assert repair(site) == (["The container does not run although the record said running."], [])
    assert (site.container("a").state, site.container("a").exit_code) == (State.READY, 137)


def test_leftovers_are_removed(site: Site) -> None:
    site.ready("a")
    plan, names = plan_of(site), [install_name("a"), next_name("a"), probe_name("a")]
    for name in names:
        site.runtime.create(replace(plan, name=name))
    told = [f"A leftover container {name} was removed from the engine." for name in names]
    assert repair(site) == (told, [])
    assert in_engine(site).name == server_name("a")


def test_a_failed_container_has_nothing_in_the_engine(site: Site) -> None:
    site.ready("a")
    plan = plan_of(site)
    site.install_behaves("a", exit_code=1)
    spec = replace(site.container("a").spec, install_script="echo")
    assert site.run(site.ask("a", Action.REINSTALL, next_spec=spec)).state == "failed"
    site.runtime.create(plan)
    assert repair(site) == (["A leftover container lightd-a was removed from the engine."], [])
    assert site.runtime.every(NODE) == []
    assert site.container("a").state is State.FAILED


def test_a_volume_that_is_not_mounted_is_mounted_and_a_start_script_written(site: Site) -> None:
    site.ready("a")
    site.volumes.ensure_mounted(VOLUME).rmdir()
    (site.host.data_folder("a") / ENTRYPOINT).unlink()
    assert repair(site) == (
        [
            "The volume was not mounted on the host; it is mounted again.",
            "The start script was missing; it was written again.",
        ],
        [],
    )
    assert (site.host.data_folder("a") / ENTRYPOINT).exists()


def test_a_strangers_container_is_left_alone(site: Site) -> None:
    site.ready("a")
    plan = plan_of(site)
    site.runtime.remove(plan.name)
    site.runtime.create(replace(plan, labels={LABEL_DATA: "/srv/other"}))
    job = site.run(site.ask("a", Action.REPAIR))
    assert job.state == "failed" and "not ours" in (job.error or "")


def test_no_repair_begins_while_a_job_is_at_work(site: Site) -> None:
    site.ready("a")
    start = site.ask("a", Action.START)
    with pytest.raises(Conflict, match=start.job_id):
        site.ask("a", Action.REPAIR)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["inspect", "create", "rename", "remove"])
def test_a_repair_goes_on_where_its_worker_died(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    site.ready("a", GAME_PORT)
    made_otherwise(site, ports=())
    job: Job = site.ask("a", Action.REPAIR)
    dying(monkeypatch, call, after, Death())
    with pytest.raises(Death):
        site.runner.run(job.job_id)
    assert site.run(job).state == "done"
    assert site.container("a").container_id == in_engine(site).engine_id
    assert repair(site) == ([], [])
    assert in_engine(site).image == IMAGE
