"""What every engine promises, tried on the real one and on its twin."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fleet.errors import Conflict, Invalid, NotFound
from fleet.images import full_name
from fleet.models import Limits, PortBinding
from tests.support.deadline import eventually
from tests.support.ports import free_port
from tests.worker.runtime.conftest import Bench
from worker.runtime.base import LABEL_DATA, LABEL_NODE, NEVER_RUN, Usage
from worker.runtime.memory import MemoryRuntime

MB = 1024 * 1024
LONG_SECONDS = 20.0


def test_a_new_container_has_never_run(bench: Bench) -> None:
    engine_id = bench.runtime.create(bench.plan("runs until it is stopped"))
    found = bench.runtime.inspect(bench.made[0])
    assert found is not None
    assert (found.engine_id, found.running, found.run, found.exit_code) == (engine_id, False, NEVER_RUN, None)
    assert found.container_id == bench.made[0].removeprefix("lightd-")


def test_an_image_is_known_by_its_id_too(bench: Bench) -> None:
    image = bench.plan("runs until it is stopped").image
    names = bench.runtime.images_by_id()[bench.runtime.image_id(image) or ""]
    assert full_name(image) in {full_name(name) for name in names}


def test_a_run_is_named_by_its_start_in_nanoseconds(bench: Bench) -> None:
    before = time.time()
    engine_id = bench.run("runs until it is stopped")
    found = bench.runtime.inspect(engine_id)
    assert found is not None and found.running and found.exit_code is None
    assert len(found.run) == 20
    assert before - 1 < found.started_at < time.time() + 1


def test_starting_a_running_container_does_nothing(bench: Bench) -> None:
    engine_id = bench.run("runs until it is stopped")
    first = bench.runtime.inspect(engine_id)
    bench.runtime.start(engine_id)
    assert bench.runtime.inspect(engine_id) == first


def test_only_what_others_that_run_may_write_to_counts_as_held(bench: Bench, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    runtime = bench.runtime
    mine = runtime.create(bench.plan("runs until it is stopped", mounts={"/maps": str(ours)}))
    other = runtime.create(bench.plan("runs until it is stopped", mounts={"/maps": str(theirs)}))
    runtime.start(mine)
    assert str(theirs) not in runtime.writable_folders(but=mine), "it does not run yet"
    runtime.start(other)
    held = runtime.writable_folders(but=mine)
    assert {str(theirs), str(bench.volume)} <= held
    assert not {str(ours), str(bench.data)} & held


def test_waiting_ends_with_the_process_and_tells_its_exit_code(bench: Bench) -> None:
    found = bench.runtime.wait(bench.run("ends with 3 at once"), LONG_SECONDS)
    assert found is not None and not found.running and found.exit_code == 3


def test_waiting_for_a_process_that_runs_on_ends_with_none(bench: Bench) -> None:
    engine_id = bench.run("runs until it is stopped")
    assert bench.runtime.wait(engine_id, 0.3) is None


def test_the_tail_of_the_log_has_the_output(bench: Bench) -> None:
    engine_id = bench.run("ends with 3 at once")
    bench.runtime.wait(engine_id, LONG_SECONDS)
    assert bench.runtime.log_tail(engine_id, 10) == b"bye\r\n"
    assert bench.runtime.log_tail("lightd-unknown", 10) == b""


def test_a_signal_reaches_a_running_process_only(bench: Bench) -> None:
    engine_id = bench.run("runs until it is stopped")
    assert bench.runtime.signal(engine_id, "SIGKILL")
    found = bench.runtime.wait(engine_id, LONG_SECONDS)
    assert found is not None and found.exit_code == 137
    assert not bench.runtime.signal(engine_id, "SIGTERM")
    assert not bench.runtime.signal("lightd-unknown", "SIGTERM")


def test_what_somebody_has_paused_runs_and_goes_on_when_resumed(bench: Bench, request: pytest.FixtureRequest) -> None:
    engine_id = bench.run("stops on the line quit")
    if isinstance(bench.runtime, MemoryRuntime):
        bench.runtime.pause(engine_id)
    else:
        request.getfixturevalue("engine").containers.get(engine_id).pause()
    paused = bench.runtime.inspect(engine_id)
    assert paused is not None and (paused.running, paused.paused) == (True, True)
    for _ in range(2):
        bench.runtime.resume(engine_id)
        resumed = bench.runtime.inspect(engine_id)
        assert resumed is not None and (resumed.running, resumed.paused) == (True, False)
    with pytest.raises(NotFound):
        bench.runtime.resume("lightd-unknown")


def test_input_reaches_the_process(bench: Bench) -> None:
    engine_id = bench.run("stops on the line quit")
    bench.runtime.write_input(engine_id, b"quit\n")
    found = bench.runtime.wait(engine_id, LONG_SECONDS)
    assert found is not None and found.exit_code == 0


def test_input_to_a_stopped_container_is_refused(bench: Bench) -> None:
    engine_id = bench.runtime.create(bench.plan("runs until it is stopped"))
    with pytest.raises(Conflict, match="not running"):
        bench.runtime.write_input(engine_id, b"x\n")


def test_removing_a_running_container_kills_it_and_removing_none_is_fine(bench: Bench) -> None:
    engine_id = bench.run("runs until it is stopped")
    bench.runtime.remove(bench.made[0])
    assert bench.runtime.inspect(engine_id) is None
    bench.runtime.remove(bench.made[0])
    with pytest.raises(NotFound):
        bench.runtime.wait(engine_id, 1)
    with pytest.raises(NotFound):
        bench.runtime.start(engine_id)


def test_a_stopped_container_of_the_same_name_is_replaced(bench: Bench) -> None:
    plan = bench.plan("runs until it is stopped")
    first = bench.runtime.create(plan)
    second = bench.runtime.create(plan)
    assert first != second
    found = bench.runtime.inspect(plan.name)
    assert found is not None and found.engine_id == second


def test_a_running_container_of_the_same_name_is_not_replaced(bench: Bench) -> None:
    plan = bench.plan("runs until it is stopped")
    bench.runtime.start(bench.runtime.create(plan))
    with pytest.raises(Conflict, match="running"):
        bench.runtime.create(plan)


def test_a_strangers_container_of_the_same_name_is_not_replaced(bench: Bench) -> None:
    plan = bench.plan("runs until it is stopped")
    bench.runtime.create(replace(plan, labels={**plan.labels, LABEL_DATA: "/srv/other"}))
    with pytest.raises(Conflict, match="not ours"):
        bench.runtime.create(plan)


def test_an_unknown_image_is_named(bench: Bench) -> None:
    plan = replace(bench.plan("runs until it is stopped"), image="lightd-test/nowhere:1")
    assert not bench.runtime.has_image(plan.image)
    with pytest.raises(Invalid, match="Image not found: lightd-test/nowhere:1"):
        bench.runtime.create(plan)


def test_a_port_in_use_is_named(bench: Bench) -> None:
    port = PortBinding("127.0.0.1", free_port(), "tcp", 80)
    holder, other = (bench.plan("runs until it is stopped", ports=(port,)) for _ in range(2))
    bench.runtime.start(bench.runtime.create(holder))
    engine_id = bench.runtime.create(other)
    with pytest.raises(Conflict, match=f"127.0.0.1:{port.port}"):
        bench.runtime.start(engine_id)
    found = bench.runtime.inspect(engine_id)
    assert found is not None and not found.running
    bench.runtime.remove(holder.name)
    bench.runtime.start(engine_id)


def test_a_changed_layer_is_seen_and_becomes_an_image(bench: Bench) -> None:
    engine_id = bench.run("changes a file")
    bench.runtime.wait(engine_id, LONG_SECONDS)
    assert bench.runtime.layer_bytes(engine_id) > 0
    image = f"lightd/{bench.tag}"
    made_of = bench.runtime.inspect(engine_id)
    assert made_of is not None
    bench.runtime.commit(engine_id, image)
    assert bench.runtime.has_image(image)
    owner = made_of.labels.get(LABEL_NODE, ""), made_of.labels.get(LABEL_DATA, "")
    assert bench.runtime.private_images(*owner)[image] == made_of.container_id
    assert bench.runtime.private_images("somebody else", owner[1]) == {}
    plan = replace(bench.plan("changes nothing"), image=image)
    bench.runtime.create(plan)
    with pytest.raises(Conflict):
        bench.runtime.remove_image(image)
    bench.runtime.remove(plan.name)
    bench.runtime.remove_image(image)
    assert not bench.runtime.has_image(image)
    bench.runtime.remove_image(image)


def test_an_unchanged_layer_has_no_bytes(bench: Bench) -> None:
    engine_id = bench.run("changes nothing")
    bench.runtime.wait(engine_id, LONG_SECONDS)
    assert bench.runtime.layer_bytes(engine_id) == 0


def test_all_containers_of_a_node_are_found(bench: Bench) -> None:
    running = bench.run("runs until it is stopped")
    made = bench.runtime.create(bench.plan("runs until it is stopped"))
    assert {found.engine_id for found in bench.runtime.every(bench.tag)} == {running, made}
    assert bench.runtime.every("another-node") == []


def test_the_list_tells_of_each_container_what_a_look_at_it_tells(bench: Bench) -> None:
    running = bench.run("runs until it is stopped")
    bench.runtime.create(bench.plan("runs until it is stopped"))
    assert len(bench.runtime.listed(bench.tag)) == 2
    for listed in bench.runtime.listed(bench.tag):
        found = bench.runtime.inspect(listed.engine_id)
        assert found
        told = (listed.name, dict(listed.labels), listed.running, listed.container_id)
        assert told == (found.name, dict(found.labels), found.engine_id == running, found.container_id)
    assert bench.runtime.listed("another-node") == []


def test_a_network_can_be_made_again(bench: Bench) -> None:
    bench.runtime.ensure_network(bench.network)
    eventually(lambda: bench.run("changes nothing"), within_seconds=5, what="a container on the network")


def test_a_renamed_container_is_found_by_its_new_name_only(bench: Bench) -> None:
    first, second = (bench.plan("runs until it is stopped") for _ in range(2))
    engine_id, other = bench.runtime.create(first), bench.runtime.create(second)
    with pytest.raises(Conflict):
        bench.runtime.rename(other, first.name)
    bench.made.append(f"{first.name}-new")
    bench.runtime.rename(engine_id, bench.made[-1])
    found = bench.runtime.inspect(bench.made[-1])
    assert found is not None and (found.engine_id, found.name) == (engine_id, bench.made[-1])
    assert bench.runtime.inspect(first.name) is None
    with pytest.raises(NotFound):
        bench.runtime.rename("lightd-unknown", "anything")


def test_a_container_tells_which_image_it_was_made_from(bench: Bench) -> None:
    plan = bench.plan("runs until it is stopped")
    found = bench.runtime.inspect(bench.runtime.create(plan))
    assert found is not None and found.image_id == bench.runtime.image_id(plan.image)
    assert bench.runtime.image_id(found.image_id) == found.image_id
    assert bench.runtime.image_id("lightd-test/nowhere:1") is None


CHANGED_PLANS = {
    "ports": {"ports": (PortBinding("127.0.0.1", 25565, "udp", 80),)},
    "limits": {"limits": Limits(memory_bytes=32 * 1024**2, cpu=0.25, pids=16)},
    "labels": {"labels": {"lightd.id": "other"}},
    "mounts": {"mounts": {"/elsewhere": "/var/tmp"}},
    "rights": {"read_only": True},
}


def test_a_container_is_compared_with_its_plan(bench: Bench) -> None:
    plan = bench.plan("runs until it is stopped", ports=(PortBinding("127.0.0.1", free_port(), "tcp", 80),))
    engine_id = bench.runtime.create(plan)
    assert bench.runtime.differences(engine_id, plan) == []
    bench.runtime.start(engine_id)
    assert bench.runtime.differences(engine_id, plan) == []
    for aspect, changes in CHANGED_PLANS.items():
        assert bench.runtime.differences(engine_id, replace(plan, **changes)) == [aspect]
    with pytest.raises(NotFound):
        bench.runtime.differences("lightd-unknown", plan)


@pytest.mark.parametrize("runs", [False, True], ids=["stopped", "running"])
def test_limits_can_be_changed_again_and_again(bench: Bench, runs: bool) -> None:
    engine_id = bench.runtime.create(bench.plan("runs until it is stopped"))
    if runs:
        bench.runtime.start(engine_id)
    for memory_mb, swap_mb in ((32, 0), (128, 0), (64, 64), (256, 16), (16, 0)):
        limits = Limits(memory_mb * MB, cpu=0.25, pids=20, swap_bytes=swap_mb * MB, io_weight=200)
        bench.runtime.update(engine_id, limits)
        bench.runtime.update(engine_id, limits)
        told = bench.runtime.inspect(engine_id)
        assert told is not None and dict(told.limits).items() <= asdict(limits).items()
        assert {"memory_bytes", "cpu", "pids"} <= told.limits.keys()
    found = bench.runtime.inspect(engine_id)
    assert found is not None and found.running is runs
    with pytest.raises(NotFound):
        bench.runtime.update("lightd-unknown", limits)


def test_what_a_running_container_uses_is_known(bench: Bench) -> None:
    engine_id = bench.run("holds 24 MB")
    used = eventually(lambda: held(bench, engine_id), within_seconds=LONG_SECONDS, what="the memory")
    assert used.memory_bytes < 64 * MB
    assert used.swap_bytes == 0
    assert 1 <= used.pids < 10


def test_a_stopped_or_unknown_container_uses_nothing(bench: Bench) -> None:
    assert bench.runtime.usage(bench.runtime.create(bench.plan("changes nothing"))) is None
    assert bench.runtime.usage("lightd-unknown") is None


def test_less_memory_than_is_used_is_refused_and_ends_nothing(bench: Bench) -> None:
    engine_id = bench.run("holds 24 MB")
    eventually(lambda: held(bench, engine_id), within_seconds=LONG_SECONDS, what="the memory")
    with pytest.raises(Conflict, match="more memory"):
        bench.runtime.update(engine_id, Limits(12 * MB, cpu=0.5, pids=32))
    found = bench.runtime.inspect(engine_id)
    assert found is not None and found.running


def held(bench: Bench, engine_id: str) -> Usage | None:
    """What it uses, once that is the 24 MB that it is to hold."""
    used = bench.runtime.usage(engine_id)
    return used if used and used.memory_bytes >= 24 * MB else None
