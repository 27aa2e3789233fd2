"""Changing what a container shall be, while others do the same."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from fleet.errors import ActionNotAllowed, Conflict, NotFound
from fleet.lifecycle import Action
from fleet.models import Job, Spec
from fleet.repositories.containers import Superseded
from fleet.repositories.jobs import new_job
from fleet.restart import restart_needed, startup_digest
from tests.fleet.conftest import NODE, Record
from tests.support.at_once import at_once


def limits_job(pids: int = 50) -> Job:
    return new_job("resources", NODE, "quick", internal_id="a", arguments={"pids": pids})


def test_changes_at_the_same_time_are_all_kept(record: Record) -> None:
    record.ready("a")

    def add(number: int) -> None:
        def labelled(spec: Spec) -> Spec:
            return replace(spec, labels={**spec.labels, str(number): "x"})

        record.containers.amend("a", labelled)

    at_once([partial(add, number) for number in range(16)])
    container = record.containers.get("a")
    assert set(container.spec.labels) == {str(number) for number in range(16)}
    assert container.revision == 16


def test_what_is_being_installed_or_deleted_cannot_be_changed(record: Record) -> None:
    record.create("a")
    with pytest.raises(ActionNotAllowed, match="installing"):
        record.containers.amend("a", lambda spec: spec)
    with pytest.raises(ActionNotAllowed, match="installing"):
        record.containers.open_limits_job(limits_job())
    container = record.ready("b")
    record.containers.begin(container, Action.DELETE, new_job("delete", NODE, "quick", internal_id="b"), deleting=True)
    with pytest.raises(Conflict, match="being deleted"):
        record.containers.amend("b", lambda spec: spec)
    with pytest.raises(NotFound):
        record.containers.amend("nobody", lambda spec: spec)


def test_a_reinstall_does_not_undo_a_change_that_it_has_not_read(record: Record) -> None:
    read_before = record.ready("a")
    record.containers.amend("a", lambda spec: replace(spec, env={"A": "b"}))
    job = new_job("reinstall", NODE, "long", internal_id="a")
    with pytest.raises(Conflict, match="same moment"):
        record.containers.begin(read_before, Action.REINSTALL, job, next_spec=replace(read_before.spec, image="other"))
    assert record.containers.get("a").spec.env == {"A": "b"}


def test_a_job_does_not_undo_a_change_that_it_has_not_read(record: Record) -> None:
    read_before = record.ready("a")
    job = limits_job()
    record.containers.open_limits_job(job)
    claimed = record.jobs.claim(job.job_id, "w")
    record.containers.amend("a", lambda spec: replace(spec, env={"A": "b"}))
    with pytest.raises(Superseded, match="revision"):
        record.containers.write("a", claimed, finish="done", revision=read_before.revision, spec=read_before.spec)
    assert record.jobs.get(job.job_id).state == "running"


def test_new_limits_leave_the_job_under_way_alone(record: Record) -> None:
    container = record.ready("a")
    start = new_job("start", NODE, "quick", internal_id="a")
    record.containers.begin(container, Action.START, start)
    record.containers.open_limits_job(limits_job())
    assert record.containers.get("a").job_id == start.job_id
    assert record.jobs.claim(start.job_id, "w").attempt == 1


def test_of_limits_that_nobody_has_set_yet_the_latest_count(record: Record) -> None:
    record.ready("a")
    first, second = limits_job(50), limits_job(60)
    for job in (first, second):
        record.containers.open_limits_job(job)
    assert [record.jobs.get(job.job_id).state for job in (first, second)] == ["cancelled", "queued"]


def test_a_restart_is_needed_for_what_a_process_learns_at_its_start(record: Record) -> None:
    container, _ = record.running("a")
    container = replace(container, started_with=startup_digest(container.spec))
    assert not restart_needed(container)
    for changed, needed in (
        ({"env": {"A": "b"}}, True),
        ({"startup_command": "other"}, True),
        ({"labels": {"a": "b"}, "stop_signal": "SIGINT", "start_pattern": "x"}, False),
    ):
        assert restart_needed(replace(container, spec=replace(container.spec, **changed))) is needed
