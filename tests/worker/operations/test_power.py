"""Start, stop, restart and delete, and what may come in between."""

from __future__ import annotations

import threading

import pytest

from fleet.errors import Conflict, EngineUnavailable, NotFound, Unavailable
from fleet.lifecycle import Action, State
from fleet.models import Port
from fleet.repositories.jobs import JobRefused
from fleet.repositories.ports import PortRepository
from tests.support.deadline import eventually
from tests.worker.operations.conftest import GAME_PORT, NODE, VOLUME, Site
from worker.operations.locks import container_lock
from worker.operations.names import install_name, private_image, server_name
from worker.runtime.base import LABEL_DATA, LABEL_NODE, ContainerPlan
from worker.runtime.memory import MemoryRuntime


def runs(site: Site, name: str) -> bool:
    seen = site.runtime.inspect(server_name(name))
    return seen is not None and seen.running


def test_a_started_container_runs_at_once_without_a_pattern(site: Site) -> None:
    container = site.running("a")
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.running and container.run == seen.run
    assert site.told("a")[2:] == ["starting", "Container started", "running"]


def test_a_started_container_with_a_pattern_waits_for_it(site: Site) -> None:
    site.ready("a", start_pattern="Done")
    job = site.run(site.ask("a", Action.START))
    assert (job.state, site.container("a").state) == ("done", State.STARTING)
    assert site.told("a")[2:] == ["starting", "Container started"]


def test_a_port_in_use_on_the_host_names_it_and_the_container_stays_ready(site: Site) -> None:
    site.ready("a", GAME_PORT)
    other = next(made.plan for made in site.runtime._made.values())
    holder = ContainerPlan(**{name: getattr(other, name) for name in ContainerPlan.__slots__} | {"name": "stranger"})
    site.runtime.start(site.runtime.create(holder))
    job = site.run(site.ask("a", Action.START))
    container = site.container("a")
    assert (job.state, container.state) == ("failed", State.READY)
    assert job.error is not None and "0.0.0.0:25565" in job.error and container.error == job.error
    assert site.told("a")[-2:] == ["exit", f"Error: {job.error}"]


def test_a_missing_engine_container_is_made_again(site: Site) -> None:
    before = site.ready("a")
    site.runtime.remove(server_name("a"))
    assert site.run(site.ask("a", Action.START)).state == "done"
    after = site.container("a")
    assert after.state is State.RUNNING and after.container_id != before.container_id


def test_a_container_whose_disk_is_gone_does_not_start(site: Site) -> None:
    site.ready("a")
    site.volumes.failure = Unavailable("The disk of the volume is gone.")
    job = site.run(site.ask("a", Action.START))
    assert (job.state, job.error, site.container("a").state) == (
        "failed",
        "The disk of the volume is gone.",
        State.READY,
    )
    assert not runs(site, "a")


def test_a_process_that_ended_before_its_start_was_written_leaves_the_container_ready(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.ready("a")
    site.process_behaves("a", seconds=0, exit_code=3)
    start = MemoryRuntime.start

    def seen_by_the_agent_at_once(runtime: MemoryRuntime, engine_id: str) -> None:
        start(runtime, engine_id)
        site.see_exit("a")

    job = site.ask("a", Action.START)
    monkeypatch.setattr(MemoryRuntime, "start", seen_by_the_agent_at_once)
    assert site.run(job).state == "done"
    container = site.container("a")
    assert (container.state, container.exit_code) == (State.READY, 3)


def test_a_kill_that_came_before_the_process_ends_it_after_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ready("a")
    start = MemoryRuntime.start

    def killed_while_starting(runtime: MemoryRuntime, engine_id: str) -> None:
        site.ask("a", Action.KILL)
        site.see_exit("a")
        start(runtime, engine_id)

    job = site.ask("a", Action.START)
    monkeypatch.setattr(MemoryRuntime, "start", killed_while_starting)
    assert site.run(job).state == "cancelled"
    assert not runs(site, "a")
    assert site.container("a").state is State.READY


def test_a_kill_that_came_while_the_container_was_made_again_leaves_it_known(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.ready("a")
    site.runtime.remove(server_name("a"))
    create = MemoryRuntime.create

    def killed_while_making(runtime: MemoryRuntime, plan: ContainerPlan) -> str:
        site.ask("a", Action.KILL)
        return create(runtime, plan)

    job = site.ask("a", Action.START)
    monkeypatch.setattr(MemoryRuntime, "create", killed_while_making)
    assert site.run(job).state == "cancelled"
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and not seen.running
    assert site.container("a").container_id == seen.engine_id


def test_a_stop_that_came_while_starting_finds_the_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ready("a")
    start, asked = MemoryRuntime.start, []

    def stopped_while_starting(runtime: MemoryRuntime, engine_id: str) -> None:
        start(runtime, engine_id)
        asked.append(site.ask("a", Action.STOP))

    job = site.ask("a", Action.START)
    monkeypatch.setattr(MemoryRuntime, "start", stopped_while_starting)
    assert site.run(job).state == "cancelled"
    assert runs(site, "a")
    site.run(asked[0])
    site.see_exit("a")
    assert (site.job(asked[0]).state, site.container("a").state) == ("done", State.READY)


def test_a_stop_parks_until_the_process_ends(site: Site) -> None:
    site.process_behaves("a", ignores=frozenset({"SIGTERM"}))
    site.running("a", stop_timeout_seconds=30)
    job = site.run(site.ask("a", Action.STOP))
    assert (job.waits, job.state, site.container("a").state) == (True, "running", State.STOPPING)
    assert site.host.jobs.overdue(NODE) == []
    site.runtime.signal(server_name("a"), "SIGKILL")
    site.see_exit("a")
    assert (site.job(job).state, site.container("a").state) == ("done", State.READY)
    assert site.told("a")[-3:] == ["stopping", "exit", "Container stopped"]


def test_an_unheard_stop_is_overdue_after_its_timeout(site: Site) -> None:
    site.process_behaves("a", ignores=frozenset({"SIGTERM"}))
    site.running("a", stop_timeout_seconds=0)
    job = site.run(site.ask("a", Action.STOP))
    assert [overdue.job_id for overdue in site.host.jobs.overdue(NODE)] == [job.job_id]


def test_a_stop_command_is_written_as_one_line(site: Site) -> None:
    site.process_behaves("a", stops_on_input=b"save-all stop\n")
    site.running("a", stop_command="save-all stop")
    job = site.run(site.ask("a", Action.STOP))
    assert site.runtime.read_input(server_name("a")) == b"save-all stop\n"
    site.see_exit("a")
    assert site.job(job).state == "done"


def test_stopping_what_has_ended_settles_the_record(site: Site) -> None:
    site.running("a")
    site.runtime.signal(server_name("a"), "SIGKILL")
    job = site.run(site.ask("a", Action.STOP))
    container = site.container("a")
    assert (job.state, container.state, container.exit_code) == ("done", State.READY, 137)


def test_a_signal_that_the_engine_refuses_leaves_the_container_running(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.running("a")

    def refuse(*_: object) -> bool:
        raise Conflict("The engine refused: invalid signal: SIGWHAT")

    monkeypatch.setattr(MemoryRuntime, "signal", refuse)
    job = site.run(site.ask("a", Action.STOP))
    assert (job.state, site.container("a").state) == ("failed", State.RUNNING)
    assert site.told("a")[-2:] == ["running", "Error: The engine refused: invalid signal: SIGWHAT"]


def test_a_stop_waits_for_an_engine_that_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.running("a")
    job = site.ask("a", Action.STOP)

    def away(*_: object) -> bool:
        raise EngineUnavailable("The engine does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryRuntime, "signal", away)
        assert site.run(job).is_open
    assert site.run(job).waits
    site.see_exit("a")
    assert site.job(job).state == "done"


def test_a_restart_ends_the_process_and_starts_it_again(site: Site) -> None:
    first = site.running("a")
    job = site.run(site.ask("a", Action.RESTART))
    assert job.waits
    assert site.see_exit("a") == job.job_id
    assert site.run(job).state == "done"
    container = site.container("a")
    assert container.state is State.RUNNING and first.run is not None and container.run > first.run
    assert site.told("a")[5:] == [
        "stopping",
        "exit",
        "Container stopped",
        "starting",
        "Container restarted",
        "running",
    ]


def test_a_restart_of_a_stopped_container_starts_it(site: Site) -> None:
    site.ready("a")
    assert site.run(site.ask("a", Action.RESTART)).state == "done"
    assert site.container("a").state is State.RUNNING


def test_a_restart_finds_that_the_process_has_ended_and_goes_on_by_itself(site: Site) -> None:
    site.running("a")
    site.runtime.signal(server_name("a"), "SIGKILL")
    assert site.run(site.ask("a", Action.RESTART)).state == "done"
    assert site.container("a").state is State.RUNNING


def test_a_restart_whose_process_ended_before_it_was_parked_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.running("a")
    job = site.ask("a", Action.RESTART)
    signal, followers = MemoryRuntime.signal, []

    def agent_is_quicker(runtime: MemoryRuntime, engine_id: str, name: str) -> bool:
        reached = signal(runtime, engine_id, name)
        assert site.see_exit("a") == job.job_id
        return reached

    monkeypatch.setattr(MemoryRuntime, "signal", agent_is_quicker)
    disown = "worker.operations.locks.ContainerLock.disown"

    def deliver_again(_lock: object) -> None:
        monkeypatch.undo()
        _lock.disown()
        follower = threading.Thread(target=site.runner.run, args=(job.job_id,), daemon=True)
        follower.start()
        followers.append(follower)

    monkeypatch.setattr(disown, deliver_again)
    site.run(job)
    followers[0].join(60)
    assert (site.job(job).state, site.container("a").state) == ("done", State.RUNNING)


def test_a_restart_that_cannot_start_again_says_so(site: Site) -> None:
    site.running("a")
    job = site.run(site.ask("a", Action.RESTART))
    site.see_exit("a")
    site.volumes.failure = Unavailable("The disk of the volume is gone.")
    assert site.run(job).error == "The disk of the volume is gone."
    assert site.container("a").state is State.READY


def test_deleting_leaves_nothing(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    site.ready("a", GAME_PORT, install_script="echo")
    site.run(site.ask("a", Action.START))
    job = site.run(site.ask("a", Action.DELETE))
    assert job.state == "done"
    with pytest.raises(NotFound):
        site.container("a")
    assert site.runtime.every(NODE) == []
    assert not site.runtime.has_image(private_image("a"))
    assert not site.host.data_folder("a").exists()
    assert list(site.redis.scan_iter("*:a")) == []
    assert site.port_is_free()
    assert site.host.jobs.open_count(NODE) == 0


@pytest.mark.parametrize("labels", [{LABEL_NODE: "n2"}, {LABEL_NODE: NODE, LABEL_DATA: "/srv/other"}])
def test_deleting_leaves_strangers_of_the_same_name_alone(site: Site, labels: dict[str, str]) -> None:
    site.ready("a")
    seen = site.runtime.inspect(server_name("a"))
    made = site.runtime._made[seen.engine_id]  # type: ignore[union-attr]
    site.runtime.remove(server_name("a"))
    stranger = ContainerPlan(
        **{name: getattr(made.plan, name) for name in ContainerPlan.__slots__} | {"labels": labels}
    )
    site.runtime.create(stranger)
    site.run(site.ask("a", Action.DELETE))
    assert site.runtime.inspect(server_name("a")) is not None
    assert site.runtime.inspect(install_name("a")) is None


def test_a_deletion_waits_for_an_engine_that_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ready("a")
    job = site.ask("a", Action.DELETE)

    def away(*_: object) -> None:
        raise EngineUnavailable("The engine does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryRuntime, "remove", away)
        assert site.run(job).is_open
    assert site.run(job).state == "done"


def test_a_second_delivery_steps_aside_and_another_job_waits(site: Site) -> None:
    site.ready("a")
    job = site.ask("a", Action.START)
    with container_lock(site.host.settings, "a", job.job_id):
        assert site.run(job).state == "queued"
        deletion = site.ask("a", Action.DELETE)
        thread = threading.Thread(target=site.runner.run, args=(deletion.job_id,), daemon=True)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(60)
    assert site.job(deletion).state == "done"
    assert not list((site.host.settings.run_folder / "locks").iterdir())


def test_a_job_that_was_done_is_not_done_again(site: Site) -> None:
    site.ready("a")
    job = site.run(site.ask("a", Action.START))
    assert site.run(job) == job
    with pytest.raises(JobRefused):
        site.host.jobs.claim(job.job_id, "w")


def test_an_unexpected_error_ends_the_job_without_its_internals(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ready("a")

    def broken(*_: object) -> None:
        raise ValueError("secret detail")

    monkeypatch.setattr(MemoryRuntime, "start", broken)
    job = site.run(site.ask("a", Action.START))
    assert job.error == f"Internal error; see the worker's log (job {job.job_id})."
    assert site.container("a").state is State.READY


def test_a_lease_is_held_while_a_job_is_worked_on(site: Site) -> None:
    site.install_behaves("a", seconds=None)
    job = site.create("a", install_script="sleep")
    thread = threading.Thread(target=site.runner.run, args=(job.job_id,), daemon=True)
    thread.start()
    eventually(lambda: site.redis.ttl(f"lightd:lease:{job.job_id}") >= 5, within_seconds=5, what="the lease")
    eventually(lambda: site.redis.ttl(f"lightd:lease:{job.job_id}") == 4, within_seconds=5, what="its aging")
    eventually(lambda: site.redis.ttl(f"lightd:lease:{job.job_id}") >= 5, within_seconds=5, what="its renewal")
    site.runtime.signal(install_name("a"), "SIGKILL")
    thread.join(60)
    assert site.redis.exists(f"lightd:lease:{job.job_id}") == 0


def test_all_free_again_after_everything(site: Site) -> None:
    PortRepository(site.redis).add([Port("127.0.0.1", 1, "tcp", "", "", False)])
    for name in ("a", "b", "c"):
        site.ready(name)
        site.run(site.ask(name, Action.START))
        site.run(site.ask(name, Action.DELETE))
    assert site.host.jobs.open_count(NODE) == 0
    assert site.redis.scard(f"lightd:volume_users:{VOLUME}") == 0


def test_a_network_that_somebody_removed_is_made_again(site: Site) -> None:
    site.runtime.networks.clear()
    site.ready("a")
    assert site.runtime.networks == {"lightd"}
