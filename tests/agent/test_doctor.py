"""Every kind of difference is planted once: the doctor names it, and mends it where nothing can be lost."""

from __future__ import annotations

import secrets
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from fleet.keys import key
from fleet.lifecycle import Action, State
from fleet.models import Limits, Port, Volume
from fleet.repositories.ports import PortRepository
from fleet.settings import Settings
from scripts import doctor as command
from storage.volumes import Volumes
from storage.volumes.layout import image_path
from storage.volumes.mounts import loop_devices_below
from tests.agent.bench import Bench
from worker.doctor.compose import create_doctor
from worker.doctor.difference import Difference
from worker.doctor.doctor import Doctor
from worker.firewall import Firewall
from worker.operations.locks import container_lock
from worker.operations.names import install_name, private_image
from worker.operations.plans import install_plan

pytestmark = pytest.mark.engine


@pytest.fixture
def doctor(bench: Bench) -> Doctor:
    """A doctor for the bench, where no agent mends anything."""
    made = create_doctor(bench.settings, bench.stores, bench.runtime, lambda _job: None)
    return replace(made, second_look_seconds=0.0)


def found(doctor: Doctor, *words: str) -> Difference:
    """The one difference there is, which must say these words."""
    (difference,) = doctor.differences()
    for word in words:
        assert word in difference.sentence
    return difference


def mended(doctor: Doctor, *words: str) -> None:
    """The one difference there is says these words, and is gone when it is mended."""
    assert doctor.mend(found(doctor, *words)) == ""
    assert doctor.differences() == []


def forget_record(bench: Bench, name: str) -> None:
    """Somebody deletes a record, and nothing else."""
    bench.stores.record.delete(key("container", bench.id_of(name)))
    bench.stores.record.zrem(key("containers"), bench.id_of(name))


def test_where_all_agree_nothing_is_found(bench: Bench, doctor: Doctor) -> None:
    bench.install("rests", "true")
    bench.install("runs", "sleep 60")
    bench.do("runs", Action.START)
    assert doctor.differences() == []


def test_a_container_without_a_record(bench: Bench, doctor: Doctor) -> None:
    bench.install("a", "sleep 60")
    assert doctor.differences() == []
    forget_record(bench, "a")
    engine, folder = sorted(doctor.differences(), key=lambda one: one.sentence)
    assert "has a container" in engine.sentence and "has scripts of a container" in folder.sentence
    assert (doctor.mend(engine), doctor.mend(folder)) == ("", "")
    assert doctor.differences() == []
    assert bench.runtime.inspect(bench.engine_name("a")) is None


def test_a_process_that_ended_or_began_behind_everybodys_back(bench: Bench, doctor: Doctor) -> None:
    bench.install("a", "sleep 60")
    bench.do("a", Action.START)
    bench.runtime.signal(bench.engine_name("a"), "SIGKILL")
    bench.runtime.wait(bench.engine_name("a"), 20)
    mended(doctor, "does not run in the engine, but its record says running")
    assert bench.record("a").state is State.READY

    bench.runtime.start(bench.engine_name("a"))
    mended(doctor, "runs in the engine, but its record says ready")
    assert bench.record("a").state is State.RUNNING


def test_a_server_that_somebody_removed(bench: Bench, doctor: Doctor) -> None:
    bench.install("a", "sleep 60")
    bench.do("a", Action.START)
    bench.runtime.remove(bench.engine_name("a"))
    doctor.mend(found(doctor, "The record says running", "the engine has none"))
    assert doctor.mend(found(doctor, "its next start makes it again")) != "", "nobody asked for a container now"


def test_what_an_install_left(bench: Bench, doctor: Doctor) -> None:
    record = bench.install("a", "true")
    folder = bench.settings.data / "containers" / record.internal_id
    volume = bench.settings.data / "volumes" / record.volume_id
    bench.runtime.create(install_plan(bench.settings, record, ("/bin/true",), volume, folder))
    mended(doctor, install_name(record.internal_id), "nobody is at work with it")


def test_a_private_image_without_a_record(bench: Bench, doctor: Doctor) -> None:
    record = bench.install("a", "true", install_script="#!/bin/sh\nmkdir -p /opt; echo x > /opt/x\n")
    image = private_image(record.internal_id)
    assert bench.runtime.has_image(image) and doctor.differences() == []
    bench.runtime.remove(bench.engine_name("a"))
    forget_record(bench, "a")
    for difference in doctor.differences():
        assert doctor.mend(difference) == ""
    assert not bench.runtime.has_image(image)
    assert doctor.differences() == []


def test_ports_that_pool_and_records_do_not_agree_about(bench: Bench, doctor: Doctor) -> None:
    ports = PortRepository(bench.stores.record)
    ports.add([Port("127.0.0.1", 4001, "tcp", "", "", False), Port("127.0.0.1", 4002, "tcp", "", "", False)])
    record = bench.install("a", "true")
    bench.stores.record.hset(key("port", "127.0.0.1|4001|tcp"), mapping={"internal_id": "nobody", "in_use": "1"})
    mended(doctor, "Port 127.0.0.1:4001/tcp is held by nobody")
    assert not ports.get("127.0.0.1", 4001, "tcp").in_use

    binding = '[{"ip":"127.0.0.1","port":4002,"protocol":"tcp","container_port":80}]'
    bench.stores.record.hset(key("container", record.internal_id), "ports", binding)
    free = next(one for one in doctor.differences() if "the pool says that it is free" in one.sentence)
    assert doctor.mend(free) == ""
    assert ports.get("127.0.0.1", 4002, "tcp").internal_id == record.internal_id
    assert doctor.mend(found(doctor, "other ports in the engine than in its record")) != ""


def test_limits_that_somebody_changed(bench: Bench, doctor: Doctor) -> None:
    third = Limits(64 << 20, 1 / 3, 64)
    record = bench.install("a", "sleep 60", limits=third)
    bench.do("a", Action.START)
    assert doctor.differences() == []
    bench.runtime.update(bench.engine_name("a"), replace(third, memory_bytes=1 << 30))
    difference = found(doctor, "other limits in the engine than in its record")
    with container_lock(bench.settings, record.internal_id, "job"):
        assert "a job is at work on it" in doctor.mend(difference)
    assert doctor.mend(difference) == ""
    assert doctor.differences() == []


def test_a_container_that_somebody_paused(bench: Bench, doctor: Doctor) -> None:
    bench.install("a", "sleep 60")
    bench.do("a", Action.START)
    bench.engine.containers.get(bench.engine_name("a")).pause()
    assert doctor.mend(found(doctor, "is paused in the engine")) == ""
    assert doctor.differences() == []


def test_a_private_image_that_somebody_removed(bench: Bench, doctor: Doctor) -> None:
    record = bench.install("a", "sleep 60", install_script="#!/bin/sh\nmkdir -p /opt; echo x > /opt/x\n")
    bench.do("a", Action.START)
    assert doctor.differences() == []
    image = private_image(record.internal_id)
    nameless = bench.engine.images.get(image).id
    try:
        bench.engine.images.remove(image, force=True)
        assert doctor.mend(found(doctor, "The private image of container", "is missing")) != "", "a repair knows how"
        bench.run(bench.begin("a", Action.REPAIR))
        assert doctor.differences() == []
    finally:
        bench.runtime.remove(bench.engine_name("a"))
        for left in (image, nameless):
            bench.runtime.remove_image(left)


def test_volumes_of_which_only_one_side_knows_are_told_and_left_alone(bench: Bench, doctor: Doctor) -> None:
    assert doctor.differences() == []
    only_here = str(uuid.uuid4())
    Volumes(bench.settings).create(only_here, 16)
    assert doctor.mend(found(doctor, f"Volume {only_here} is on this host's disk, but not in the record")) != ""
    Volumes(bench.settings).delete(only_here)

    only_there = str(uuid.uuid4())
    bench.volumes.save(Volume(only_there, bench.node, "/x", 16, "directory", "ready", 1, 1))
    assert doctor.mend(found(doctor, f"Volume {only_there} is in the record, but not on this host's disk")) != ""


def test_a_size_that_only_the_host_knows(bench: Bench, doctor: Doctor) -> None:
    record = bench.install("a", "true")
    Volumes(bench.settings).resize(record.volume_id, 20)
    mended(doctor, "has 20 MB, its record says 16")


def test_mounts_and_loop_devices(bench: Bench, doctor: Doctor) -> None:
    volume_id, stray = str(uuid.uuid4()), image_path(bench.settings, str(uuid.uuid4()))
    disks = Volumes(replace(bench.settings, volume_driver="loop", volume_allocation="sparse"))
    path = bench.settings.data / "volumes" / volume_id
    try:
        disks.create(volume_id, 16)
        bench.volumes.save(Volume(volume_id, bench.node, str(path), 16, "loop", "ready", 1, 1))
        assert doctor.differences() == []
        subprocess.run(["umount", str(path)], check=True)
        mended(doctor, f"Volume {volume_id} is not mounted")
        assert path.stat().st_dev != path.parent.stat().st_dev

        stray.write_bytes(bytes(1 << 20))
        subprocess.run(["losetup", "--find", str(stray)], check=True)
        image, device = sorted(doctor.differences(), key=lambda one: one.mend is not None)
        assert f"image {stray} belongs to no volume" in image.sentence, "it may hold somebody's files"
        assert "loop device" in device.sentence and doctor.mend(device) == ""
        assert [one.sentence for one in doctor.differences()] == [image.sentence]
    finally:
        disks.delete(volume_id)
        for name in loop_devices_below(stray.parent):
            subprocess.run(["losetup", "--detach", name], check=True)


def test_an_emptied_store_is_the_only_thing_told(bench: Bench, doctor: Doctor) -> None:
    bench.install("a", "true")
    doctor.store.accept()
    bench.stores.record.flushall()
    assert doctor.mend(found(doctor, "./lightd recover")) != ""


@pytest.fixture
def network() -> Iterator[str]:
    """The name of a network that has no firewall."""
    name = f"ag{secrets.token_hex(3)}"
    yield name
    Firewall(name).remove()


def test_firewall_rules_that_somebody_removed(network: str) -> None:
    firewall = Firewall(network)
    assert len(firewall.missing()) >= 4, "two chains, and two ways into them"
    firewall.ensure()
    assert firewall.missing() == []
    subprocess.run(["iptables", "-w", "-D", f"LIGHTD-{network.upper()}", "1"], check=True)
    (sentence,) = firewall.missing()
    assert "does not have the rules" in sentence
    subprocess.run(["iptables", "-w", "-D", "INPUT", "-i", network, "-j", f"LIGHTD-{network.upper()}"], check=True)
    assert any("does not lead to" in sentence for sentence in firewall.missing())
    firewall.ensure()
    assert firewall.missing() == []


def test_the_command_lists_mends_and_answers_by_its_exit_code(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = create_doctor(bench.settings, bench.stores, bench.runtime, lambda _job: None)
    monkeypatch.setattr(command, "doctor_of_host", lambda _settings, _dispatch: replace(made, second_look_seconds=0.0))
    bench.install("a", "true")
    assert told(command.doctor, bench.settings, capsys, fix=False) == (0, ["Record, engine, disk and firewall agree."])
    forget_record(bench, "a")
    code, lines = told(command.doctor, bench.settings, capsys, fix=False)
    assert (code, len(lines)) == (1, 2) and all(line.endswith("(--fix mends it)") for line in lines)
    code, lines = told(command.doctor, bench.settings, capsys, fix=True)
    assert code == 0 and all(line.endswith("Mended.") for line in lines)


def told(
    command: Callable[..., int], settings: Settings, output: pytest.CaptureFixture[str], *, fix: bool
) -> tuple[int, list[str]]:
    """Exit code and lines of the command."""
    output.readouterr()
    code = command(settings, fix=fix)
    return code, [line for line in output.readouterr().out.splitlines() if "level=" not in line]
