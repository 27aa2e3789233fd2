"""What comes back from a host into an emptied store, and what is left alone there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fleet.backup_file import Backup, write_backup
from fleet.images import full_name
from fleet.keys import key
from fleet.lifecycle import Action, State
from fleet.models import Container, Port
from fleet.repositories.backup import BackupRepository
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import new_job
from fleet.repositories.nodes import NodeRepository
from fleet.repositories.ports import PortRepository
from fleet.repositories.recovery import RecoveryRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from storage.volumes import Volumes
from tests.support.deadline import eventually
from tests.worker.operations.conftest import GAME_PORT, IMAGE, NODE, VOLUME, Site, site
from tests.worker.operations.rebinding import NEW_PORT, holder
from worker.agent.heartbeat import Heartbeat
from worker.known_store import KnownStore, known_store_of
from worker.operations.container_folder import write_install
from worker.operations.locks import container_lock
from worker.operations.names import install_name, next_name, server_name
from worker.operations.plans import install_plan, server_plan
from worker.recovery.evidence import INSTALL_LOST, container_from
from worker.recovery.recover import Recovery
from worker.runtime.base import ContainerPlan
from worker.second_copy import SecondCopy

__all__ = ["site"]


class Emptied:
    """A host whose store is emptied by `lose`, and brought back by `recover`."""

    def __init__(self, site: Site) -> None:
        settings = site.host.settings
        self.site = site
        self.settings: Settings = replace(settings, volume_driver="directory")
        self.volumes = Volumes(self.settings)
        self.volumes.create(VOLUME, 64)
        nodes = NodeRepository(site.redis, 15)
        containers = ContainerRepository(site.redis)
        self.store: KnownStore = known_store_of(
            self.settings, site.runtime, containers, VolumeRepository(site.redis), nodes
        )
        self.store.accept()

    def lose(self, *, keep_copies: bool = False) -> None:
        """Empty the store; with `keep_copies` the agent has written down its records before."""
        if keep_copies:
            SecondCopy(self.settings).keep(self.site.host.containers.of_node(NODE))
        self.site.redis.flushall()
        assert not self.store.is_known()

    def recover(self, *, force: bool = False) -> list[str]:
        """Bring back what there is; the sentences about what could not be brought back."""
        host = self.site.host
        recovery = Recovery(
            self.settings,
            self.site.runtime,
            self.volumes,
            RecoveryRepository(self.site.redis),
            host.console,
            self.store,
        )
        return [outcome.sentence for outcome in recovery.run(force=force) if not outcome.ok]

    def record(self, name: str) -> Container:
        """A record without what only jobs and the clock put there."""
        return replace(self.site.container(name), job_id=None, updated_at=0)


@pytest.fixture
def emptied(site: Site) -> Iterator[Emptied]:
    yield Emptied(site)


def _server_plan(site: Site, name: str) -> ContainerPlan:
    folder, volume = site.host.data_folder(name), site.volumes.ensure_mounted(VOLUME)
    return server_plan(site.host.settings, site.container(name), IMAGE, volume, folder)


@pytest.mark.parametrize("keep_copies", [False, True])
def test_a_running_container_comes_back_as_it_was(emptied: Emptied, keep_copies: bool) -> None:
    emptied.site.ready("a", GAME_PORT, env={"SECRET": "s3=cret"}, labels={"team": "red"}, stop_command="quit")
    emptied.site.run(emptied.site.ask("a", Action.START))
    before = emptied.record("a")
    emptied.lose(keep_copies=keep_copies)
    assert emptied.recover() == []
    assert emptied.record("a") == before
    assert PortRepository(emptied.site.redis).get("0.0.0.0", 25565, "tcp").internal_id == "a"
    assert VolumeRepository(emptied.site.redis).users(VOLUME) == ["a"]
    assert emptied.store.is_known()


def test_a_container_comes_back_as_it_is_when_the_work_on_it_has_ended(emptied: Emptied) -> None:
    """Its reinstall, which the lost record knew, is removing the old one."""
    emptied.site.ready("a")
    emptied.site.ask("a", Action.REINSTALL)
    emptied.lose(keep_copies=True)
    begun = threading.Event()

    def go_on() -> None:
        with container_lock(emptied.settings, "a", "the job"):
            begun.set()
            eventually(lambda: recovering.is_alive(), within_seconds=10, what="the recovery")
            time.sleep(0.2)
            emptied.site.runtime.remove(server_name("a"))

    worker = threading.Thread(target=go_on, daemon=True)
    recovering = threading.Thread(target=emptied.recover, daemon=True)
    worker.start()
    begun.wait(10)
    recovering.start()
    for thread in (worker, recovering):
        thread.join(30)
    assert emptied.record("a").state is State.FAILED
    assert emptied.record("a").error == INSTALL_LOST


def test_what_comes_into_being_while_others_are_waited_for_is_waited_for_too(emptied: Emptied) -> None:
    """A first install had nothing in the engine when the store was emptied, and undoes what it has made since."""
    site = emptied.site
    site.ready("a")
    site.create("b")
    plan = _server_plan(site, "b")
    emptied.lose()
    begun = threading.Barrier(3)

    def work_on_a() -> None:
        with container_lock(emptied.settings, "a", "the job of a"):
            begun.wait(10)
            eventually(lambda: site.runtime.inspect(server_name("b")), within_seconds=10, what="the server of b")

    def install_b() -> None:
        with container_lock(emptied.settings, "b", "the job of b"):
            begun.wait(10)
            eventually(recovering.is_alive, within_seconds=10, what="the recovery")
            time.sleep(0.2)
            site.runtime.create(plan)
            time.sleep(0.5)
            site.runtime.remove(server_name("b"))

    workers = [threading.Thread(target=work, daemon=True) for work in (work_on_a, install_b)]
    recovering = threading.Thread(target=emptied.recover, daemon=True)
    for worker in workers:
        worker.start()
    begun.wait(10)
    recovering.start()
    for thread in (*workers, recovering):
        thread.join(30)
    assert emptied.record("a").state is State.READY
    assert not site.host.containers.exists("b")
    assert emptied.store.is_known()


def test_a_container_that_is_worked_on_for_long_is_told_and_waited_for(
    emptied: Emptied, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.recovery.recover._PATIENCE_SECONDS", 0.1)
    emptied.site.ready("a")
    emptied.lose()
    with container_lock(emptied.settings, "a", "the job"):
        told = emptied.recover()
        assert told[0] == "container a is still worked on; run this again when that has ended"
        assert not emptied.store.is_known()
        assert not emptied.site.host.containers.exists("a")
    assert emptied.recover() == []
    assert emptied.store.is_known()


@pytest.mark.parametrize("keep_copies", [False, True])
def test_a_container_at_rest_comes_back_with_the_end_of_its_last_run(emptied: Emptied, keep_copies: bool) -> None:
    emptied.site.process_behaves("a", seconds=0, exit_code=3)
    emptied.site.running("a")
    emptied.site.see_exit("a")
    before = emptied.record("a")
    assert before.exit_code == 3
    emptied.lose(keep_copies=keep_copies)
    assert emptied.recover() == []
    assert emptied.record("a") == before


@pytest.mark.parametrize("keep_copies", [False, True])
def test_limits_that_were_changed_meanwhile_are_those_that_the_engine_has(emptied: Emptied, keep_copies: bool) -> None:
    site = emptied.site
    before = site.running("a")
    if keep_copies:
        SecondCopy(emptied.settings).keep(site.host.containers.of_node(NODE))
    limits = replace(before.spec.limits, pids=before.spec.limits.pids + 1, memory_bytes=2**26, swap_bytes=2**20)
    job = new_job("resources", NODE, "quick", internal_id="a", arguments=asdict(limits))
    site.host.containers.open_limits_job(job)
    assert site.run(job).state == "done"
    emptied.lose()
    assert emptied.recover() == []
    assert site.container("a").spec.limits == limits


def test_what_the_engine_cannot_tell_of_limits_is_as_it_was_told(emptied: Emptied, tmp_path: Path) -> None:
    before = emptied.site.running("a")
    server = emptied.site.runtime.inspect(server_name("a"))
    assert server is not None
    told = container_from(NODE, tmp_path, replace(server, limits={"pids": 7}), None, before)
    assert told.spec.limits == replace(before.spec.limits, pids=7)


@pytest.mark.parametrize("keep_copies", [False, True])
def test_an_install_script_and_its_private_image_are_known_again(emptied: Emptied, keep_copies: bool) -> None:
    emptied.site.install_behaves("a", layer_bytes=10)
    emptied.site.ready("a", install_script="#!/bin/sh\necho hi\n")
    before = emptied.record("a")
    emptied.lose(keep_copies=keep_copies)
    assert emptied.recover() == []
    assert emptied.record("a") == before
    emptied.site.run(emptied.site.ask("a", Action.DELETE))
    assert not emptied.site.runtime.has_image("lightd/a")


def test_a_private_image_is_known_by_the_full_name_that_the_engine_tells(emptied: Emptied, tmp_path: Path) -> None:
    emptied.site.install_behaves("a", layer_bytes=10)
    emptied.site.ready("a", install_script="#!/bin/sh\necho hi\n")
    server = emptied.site.runtime.inspect(server_name("a"))
    assert server is not None
    told = replace(server, image=full_name(server.image))
    assert container_from(NODE, tmp_path, told, None, None).own_image
    assert not container_from(NODE, tmp_path, replace(server, image=full_name(IMAGE)), None, None).own_image


def test_what_was_being_installed_has_failed_and_leaves_nothing_in_the_engine(emptied: Emptied) -> None:
    site = emptied.site
    site.install_behaves("a", seconds=None)
    job = site.create("a", GAME_PORT, install_script="sleep 60", env={"K": "v"})
    claimed = site.host.jobs.claim(job.job_id, "dies")
    begin_install(site, claimed.job_id)
    emptied.lose()
    assert emptied.recover() == []
    record = emptied.record("a")
    assert (record.state, record.error) == (State.FAILED, INSTALL_LOST)
    assert (record.spec.env, record.spec.install_script) == ({"K": "v"}, "sleep 60")
    assert site.runtime.inspect(install_name("a")) is None
    assert site.port_is_free(), "a failed container holds no port, but the pool has it again"
    site.install_behaves("a")
    site.run(site.ask("a", Action.REINSTALL))
    assert site.container("a").state is State.READY


def test_the_image_of_an_install_that_was_lost_half_way_is_gone(emptied: Emptied) -> None:
    site = emptied.site
    site.install_behaves("a", layer_bytes=10)
    site.ready("a", install_script="#!/bin/sh\necho hi\n")
    emptied.site.ask("a", Action.REINSTALL)
    emptied.lose(keep_copies=True)
    site.runtime.remove(server_name("a"))
    assert emptied.recover() == []
    record = emptied.record("a")
    assert (record.state, record.own_image) == (State.FAILED, False)
    assert not site.runtime.has_image("lightd/a")


def begin_install(site: Site, job_id: str) -> None:
    """What a worker had done when it died: the install container runs."""
    container = site.container("a")
    folder = site.host.data_folder("a")
    command = write_install(folder, container.spec.install_script or "")
    plan = install_plan(site.host.settings, container, command, site.volumes.ensure_mounted(VOLUME), folder)
    assert container.job_id == job_id
    site.runtime.start(site.runtime.create(plan))


def test_a_failed_container_comes_back_from_the_hosts_own_copy(emptied: Emptied) -> None:
    emptied.site.install_behaves("a", exit_code=1)
    emptied.site.run(emptied.site.create("a", GAME_PORT, install_script="exit 1"))
    before = emptied.record("a")
    assert before.state is State.FAILED
    emptied.lose(keep_copies=True)
    assert emptied.recover() == []
    assert emptied.record("a") == before
    assert emptied.site.port_is_free()


def test_a_container_that_misses_in_the_engine_comes_back_and_can_be_started(emptied: Emptied) -> None:
    emptied.site.ready("a")
    emptied.lose(keep_copies=True)
    emptied.site.runtime.remove(server_name("a"))
    assert emptied.recover() == []
    emptied.site.run(emptied.site.ask("a", Action.START))
    assert emptied.record("a").state is State.RUNNING


def test_a_container_made_anew_since_the_copy_was_written_is_taken_from_its_labels(emptied: Emptied) -> None:
    emptied.site.ready("a", GAME_PORT)
    SecondCopy(emptied.settings).keep(emptied.site.host.containers.of_node(NODE))
    emptied.site.run(emptied.site.ask("a", Action.REINSTALL))
    before = emptied.record("a")
    emptied.lose()
    assert emptied.recover() == []
    assert emptied.record("a") == before


def test_recovering_again_changes_nothing(emptied: Emptied) -> None:
    emptied.site.running("a")
    emptied.lose()
    emptied.recover()
    before = dict(emptied.site.redis.hgetall(key("container", "a")))
    assert emptied.recover() == []
    assert emptied.recover(force=True) == []
    assert emptied.site.redis.hgetall(key("container", "a")) == before


def test_what_was_changed_after_the_backup_comes_back_too(emptied: Emptied) -> None:
    emptied.site.running("a")
    redis, containers = emptied.site.redis, emptied.site.host.containers
    saved = redis.hgetall(key("container", "a"))
    changed = containers.amend("a", lambda spec: replace(spec, env={"A": "2"}, stop_timeout_seconds=7)).spec
    SecondCopy(emptied.settings).keep(containers.of_node(NODE))
    redis.delete(key("container", "a"))
    redis.hset(key("container", "a"), mapping=saved)
    redis.set(key("generation"), "restored")
    assert emptied.recover() == []
    assert emptied.site.container("a").spec == changed

    newest = containers.amend("a", lambda spec: replace(spec, env={"A": "3"})).spec
    assert emptied.recover(force=True) == []
    assert emptied.site.container("a").spec == newest, "the host's copy is older than this"


def go_back(emptied: Emptied, backup: Backup) -> None:
    """The store is lost, and restored from a backup."""
    SecondCopy(emptied.settings).keep(emptied.site.host.containers.of_node(NODE))
    emptied.site.redis.flushall()
    assert BackupRepository(emptied.site.redis).restore(backup)


def test_ports_that_changed_hands_after_the_backup_are_with_those_who_have_them(
    emptied: Emptied, tmp_path: Path
) -> None:
    site = emptied.site
    PortRepository(site.redis).add([Port("0.0.0.0", number, "tcp", "", "", False) for number in (25600, 25601)])
    site.ready("a", GAME_PORT)
    site.ready("b", NEW_PORT)
    backup = write_backup(tmp_path / "backup", BackupRepository(site.redis).snapshot())
    for name, wish in (("a", replace(NEW_PORT, port=25601)), ("b", GAME_PORT), ("a", NEW_PORT)):
        assert site.run(site.rebind(name, wish)).state == "done"
    before = {name: emptied.record(name) for name in "ab"}
    go_back(emptied, backup)
    assert site.container("a").ports != before["a"].ports

    assert emptied.recover() == []

    assert {name: emptied.record(name).ports for name in "ab"} == {
        name: record.ports for name, record in before.items()
    }
    assert [holder(site, number) for number in (25565, 25600, 25601)] == ["b", "a", ""]
    assert emptied.store.is_known()


def test_a_container_that_was_deleted_after_the_backup_has_failed_when_another_has_its_port(
    emptied: Emptied, tmp_path: Path
) -> None:
    site = emptied.site
    site.running("a", GAME_PORT)
    backup = write_backup(tmp_path / "backup", BackupRepository(site.redis).snapshot())
    assert site.run(site.ask("a", Action.DELETE)).state == "done"
    site.running("b", GAME_PORT)
    go_back(emptied, backup)

    assert emptied.recover() == []

    assert holder(site, 25565) == "b"
    assert site.container("b").state is State.RUNNING
    record = site.container("a")
    assert (record.state, record.container_id) == (State.FAILED, None)
    assert record.error is not None and "another container has its port" in record.error
    assert site.run(site.ask("a", Action.DELETE)).state == "done"
    assert holder(site, 25565) == "b"


def test_a_store_put_back_to_how_it_was_some_time_ago_is_not_gone_by(emptied: Emptied) -> None:
    site, redis = emptied.site, emptied.site.redis
    nodes = NodeRepository(redis, 15)
    life = Heartbeat(emptied.settings, site.runtime, nodes, lambda _node, _queue: None, emptied.store)
    life.announce()
    for name in redis.scan_iter():
        redis.copy(name, name, destination_db=1)
    site.running("a", GAME_PORT)
    before = emptied.record("a")
    for _ in range(10):
        life.announce()
    SecondCopy(emptied.settings).keep(site.host.containers.of_node(NODE))

    redis.swapdb(0, 1)  # as if an older copy of the store's files had been put in their place

    for _ in range(20):
        life.announce()
    assert not emptied.store.is_known()
    assert nodes.missing()[0] == f"{NODE}/recover"
    assert emptied.recover() == []
    assert emptied.record("a") == before
    life.announce()
    assert emptied.store.is_known()


def test_a_store_that_lost_its_last_seconds_is_still_gone_by(emptied: Emptied) -> None:
    nodes = NodeRepository(emptied.site.redis, 15)
    life = Heartbeat(emptied.settings, emptied.site.runtime, nodes, lambda _node, _queue: None, emptied.store)
    for _ in range(10):
        life.announce()
    emptied.site.redis.decrby(key("signs", NODE), 2)
    assert emptied.store.is_known()


def test_a_store_that_is_recovered_while_signs_of_life_are_noted_stays_known(
    emptied: Emptied, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = NodeRepository(emptied.site.redis, 15)
    emptied.site.redis.set(key("signs", NODE), 57)
    agent = KnownStore(nodes, emptied.settings.data, node=NODE)

    def signs(_node: str) -> int:
        monkeypatch.undo()
        emptied.lose()
        assert emptied.recover() == []
        return 57

    monkeypatch.setattr(nodes, "signs", signs)
    agent.note_signs()
    assert agent.is_known()


def test_a_record_of_another_container_stays_unless_forced(emptied: Emptied) -> None:
    emptied.site.running("a")
    emptied.lose()
    emptied.recover()
    redis = emptied.site.redis
    redis.hset(key("container", "a"), "created_at", "17")
    redis.set(key("generation"), "foreign")

    told = emptied.recover()
    assert "The store knows another container a, on node n1." in told[0]
    assert emptied.site.container("a").created_at == 17
    assert not emptied.store.is_known(), "nobody is removed for want of a record"

    emptied.recover(force=True)
    assert emptied.site.container("a").created_at != 17
    assert emptied.store.is_known()


def test_a_volume_of_another_host_and_what_is_on_it_stay(emptied: Emptied) -> None:
    emptied.site.ready("a")
    emptied.lose()
    emptied.recover()
    redis = emptied.site.redis
    redis.hset(key("volume", VOLUME), "node", "elsewhere")
    redis.hset(key("container", "a"), "node", "elsewhere")
    redis.set(key("generation"), "foreign")
    assert len(emptied.recover()) == 3
    assert redis.hget(key("container", "a"), "node") == "elsewhere"


def test_a_port_that_the_store_has_given_away_keeps_its_holder(emptied: Emptied) -> None:
    emptied.site.ready("a", GAME_PORT)
    emptied.lose()
    emptied.recover()
    redis = emptied.site.redis
    redis.delete(key("container", "a"))
    redis.hset(key("port", "0.0.0.0|25565|tcp"), "internal_id", "b")
    redis.set(key("generation"), "foreign")
    assert "port 0.0.0.0:25565/tcp, which the store has given to container b" in emptied.recover()[0]
    assert not redis.exists(key("container", "a"))


def test_a_container_without_its_volume_is_left_alone_and_told(emptied: Emptied) -> None:
    emptied.site.running("a")
    emptied.volumes.delete(VOLUME)
    emptied.lose()
    told = emptied.recover()
    assert f"on volume {VOLUME}, which the store does not know" in told[0]
    assert not emptied.store.is_known()
    found = emptied.site.runtime.inspect(server_name("a"))
    assert found and found.running


def test_a_deleted_container_leaves_no_copy(emptied: Emptied) -> None:
    emptied.site.ready("a")
    copies = SecondCopy(emptied.settings)
    copies.keep(emptied.site.host.containers.of_node(NODE))
    assert [record.internal_id for record in copies.read()] == ["a"]
    emptied.site.run(emptied.site.ask("a", Action.DELETE))
    assert list(copies.read()) == []


def test_a_copy_is_for_root_only(emptied: Emptied) -> None:
    emptied.site.ready("a", env={"SECRET": "s3cret"})
    SecondCopy(emptied.settings).keep(emptied.site.host.containers.of_node(NODE))
    (path,) = (emptied.settings.data / "containers/.records").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_jobs_wait_while_the_store_is_not_known(emptied: Emptied) -> None:
    site = emptied.site
    site.ready("a")
    job = site.ask("a", Action.START)
    wary = replace(site.host, knows_store=emptied.store.is_known)
    generation = site.redis.get(key("generation"))
    site.redis.set(key("generation"), "foreign")
    type(site.runner)(wary).run(job.job_id)
    assert site.job(job).state == "queued"
    site.redis.set(key("generation"), generation)
    type(site.runner)(wary).run(job.job_id)
    assert site.job(job).state == "done"


def test_a_start_that_was_due_by_policy_is_still_due(emptied: Emptied) -> None:
    emptied.site.process_behaves("a", seconds=0, exit_code=3)
    emptied.site.running("a", restart_policy="always")
    emptied.site.see_exit("a")
    due = emptied.record("a").restart_at
    assert due
    emptied.lose(keep_copies=True)
    assert emptied.recover() == []
    assert emptied.record("a").restart_at == due
    assert emptied.site.redis.zrange(key("restarts", NODE), 0, -1, withscores=True) == [("a", due)]


@pytest.mark.parametrize("old_one_is_gone", [False, True])
def test_a_container_that_was_about_to_take_the_servers_place(emptied: Emptied, old_one_is_gone: bool) -> None:
    site = emptied.site
    site.ready("a", GAME_PORT)
    before = emptied.record("a")
    coming = site.runtime.create(replace(_server_plan(site, "a"), name=next_name("a")))
    if old_one_is_gone:
        site.runtime.remove(server_name("a"))
    emptied.lose()
    assert emptied.recover() == []
    assert emptied.record("a") == (replace(before, container_id=coming) if old_one_is_gone else before)
    assert len(site.runtime.every(NODE)) == 1


def test_a_start_that_was_due_is_no_more_when_the_container_has_failed(emptied: Emptied) -> None:
    site = emptied.site
    site.process_behaves("a", seconds=0, exit_code=3)
    site.running("a", restart_policy="always")
    site.see_exit("a")
    SecondCopy(emptied.settings).keep(site.host.containers.of_node(NODE))
    site.ask("a", Action.REINSTALL)
    site.runtime.remove(server_name("a"))
    begin_install(site, site.container("a").job_id or "")
    emptied.lose()
    assert emptied.recover() == []
    record = emptied.record("a")
    assert (record.state, record.restart_at, record.restarts) == (State.FAILED, None, 0)
    assert site.redis.zcard(key("restarts", NODE)) == 0
