"""What an install script is, what it may leave behind, and how it is done again."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest

from tests.support.answers import accepted, refused
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def folder_of(stack: Stack, volume: str) -> Path:
    return Path(accepted(stack.api("GET", f"/volumes/{volume}"))["path"])


def test_it_runs_as_root_in_the_volume_before_the_first_start(servers: Servers) -> None:
    script = "#!/bin/sh\nid -u > uid\npwd > folder"
    assert servers.output_of("cat uid folder", install_script=script).split() == ["0", "/home/container"]


def test_its_first_line_chooses_the_interpreter(servers: Servers) -> None:
    script = '#!/usr/bin/awk -f\nBEGIN { print "made by " "awk" > "proof"; exit 0 }\n'
    assert servers.output_of("cat proof", install_script=script).strip() == "made by awk"


def test_what_it_changes_outside_the_volume_is_in_the_containers_own_image(servers: Servers) -> None:
    program = 'printf "#!/bin/sh\\necho tool works\\n" > /opt/tool/run'
    script = f"#!/bin/sh\nmkdir -p /opt/tool\n{program}\nchmod 755 /opt/tool/run"
    assert servers.output_of("/opt/tool/run", install_script=script).strip() == "tool works"


def test_what_it_writes_into_the_volume_belongs_to_the_containers_user(stack: Stack, servers: Servers) -> None:
    script = "#!/bin/sh\nmkdir world\necho 1 > world/level"
    assert "may write" in servers.output_of("echo 2 >> world/level && echo may write", install_script=script)


def test_its_output_is_on_the_console_and_kept_as_the_install_log(stack: Stack, servers: Servers) -> None:
    body = servers.body(install_script="#!/bin/sh\necho fetching\necho unpacking >&2")
    with stack.socket(body["internal_id"]) as events:
        accepted(servers.post(body))
        events.wait_for_console("unpacking", 20)
        events.wait_for_state("installed", 20)
    assert events.states()[:2] == ["installing", "installed"]
    text = servers.logs(body["internal_id"], "?install=1").replace("\r", "")
    assert [line for line in text.split("\n") if line in ("fetching", "unpacking")] == ["fetching", "unpacking"]


def test_the_install_log_can_be_read_while_it_grows_and_is_that_of_no_earlier_install(
    stack: Stack, servers: Servers
) -> None:
    container = servers.create(install_script="#!/bin/sh\necho of the first")
    assert "of the first" in servers.logs(container, "?install=1")
    servers.act(container, "reinstall", {"install_script": "#!/bin/sh\necho of the second\nsleep 600"})
    eventually(
        lambda: "of the second" in servers.logs(container, "?install=1"), within_seconds=40, what="the install log"
    )
    assert servers.record(container)["state"] == "installing"
    assert "of the first" not in servers.logs(container, "?install=1")


def test_while_it_runs_the_state_is_installing_and_a_start_is_409(stack: Stack, servers: Servers) -> None:
    container = accepted(servers.ask(install_script="#!/bin/sh\nuntil [ -e go ]; do sleep 0.1; done"))["internal_id"]
    record = servers.record(container)
    assert (record["install_state"], record["state"]) == ("installing", "installing")
    body = refused(stack.api("POST", f"/containers/{container}/start"), 409)
    assert "installing" in body["error"]
    (folder_of(stack, record["volume_id"]) / "go").touch()
    stack.wait_for_state(container, "ready")


def test_the_install_container_has_few_rights_and_the_same_limits(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    script = "#!/bin/sh\necho begun\nuntil [ -e go ]; do sleep 0.1; done"
    container = accepted(servers.ask(install_script=script))["internal_id"]
    eventually(lambda: "begun" in servers.logs(container), within_seconds=20, what="the install")
    settings = engine.containers.get(f"lightd-{container}-install").attrs["HostConfig"]
    assert settings["Privileged"] is False
    assert settings["CapDrop"] == ["ALL"]
    assert "SYS_ADMIN" not in " ".join(settings["CapAdd"])
    assert settings["Memory"] == 32 * 2**20
    assert settings["PidsLimit"] > 0
    (folder_of(stack, servers.record(container)["volume_id"]) / "go").touch()
    stack.wait_for_state(container, "ready")
    assert not engine.containers.list(all=True, filters={"name": f"lightd-{container}-install"})


def test_kill_cancels_an_install(stack: Stack, servers: Servers, engine: docker.DockerClient) -> None:
    made = accepted(servers.ask(install_script="#!/bin/sh\necho begun\nsleep 600"))
    container = made["internal_id"]
    eventually(lambda: "begun" in servers.logs(container), within_seconds=20, what="the install")
    servers.act(container, "kill")
    stack.wait_for_state(container, "failed", 15)
    assert servers.record(container)["install_state"] == "failed"
    assert stack.wait_for_job(made["job_id"])["state"] in ("failed", "cancelled")
    names = [found.name for found in engine.containers.list(all=True, filters={"name": container})]
    assert names == []


def test_reinstall_runs_a_new_script_on_the_same_volume(stack: Stack, servers: Servers) -> None:
    container = servers.create("cat first second", install_script="#!/bin/sh\necho one > first")
    with stack.socket(container) as events:
        answer = servers.act(container, "reinstall", {"install_script": "#!/bin/sh\necho two > second"})
        assert answer["message"] == "Container reinstall started"
        assert answer["internal_id"] == container
        assert stack.wait_for_job(answer["job_id"])["state"] == "done"
        events.wait_for_state("installing")
        events.wait_for_state("installed")
    servers.act(container, "start")
    eventually(lambda: "two" in servers.logs(container), within_seconds=15, what="the output")
    assert servers.logs(container).split()[-2:] == ["one", "two"]


def test_reinstall_starts_again_from_the_image(stack: Stack, servers: Servers) -> None:
    container = servers.create("ls /opt-old /opt-new 2>&1", install_script="#!/bin/sh\ntouch /opt-old")
    body = {"image": BUSYBOX, "install_script": "#!/bin/sh\ntouch /opt-new"}
    assert stack.wait_for_job(servers.act(container, "reinstall", body)["job_id"])["state"] == "done"
    record = servers.record(container)
    assert (record["image"], record["state"]) == (BUSYBOX, "ready")
    servers.act(container, "start")
    eventually(lambda: "/opt-new" in servers.logs(container), within_seconds=15, what="the output")
    assert "/opt-old: No such file" in servers.logs(container)


def test_a_reinstall_from_an_image_that_nobody_has_leaves_the_old_server(stack: Stack, servers: Servers) -> None:
    port = servers.port()
    container = servers.create("cat /opt-old", ports=[port], install_script="#!/bin/sh\necho kept > /opt-old")
    before = servers.record(container)
    with stack.socket(container) as events:
        answer = servers.act(container, "reinstall", {"image": "127.0.0.1:1/nothing:1", "install_script": None})
        job = stack.wait_for_job(answer["job_id"])
        events.wait_for_state("installed", 20)
    assert job["state"] == "failed" and "127.0.0.1:1/nothing:1" in job["error"]
    after = servers.record(container)
    assert (after["state"], after["install_state"], after["error"]) == ("ready", "ready", job["error"])
    unchanged = ("image", "container_id", "ports", "startup_command")
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    assert servers.in_use(port)
    servers.act(container, "start")
    eventually(lambda: "kept" in servers.logs(container), within_seconds=15, what="the output")


def test_a_failed_install_can_be_done_again(stack: Stack, servers: Servers) -> None:
    made = accepted(servers.ask("cat ok", install_script="#!/bin/sh\nexit 3"))
    container = made["internal_id"]
    assert stack.wait_for_job(made["job_id"])["state"] == "failed"
    record = servers.record(container)
    assert (record["install_state"], record["state"]) == ("failed", "failed")
    assert "failed" in refused(stack.api("POST", f"/containers/{container}/start"), 409)["error"]
    again = servers.act(container, "reinstall", {"install_script": "#!/bin/sh\necho fine > ok"})
    assert stack.wait_for_job(again["job_id"])["state"] == "done"
    record = servers.record(container)
    assert (record["install_state"], record["state"], record["error"]) == ("ready", "ready", None)
