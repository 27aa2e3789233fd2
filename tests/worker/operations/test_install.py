"""Install and reinstall, to the end, to a failure, to a cancellation."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import Conflict, Unavailable
from fleet.lifecycle import Action, InstallState, State
from fleet.models import Job
from fleet.repositories.containers import ContainerRepository
from storage.walking import Found
from tests.support.deadline import eventually
from tests.worker.operations.conftest import GAME_PORT, IMAGE, NODE, Site
from tests.worker.operations.test_crashes import Death, dying
from worker.operations import handover, install_script
from worker.operations.names import install_name, private_image, server_name
from worker.runtime.base import LABEL_NODE, LABEL_SPEC
from worker.runtime.memory import MemoryRuntime

SCRIPT = "#!/bin/bash\r\necho installing\r\n"


def started_in_background(site: Site, job: Job) -> threading.Thread:
    thread = threading.Thread(target=site.runner.run, args=(job.job_id,), daemon=True)
    thread.start()
    return thread


def assert_nothing_is_left(site: Site, name: str) -> None:
    assert site.runtime.every(NODE) == []
    assert not site.runtime.has_image(private_image(name))
    assert site.host.jobs.open_count(NODE) == 0


def test_a_container_without_a_script_becomes_ready(site: Site) -> None:
    job = site.run(site.create("a", GAME_PORT))
    container = site.container("a")
    assert (job.state, container.state, container.install_state) == ("done", State.READY, InstallState.READY)
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.engine_id == container.container_id and not seen.running
    assert site.told("a") == ["installing", "installed"]
    assert not site.port_is_free()


def test_the_label_for_recovery_holds_no_secret(site: Site) -> None:
    site.install_behaves("a")
    site.ready("a", env={"PASSWORD": "s3cret"}, install_script="echo s3cret")
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.labels[LABEL_NODE] == NODE
    assert "PASSWORD" in seen.labels[LABEL_SPEC] and "s3cret" not in seen.labels[LABEL_SPEC]


def test_a_missing_image_is_pulled_with_progress(site: Site) -> None:
    site.runtime.remote.add("game:1")
    site.runtime.pull_seconds = 0.4
    site.ready("a", image="game:1")
    progress = [message for _, message in site.host.containers.feed("a") if '"progress"' in message]
    assert 2 <= len(progress) <= 5
    assert site.runtime.has_image("game:1")


def test_an_unknown_image_fails_with_its_name_and_frees_the_port(site: Site) -> None:
    job = site.run(site.create("a", GAME_PORT, image="nowhere:1"))
    container = site.container("a")
    assert (job.state, container.state, container.install_state) == ("failed", State.FAILED, InstallState.FAILED)
    assert job.error is not None and "nowhere:1" in job.error and container.error == job.error
    assert site.told("a") == ["installing", "failed", f"Error: {job.error}"]
    assert site.port_is_free()
    assert_nothing_is_left(site, "a")


def test_the_script_runs_by_its_first_line_with_unix_line_ends(site: Site) -> None:
    site.install_behaves("a", output=b"installing\r\n")
    site.ready("a", install_script=SCRIPT)
    script = site.host.data_folder("a") / "install.sh"
    assert script.read_text() == "#!/bin/bash\necho installing\n"
    assert script.stat().st_mode & 0o777 == 0o755
    assert site.host.containers.install_log("a") == "installing\n"
    assert site.relayed == ["a"]
    assert site.runtime.inspect(install_name("a")) is None


def test_what_the_script_changed_is_kept_in_a_private_image(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    site.ready("a", install_script=SCRIPT)
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.image == private_image("a")


def test_a_script_that_changed_only_the_volume_needs_no_image(site: Site) -> None:
    site.install_behaves("a", layer_bytes=0)
    site.ready("a", install_script=SCRIPT)
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.image == IMAGE


def test_the_volume_is_handed_to_the_container_user_without_following_links(site: Site, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("keep")
    volume = site.volumes.ensure_mounted("d6764075-c5f1-4045-9fb3-85315b85cb0f")
    (volume / "sub").mkdir()
    (volume / "sub" / "file").write_text("x")
    (volume / "sub" / "link").symlink_to(outside)
    site.install_behaves("a")
    site.ready("a", install_script=SCRIPT)
    for path in (volume, volume / "sub", volume / "sub" / "file", volume / "sub" / "link"):
        assert path.lstat().st_uid == 1000, path
    assert outside.stat().st_uid == os.getuid()


def test_a_cancellation_ends_the_handing_over_of_a_volume_with_many_files(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = site.volumes.ensure_mounted("d6764075-c5f1-4045-9fb3-85315b85cb0f")
    for number in range(50):
        (volume / str(number)).touch()
    job = site.create("a", install_script=SCRIPT)
    given, give = [], handover._hand_over_entry

    def cancel_at_the_first(found: Found, owner: tuple[int, int]) -> None:
        if not given:
            site.host.jobs.cancel(job.job_id)
        given.append(found.name)
        give(found, owner)

    monkeypatch.setattr(handover, "_hand_over_entry", cancel_at_the_first)
    monkeypatch.setattr("worker.operations.work._PROGRESS_SECONDS", 0)
    site.install_behaves("a")
    assert site.run(job).state == "cancelled"
    assert len(given) == 1
    assert_nothing_is_left(site, "a")


def test_a_failing_script_names_its_code_and_last_words(site: Site) -> None:
    site.install_behaves("a", exit_code=7, output=b"one\r\n\x1b[31mno space\x1b[0m left\r\n", layer_bytes=9)
    job = site.run(site.create("a", GAME_PORT, install_script=SCRIPT))
    assert job.error == "The install script ended with exit code 7. It said last: one / no space left"
    assert site.host.containers.install_log("a").startswith("one\n")
    assert site.port_is_free()
    assert_nothing_is_left(site, "a")


def test_a_missing_interpreter_is_named(site: Site) -> None:
    output = b"[FATAL tini (6)] exec /app/data/install.sh failed: No such file or directory\r\n"
    site.install_behaves("a", exit_code=127, output=output)
    job = site.run(site.create("a", install_script="#!/usr/bin/env perl6\nsay 1"))
    assert job.error == "The image has no /usr/bin/env perl6, which the install script's first line asks for."


def test_an_image_without_a_shell_is_told(site: Site) -> None:
    output = b"[FATAL tini (7)] exec /bin/sh failed: No such file or directory\r\n"
    site.install_behaves("a", exit_code=127, output=output)
    job = site.run(site.create("a", install_script="echo without a first line that names an interpreter"))
    assert job.error == "The image has no /bin/sh, which starts every container here; use another."


def test_a_script_that_never_ends_is_ended_at_its_limit(site: Site) -> None:
    site.install_behaves("a", seconds=None)
    job = site.run(site.create("a", install_script=SCRIPT, install_timeout_seconds=1))
    assert job.state == "failed" and job.error is not None and "longer than 1 seconds" in job.error
    assert_nothing_is_left(site, "a")


def test_a_script_that_writes_too_much_outside_the_volume_fails(site: Site) -> None:
    site.install_behaves("a", layer_bytes=5000 * 1024**2)
    job = site.run(site.create("a", install_script=SCRIPT))
    assert job.state == "failed" and job.error is not None and "more than 4096 MB" in job.error
    assert_nothing_is_left(site, "a")


@pytest.mark.parametrize("seconds", [None, 0], ids=["while it runs", "when what it left would be copied"])
def test_a_script_that_fills_the_hosts_own_disk_fails(site: Site, seconds: float | None) -> None:
    more_than_any_disk_mb = 1 << 40
    site.host = replace(site.host, settings=replace(site.host.settings, disk_floor_mb=more_than_any_disk_mb))
    site.install_behaves("a", seconds=seconds, layer_bytes=0 if seconds is None else 1)
    job = site.run(site.create("a", install_script=SCRIPT))
    assert job.state == "failed" and job.error is not None and "of disk left" in job.error
    assert_nothing_is_left(site, "a")


def test_a_script_that_writes_beyond_the_size_of_a_plain_folder_fails(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_script, "_LAYER_LOOK_SECONDS", 0.1)
    site.volumes.used_bytes = 80 * 1024**2
    site.install_behaves("a", seconds=None)
    job = site.run(site.create("a", install_script=SCRIPT))
    assert job.state == "failed" and job.error is not None and "beyond its size: 80 MB are used of 64" in job.error
    assert_nothing_is_left(site, "a")


def test_the_disk_that_the_engine_works_on_counts_too(site: Site) -> None:
    site.runtime.disk = Path("/proc")  # which has no room
    site.install_behaves("a", seconds=None)
    job = site.run(site.create("a", install_script=SCRIPT))
    assert job.state == "failed" and job.error is not None and "of disk left" in job.error
    site.runtime.remote.add("game:1")
    site.runtime.pull_seconds = 30
    job = site.run(site.create("b", image="game:1"))
    assert job.state == "failed" and job.error is not None and "of disk left" in job.error


def test_large_layers_are_copied_one_after_the_other_and_waiting_can_be_cancelled(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, go_on, commit = [], threading.Event(), MemoryRuntime.commit

    def slow_commit(runtime: MemoryRuntime, engine_id: str, image: str) -> None:
        copies.append(image)
        assert go_on.wait(20)
        commit(runtime, engine_id, image)

    monkeypatch.setattr(MemoryRuntime, "commit", slow_commit)
    jobs = {}
    for name in "abc":
        site.install_behaves(name, layer_bytes=100 * 1024**2)
        jobs[name] = site.create(name, install_script=SCRIPT)
    threads = [started_in_background(site, jobs["a"])]
    eventually(lambda: copies, within_seconds=5, what="the first copy")
    threads += [started_in_background(site, jobs[name]) for name in "bc"]
    eventually(lambda: {site.job(jobs[name]).step for name in "bc"} == {"commit"}, within_seconds=5, what="the others")
    site.host.jobs.cancel(jobs["b"].job_id)
    eventually(lambda: site.job(jobs["b"]).state == "cancelled", within_seconds=5, what="the end of the one that waits")
    assert copies == [private_image("a")]
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert [site.job(jobs[name]).state for name in "abc"] == ["done", "cancelled", "done"]
    assert copies == [private_image("a"), private_image("c")]


def test_an_image_that_fills_the_hosts_own_disk_is_given_up(site: Site) -> None:
    more_than_any_disk_mb = 1 << 40
    site.host = replace(site.host, settings=replace(site.host.settings, disk_floor_mb=more_than_any_disk_mb))
    site.runtime.remote.add("game:1")
    site.runtime.pull_seconds = 30
    job = site.run(site.create("a", GAME_PORT, image="game:1"))
    assert job.state == "failed" and job.error is not None and "of disk left" in job.error
    assert not site.runtime.has_image("game:1")
    assert_nothing_is_left(site, "a")


def test_a_kill_cancels_an_install_while_the_image_is_pulled(site: Site) -> None:
    site.runtime.remote.add("game:1")
    site.runtime.pull_seconds = 30
    job = site.create("a", GAME_PORT, image="game:1")
    thread = started_in_background(site, job)
    eventually(lambda: site.job(job).progress, within_seconds=5, what="progress")
    site.ask("a", Action.KILL)
    thread.join(60)
    container = site.container("a")
    assert (site.job(job).state, container.state, container.error) == (
        "cancelled",
        State.FAILED,
        "It was cancelled; nothing of it was kept.",
    )
    assert site.port_is_free()
    assert site.runtime.every(NODE) == []


def test_a_kill_cancels_an_install_while_the_script_runs(site: Site) -> None:
    site.install_behaves("a", seconds=None)
    job = site.create("a", install_script=SCRIPT)
    thread = started_in_background(site, job)
    eventually(lambda: site.runtime.inspect(install_name("a")), within_seconds=5, what="the install container")
    site.ask("a", Action.KILL)
    site.runtime.signal(install_name("a"), "SIGKILL")
    thread.join(60)
    assert (site.job(job).state, site.container("a").error) == (
        "cancelled",
        "It was cancelled; nothing of it was kept.",
    )
    assert site.runtime.every(NODE) == []


def test_deleting_while_installing_leaves_nothing(site: Site) -> None:
    site.install_behaves("a", seconds=None)
    job = site.create("a", GAME_PORT, install_script=SCRIPT)
    thread = started_in_background(site, job)
    eventually(lambda: site.runtime.inspect(install_name("a")), within_seconds=5, what="the install container")
    deletion = site.run(site.ask("a", Action.DELETE))
    thread.join(60)
    assert (site.job(job).state, deletion.state) == ("cancelled", "done")
    assert site.port_is_free()
    assert_nothing_is_left(site, "a")


def test_a_reinstall_replaces_image_and_container(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    before = site.ready("a", GAME_PORT, install_script=SCRIPT)
    site.install_behaves("a", layer_bytes=0)
    job = site.run(site.ask("a", Action.REINSTALL, install_state=InstallState.INSTALLING))
    after = site.container("a")
    assert (job.state, after.state, after.install_state) == ("done", State.READY, InstallState.READY)
    assert after.container_id != before.container_id
    assert not site.runtime.has_image(private_image("a"))


def test_a_failed_reinstall_leaves_no_container_and_no_port(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    site.ready("a", GAME_PORT, install_script=SCRIPT)
    site.install_behaves("a", exit_code=1)
    job = site.run(site.ask("a", Action.REINSTALL, install_state=InstallState.INSTALLING))
    assert (job.state, site.container("a").container_id) == ("failed", None)
    assert site.port_is_free()
    assert_nothing_is_left(site, "a")
    site.install_behaves("a")
    assert site.run(site.ask("a", Action.REINSTALL)).state == "done"
    assert not site.port_is_free()


def test_a_volume_that_cannot_be_mounted_fails_the_install_with_its_reason(site: Site) -> None:
    site.volumes.failure = Unavailable("The disk of the volume is gone.")
    job = site.run(site.create("a", GAME_PORT))
    assert (job.state, job.error) == ("failed", "The disk of the volume is gone.")
    assert_nothing_is_left(site, "a")


@pytest.mark.parametrize(
    ("first", "second"),
    [("Game", "game"), ("a.b", "a-b"), ("a_", "a-"), ("a__b", "a_b"), ("a---b", "a-b"), ("A-", "A_")],
)
def test_private_images_are_never_shared(first: str, second: str) -> None:
    assert private_image(first) != private_image(second)


def test_both_scripts_are_there_without_an_install_script_too(site: Site) -> None:
    site.run(site.create("a"))
    folder = site.host.data_folder("a")
    assert sorted(path.name for path in folder.iterdir()) == ["entrypoint.sh", "install.sh"]


def test_a_reinstall_that_cannot_have_its_image_leaves_the_old_container_as_it_was(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    before = site.ready("a", GAME_PORT, install_script=SCRIPT)
    wanted = replace(before.spec, image="nowhere:1", install_script=None)
    job = site.run(site.ask("a", Action.REINSTALL, next_spec=wanted, install_state=InstallState.INSTALLING))
    after = site.container("a")
    assert job.state == "failed" and job.error is not None and "nowhere:1" in job.error
    assert (after.state, after.install_state, after.error) == (State.READY, InstallState.READY, job.error)
    assert (after.spec, after.next_spec, after.container_id) == (before.spec, None, before.container_id)
    assert site.told("a")[-2:] == ["installed", f"Error: {job.error}"]
    assert not site.port_is_free()
    assert site.run(site.ask("a", Action.START)).state == "done"
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.running and seen.image == private_image("a")


def test_a_reinstall_cancelled_while_its_image_is_pulled_leaves_the_old_container_as_it_was(site: Site) -> None:
    before = site.ready("a", GAME_PORT)
    site.runtime.remote.add("game:1")
    site.runtime.pull_seconds = 30
    job = site.ask("a", Action.REINSTALL, next_spec=replace(before.spec, image="game:1"))
    thread = started_in_background(site, job)
    eventually(lambda: site.job(job).progress, within_seconds=20, what="progress")
    site.ask("a", Action.KILL)
    thread.join(60)
    after = site.container("a")
    assert (site.job(job).state, after.state, after.spec) == ("cancelled", State.READY, before.spec)
    assert site.run(site.ask("a", Action.START)).state == "done"


def test_a_worker_that_died_while_pulling_does_not_cost_the_old_container(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.ready("a")
    job = site.ask("a", Action.REINSTALL, next_spec=replace(before.spec, image="nowhere:1"))
    dying(monkeypatch, "pull", False, Death())
    with pytest.raises(Death):
        site.runner.run(job.job_id)
    assert site.run(job).state == "failed"
    after = site.container("a")
    assert (after.state, after.container_id, after.spec) == (State.READY, before.container_id, before.spec)


def test_a_worker_that_died_after_the_image_was_pulled_does_not_leave_half_a_reinstall(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.ready("a")
    site.runtime.remote.add("game:1")
    job = site.ask("a", Action.REINSTALL, next_spec=replace(before.spec, image="game:1", pull_policy="always"))
    write = type(site.host.containers).write

    def take_and_die(containers: ContainerRepository, name: str, writer: Job, /, **changes: Any) -> None:
        write(containers, name, writer, **changes)
        monkeypatch.undo()
        raise Death

    monkeypatch.setattr(type(site.host.containers), "write", take_and_die)
    with pytest.raises(Death):
        site.runner.run(job.job_id)
    site.runtime.remote.clear()
    assert site.run(job).state == "done", "the image is not asked for again"
    seen = site.runtime.inspect(server_name("a"))
    assert seen is not None and seen.image == "game:1"


def test_a_reinstall_of_a_failed_container_that_cannot_have_its_image_leaves_it_failed(site: Site) -> None:
    site.run(site.create("a", GAME_PORT, image="nowhere:1"))
    wanted = replace(site.container("a").spec, image="nowhere:2")
    job = site.run(site.ask("a", Action.REINSTALL, next_spec=wanted, install_state=InstallState.INSTALLING))
    after = site.container("a")
    assert (job.state, after.state, after.install_state) == ("failed", State.FAILED, InstallState.FAILED)
    assert after.error is not None and "nowhere:2" in after.error and after.next_spec is None
    assert site.port_is_free()


def test_what_the_last_install_left_stays_when_a_reinstall_is_cancelled_before_it_began(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    before = site.ready("a", install_script=SCRIPT)
    job = site.ask("a", Action.REINSTALL, next_spec=replace(before.spec, install_script=None))
    site.ask("a", Action.KILL)
    assert site.run(job).state == "cancelled"
    assert site.runtime.has_image(private_image("a"))
    assert (site.container("a").state, site.container("a").spec) == (State.READY, before.spec)


def test_deleting_in_the_place_of_such_a_reinstall_leaves_nothing(site: Site) -> None:
    site.install_behaves("a", layer_bytes=4096)
    container = site.ready("a", install_script=SCRIPT)
    site.ask("a", Action.REINSTALL, next_spec=replace(container.spec, install_script=None))
    assert site.run(site.ask("a", Action.DELETE)).state == "done"
    assert site.runtime.every(NODE) == []
    assert not site.runtime.has_image(private_image("a"))


def test_an_install_cancelled_at_its_last_moment_is_undone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = site.create("a", GAME_PORT)
    write = type(site.host.containers).write

    def cancel_first(containers: ContainerRepository, name: str, writer: Job, /, **changes: Any) -> None:
        if changes.get("finish") == "done":
            monkeypatch.undo()
            site.host.jobs.cancel(job.job_id)
        write(containers, name, writer, **changes)

    monkeypatch.setattr(type(site.host.containers), "write", cancel_first)
    ended, container = site.run(job), site.container("a")
    assert (ended.state, container.state, container.error) == (
        "cancelled",
        State.FAILED,
        "It was cancelled; nothing of it was kept.",
    )
    assert site.port_is_free()
    assert_nothing_is_left(site, "a")


def test_one_thing_that_cannot_be_undone_does_not_keep_the_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install_behaves("a", exit_code=1)

    def refuse(_runtime: MemoryRuntime, _image: str) -> None:
        raise Conflict("The image is in use by a container of somebody else.")

    monkeypatch.setattr(MemoryRuntime, "remove_image", refuse)
    job = site.run(site.create("a", GAME_PORT, install_script=SCRIPT))
    assert job.state == "failed" and job.error is not None
    assert "exit code 1" in job.error, "why it failed"
    assert "The image is in use by a container of somebody else." in job.error, "and what somebody has to look after"
    assert site.runtime.every(NODE) == []
    assert site.port_is_free()


def test_an_image_that_is_there_is_asked_of_its_registry_only_where_the_policy_says_always(site: Site) -> None:
    site.ready("a", image=IMAGE)
    job = site.run(site.create("b", image=IMAGE, pull_policy="always"))
    assert job.state == "failed" and job.error is not None and "manifest unknown" in job.error, "no registry has it"
    site.runtime.remote.add(IMAGE)
    assert site.run(site.ask("b", Action.REINSTALL)).state == "done"
