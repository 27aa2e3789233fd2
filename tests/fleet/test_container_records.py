"""A container's record changes in single steps, whoever else is at it."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog

from fleet.errors import ActionNotAllowed, AlreadyExists, Conflict, NotFound, PortNotInPool, PortTaken
from fleet.keys import key
from fleet.lifecycle import Action, State
from fleet.models import Port, PortWish
from fleet.repositories.containers import Superseded
from fleet.repositories.jobs import JobRefused, new_job
from fleet.runs import Run
from tests.fleet.conftest import NODE, VOLUME, Record, new_run

GAME_PORT = PortWish("tcp", ip="0.0.0.0", port=25565)


def messages_of(record: Record, name: str) -> list[str]:
    return [json.loads(message)["data"] for _, message in record.containers.feed(name)]


def test_of_many_equal_creations_exactly_one_wins(record: Record) -> None:
    def attempt(_: int) -> bool:
        try:
            record.create("a")
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(attempt, range(20))) == 1
    assert record.redis.zcard(key("jobs_open", NODE)) == 1


@pytest.mark.parametrize(("first", "second"), [("x", "x-install"), ("x-install", "x")])
def test_no_container_has_the_engine_name_of_anothers_install(record: Record, first: str, second: str) -> None:
    record.create(first)
    with pytest.raises(AlreadyExists, match=f"beside {first}"):
        record.create(second)
    record.create("x-install-2")


def test_one_port_goes_to_exactly_one_of_many(record: Record) -> None:
    def attempt(number: int) -> str:
        try:
            record.create(f"c{number}", GAME_PORT)
        except PortTaken:
            return ""
        return f"c{number}"

    with ThreadPoolExecutor(20) as pool:
        winners = [name for name in pool.map(attempt, range(20)) if name]
    assert len(winners) == 1
    assert record.ports.get("0.0.0.0", 25565, "tcp").internal_id == winners[0]
    assert [container.internal_id for container in record.containers.page()[0]] == winners


def test_a_refused_creation_leaves_nothing(record: Record) -> None:
    with pytest.raises(PortNotInPool):
        record.create("a", GAME_PORT, PortWish("tcp", ip="0.0.0.0", port=1))
    with pytest.raises(NotFound):
        record.containers.get("a")
    assert not record.ports.get("0.0.0.0", 25565, "tcp").in_use
    assert record.volumes.users(VOLUME) == []


def test_a_port_pinned_to_another_host_is_not_given(record: Record) -> None:
    record.create("a", PortWish("tcp", container_port=80))
    assert [binding.port for binding in record.containers.get("a").ports] == [25565]
    with pytest.raises(Conflict):
        record.create("b", PortWish("tcp", container_port=80))


def test_a_port_may_be_asked_for_by_number_alone(record: Record) -> None:
    record.create("a", PortWish("tcp", container_port=80, port=25565))
    (binding,) = record.containers.get("a").ports
    assert (binding.ip, binding.port, binding.container_port) == ("0.0.0.0", 25565, 80)


@pytest.mark.parametrize(("named", "other"), [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")])
def test_a_number_alone_may_be_had_at_another_address_than_the_one_that_is_named(
    record: Record, named: str, other: str
) -> None:
    record.ports.add([Port(ip, 8000, "tcp", "", "", False) for ip in ("10.0.0.1", "10.0.0.2")])
    record.create("a", PortWish("tcp", ip=named, port=8000), PortWish("tcp", container_port=80, port=8000))
    assert [binding.ip for binding in record.containers.get("a").ports] == [named, other]
    with pytest.raises(PortTaken):
        record.create("b", PortWish("tcp", port=8000))


def test_the_first_event_is_written_with_the_record(record: Record) -> None:
    record.create("a")
    assert messages_of(record, "a") == ["installing"]


def test_an_equal_request_answers_with_the_job_under_way(record: Record) -> None:
    container = record.ready("a")
    first = new_job("start", NODE, "quick", internal_id="a")
    second = new_job("start", NODE, "quick", internal_id="a")
    assert record.containers.begin(container, Action.START, first) == first.job_id
    assert record.containers.begin(container, Action.START, second) == first.job_id


def test_a_move_the_lifecycle_does_not_have_is_refused_by_the_current_state(record: Record) -> None:
    container = record.ready("a")
    with pytest.raises(ActionNotAllowed, match="ready"):
        record.containers.begin(container, Action.STOP, new_job("stop", NODE, "quick", internal_id="a"))


def test_a_stale_reading_does_not_matter_to_an_allowed_move(record: Record) -> None:
    stale = record.ready("a")
    record.containers.begin(stale, Action.START, new_job("start", NODE, "quick", internal_id="a"))
    record.containers.begin(stale, Action.STOP, new_job("stop", NODE, "quick", internal_id="a"))
    assert record.containers.get("a").state is State.STOPPING


def test_each_run_ends_once(record: Record) -> None:
    _, run = record.running("a")
    assert record.containers.exited("a", NODE, "engine-1", Run(run, 3)) == (True, "")
    assert record.containers.exited("a", NODE, "engine-1", Run(run, 3)) == (False, "")
    after = record.containers.get("a")
    assert (after.state, after.exit_code) == (State.READY, 3)
    assert messages_of(record, "a").count("exit") == 1


def test_an_end_that_is_seen_before_the_start_is_written_wins(record: Record) -> None:
    container = record.ready("a")
    job = new_job("start", NODE, "quick", internal_id="a")
    record.containers.begin(container, Action.START, job)
    claimed = record.jobs.claim(job.job_id, "w")
    run = new_run()
    assert record.containers.exited("a", NODE, "engine-1", Run(run, 0))[0]
    with pytest.raises(Superseded):
        record.containers.write("a", claimed, finish="done", state=State.RUNNING, run=run, after_run=run)
    assert record.containers.get("a").state is State.READY
    assert record.jobs.get(job.job_id).state == "done"


def test_a_restart_goes_on_when_the_old_run_has_ended(record: Record) -> None:
    container, run = record.running("a")
    job = new_job("restart", NODE, "quick", internal_id="a")
    record.containers.begin(container, Action.RESTART, job)
    claimed = record.jobs.claim(job.job_id, "w")
    record.containers.write("a", claimed, wait_until=time.time() + 30)
    with pytest.raises(JobRefused, match="waiting"):
        record.jobs.claim(job.job_id, "w")
    assert record.containers.exited("a", NODE, "engine-1", Run(run, 0)) == (True, job.job_id)
    assert record.jobs.claim(job.job_id, "w").step == "start"
    assert record.containers.get("a").state is State.STARTING


def test_a_restart_whose_run_ends_before_it_waits_goes_on_too(record: Record) -> None:
    container, run = record.running("a")
    job = new_job("restart", NODE, "quick", internal_id="a")
    record.containers.begin(container, Action.RESTART, job)
    claimed = record.jobs.claim(job.job_id, "w")
    assert record.containers.exited("a", NODE, "engine-1", Run(run, 0)) == (True, job.job_id)
    with pytest.raises(Superseded):
        record.containers.write("a", claimed, wait_until=time.time() + 30)
    assert record.jobs.get(job.job_id).state == "queued"


def test_a_kill_takes_the_place_of_a_waiting_stop(record: Record) -> None:
    container, run = record.running("a")
    stop = new_job("stop", NODE, "quick", internal_id="a")
    record.containers.begin(container, Action.STOP, stop)
    record.containers.write("a", record.jobs.claim(stop.job_id, "w"), wait_until=time.time() + 3600)
    kill = new_job("kill", NODE, "agent", internal_id="a")
    record.containers.begin(record.containers.get("a"), Action.KILL, kill)
    assert record.jobs.get(stop.job_id).state == "cancelled"
    assert json.loads(record.redis.lpop(key("orders", NODE))) == {"kill": "a", "job": kill.job_id}
    record.containers.exited("a", NODE, "engine-1", Run(run, 137))
    assert record.jobs.get(kill.job_id).state == "done"
    assert record.redis.zcard(key("deadlines", NODE)) == 0


def test_a_kill_during_an_install_asks_the_install_to_end(record: Record) -> None:
    install = record.create("a")
    kill = new_job("kill", NODE, "agent", internal_id="a")
    record.containers.begin(record.containers.get("a"), Action.KILL, kill)
    assert record.jobs.is_cancelled(install.job_id)
    assert record.containers.get("a").job_id == install.job_id


def test_a_kill_of_an_install_whose_job_is_forgotten_makes_up_no_job(record: Record) -> None:
    install = record.create("a")
    record.redis.delete(key("job", install.job_id))
    record.containers.begin(record.containers.get("a"), Action.KILL, new_job("kill", NODE, "agent", internal_id="a"))
    with pytest.raises(NotFound):
        record.jobs.get(install.job_id)


@pytest.mark.parametrize("under_way", ["install", "repair"])
def test_two_kills_beside_the_job_that_they_cancel_are_one(record: Record, under_way: str) -> None:
    if under_way == "install":
        record.create("a")
    else:
        repair = new_job("repair", NODE, "quick", internal_id="a")
        record.containers.begin(record.running("a")[0], Action.REPAIR, repair)

    def kill() -> str:
        job = new_job("kill", NODE, "agent", internal_id="a")
        return record.containers.begin(record.containers.get("a"), Action.KILL, job)

    first = kill()
    assert kill() == first
    assert record.redis.llen(key("orders", NODE)) == 1
    record.jobs.finish(record.jobs.get(first), "done")
    assert kill() != first, "that one is done"


def test_an_older_attempt_can_write_nothing(record: Record) -> None:
    job = record.create("a")
    first = record.jobs.claim(job.job_id, "w1")
    second = record.jobs.claim(job.job_id, "w2")
    with pytest.raises(Superseded):
        record.containers.write("a", first, finish="done", state=State.READY)
    with pytest.raises(JobRefused):
        record.jobs.update(first, step="create")
    record.containers.write("a", second, finish="done", state=State.READY)


def test_a_deleted_container_takes_everything_with_it(record: Record) -> None:
    container = record.ready("a", GAME_PORT)
    job = new_job("delete", NODE, "quick", internal_id="a")
    record.containers.begin(container, Action.DELETE, job, deleting=True)
    with pytest.raises(Conflict):
        record.containers.begin(container, Action.START, new_job("start", NODE, "quick", internal_id="a"))
    record.containers.remove("a", record.jobs.claim(job.job_id, "w"))
    assert not record.ports.get("0.0.0.0", 25565, "tcp").in_use
    assert record.volumes.users(VOLUME) == []
    assert [name for name in record.redis.keys("*:a") if ":orders:" not in name] == []
    assert record.jobs.wait(job.job_id, 1).state == "done"


def test_what_an_install_still_prints_after_a_deletion_by_force_is_not_shown_to_the_next_of_that_name(
    record: Record,
) -> None:
    record.create("a")
    record.containers.forget("a")
    record.containers.write_install_log("a", "of the first")
    record.create("a")
    assert record.containers.install_log("a") == ""


def test_a_job_is_kept_for_a_week_after_its_end(record: Record) -> None:
    week_seconds = 7 * 24 * 3600
    install = record.create("a").job_id
    assert record.redis.ttl(key("job", install)) == -1, "one that is under way stays"
    record.containers.write("a", record.jobs.claim(install, "w"), finish="done", state=State.READY)
    assert week_seconds - 60 < record.redis.ttl(key("job", install)) <= week_seconds
    record.redis.zadd(key("container_jobs", "a"), {"forgotten": time.time() - week_seconds - 60})
    start = new_job("start", NODE, "quick", internal_id="a")
    record.containers.begin(record.containers.get("a"), Action.START, start)
    assert record.redis.zrange(key("container_jobs", "a"), 0, -1) == [install, start.job_id]


def test_a_job_carries_the_id_of_the_request_that_began_it(record: Record) -> None:
    structlog.contextvars.clear_contextvars()
    assert record.jobs.get(record.create("a").job_id).request_id is None
    with structlog.contextvars.bound_contextvars(request_id="request-1"):
        job = record.create("b")
    assert record.jobs.get(job.job_id).request_id == "request-1"


def test_limits_of_a_deleted_container_are_not_for_the_next_one_of_its_name(record: Record) -> None:
    record.ready("a")
    job = new_job("resources", NODE, "quick", internal_id="a", arguments={"cpu": 0.5})
    record.containers.open_limits_job(job)
    deletion = new_job("delete", NODE, "quick", internal_id="a")
    record.containers.begin(record.containers.get("a"), Action.DELETE, deletion, deleting=True)
    record.containers.remove("a", record.jobs.claim(deletion.job_id, "w"))
    record.ready("a")
    with pytest.raises(JobRefused):
        record.jobs.claim(job.job_id, "w")
    assert record.jobs.get(job.job_id).state == "cancelled"
