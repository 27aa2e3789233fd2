"""`./lightd up`, `down`, `status`, `logs` and `token`, as a user types them."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests
from docker.models.images import Image

from tests.launcher.instance_processes import processes_of, pss_bytes
from tests.launcher.supervised import is_alive, used_ticks
from tests.support.answers import accepted, refused
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from tests.support.leftovers import remove_network
from tests.support.ports import free_port
from tests.support.stack import CHECKOUT, Stack, running_stack

pytestmark = pytest.mark.engine

NAMES = ["api", "files", "quick", "long", "agent", "store", "stream"]


@pytest.fixture(scope="module")
def instance(engine: docker.DockerClient) -> Iterator[Stack]:
    """A running Lightd of this file's own, for one image only; every test leaves it running."""
    yield from running_stack(engine, LIGHTD_IMAGES_ALLOWED=BUSYBOX)


def test_up_tells_the_token_the_address_and_commands_that_work(instance: Stack) -> None:
    told = instance.lightd("up").stdout
    assert f"Lightd is ready at {instance.base_url}\n" in told
    assert f"Token: {instance.token}\n" in told
    ping, new_volume = [line.strip() for line in told.splitlines() if line.strip().startswith("curl ")]
    assert json.loads(shell(ping))["status"] == "ok"
    volume_id = json.loads(shell(new_volume))["volume_id"]
    assert instance.api("DELETE", f"/volumes/{volume_id}").status_code == 204


def test_only_images_that_the_operator_allows_are_installed_and_reinstalled(
    instance: Stack, busybox_image: Image
) -> None:
    volume = accepted(instance.api("POST", "/volumes"), 201)["volume_id"]
    body = {"internal_id": "allowed", "image": "debian:12", "volume_id": volume, "startup_command": "true"}
    assert refused(instance.api("POST", "/containers", json=body), 403)["code"] == "image_not_allowed"
    accepted(instance.api("POST", "/containers", json={**body, "image": BUSYBOX}))
    instance.wait_for_state("allowed", "ready")
    answer = instance.api("POST", "/containers/allowed/reinstall", json={"image": "debian:12"})
    assert refused(answer, 403)["code"] == "image_not_allowed"
    assert "image" in refused(instance.api("PATCH", "/containers/allowed", json={"image": "debian:12"}), 400)["fields"]
    assert accepted(instance.api("GET", "/containers/allowed"))["image"] == BUSYBOX
    again = accepted(instance.api("POST", "/containers/allowed/reinstall"))
    assert instance.wait_for_job(again["job_id"])["state"] == "done"
    accepted(instance.api("DELETE", "/containers/allowed"))
    assert instance.api("DELETE", f"/volumes/{volume}").status_code == 204


def test_a_second_up_is_quick_and_changes_nothing(instance: Stack) -> None:
    before = {name: instance.pid(name) for name in NAMES}
    told = instance.lightd("up").stdout
    assert told.startswith("Lightd is already running")
    assert {name: instance.pid(name) for name in NAMES} == before


def test_status_shows_every_process_and_that_it_is_ready(instance: Stack) -> None:
    told = instance.lightd("status").stdout
    for name in NAMES:
        assert f" {instance.pid(name)} " in told, name
    assert f"{instance.base_url}  ready" in told


def test_logs_shows_one_process_or_all(instance: Stack) -> None:
    assert "Ready to accept connections" in instance.lightd("logs", "store").stdout
    assert "supervisor | " in instance.lightd("logs").stdout
    failed = instance.lightd("logs", "nobody", check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: There is no log of nobody; there are agent, api, ")


def test_logs_follows_what_is_added(instance: Stack) -> None:
    command = [str(CHECKOUT / "lightd"), "logs", "supervisor", "--follow", "--lines", "1"]
    with subprocess.Popen(command, env=instance.environment, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            assert following.stdout.readline()
            old = instance.kill("files")
            assert "files ended by SIGKILL" in following.stdout.readline()
        finally:
            following.kill()
    instance.wait_restarted("files", old)
    instance.wait_ready()


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_is_back_and_the_whole_is_ready_again(instance: Stack, name: str) -> None:
    old = instance.kill(name)
    new = instance.wait_restarted(name, old)
    instance.wait_ready(30)
    assert instance.pid(name) == new, "it must not need to be started twice"


def test_a_new_token_replaces_the_old_one_at_once(instance: Stack) -> None:
    old = instance.token
    assert instance.lightd("--token", "what").stdout == f"Current Token: {old}\n"
    instance.token = instance.lightd("token", "reset").stdout.strip().removeprefix("Current Token: ")
    assert instance.api("GET", "/volumes", token=old).status_code == 401
    assert instance.api("GET", "/volumes").status_code == 200
    instance.token = "lightd_chosen-by-the-operator"
    instance.lightd("--token", "set", instance.token)
    assert instance.api("GET", "/volumes").status_code == 200
    assert instance.lightd("token", "what").stdout == f"Current Token: {instance.token}\n"


def test_a_weak_token_is_refused(instance: Stack) -> None:
    refused = instance.lightd("token", "set", "secret", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: A master token starts with lightd_")
    assert instance.api("GET", "/volumes").status_code == 200


def test_a_second_instance_runs_beside_the_first_and_ends_alone(instance: Stack, engine: docker.DockerClient) -> None:
    first = {name: instance.pid(name) for name in NAMES}
    for second in running_stack(engine, LIGHTD_FILES_URL=f"http://127.0.0.1:{free_port()}"):
        assert second.api("GET", "/volumes").json()["volumes"] == []
        transfer_past_the_api(second)
        running = processes_of(second)
        assert len(running) >= len(NAMES) + 1
        second.down()
        assert not processes_of(second)
        assert second.lightd("status", check=False).returncode == 3
        assert second.lightd("down").stdout == "Lightd is not running.\n"
        token = second.token
        second.up()
        assert second.token == token
    assert {name: instance.pid(name) for name in NAMES} == first


def transfer_past_the_api(stack: Stack) -> None:
    """Up and down again with `?direct=1`, where the files process has an address of its own."""
    volume = f"/volumes/{stack.api('POST', '/volumes').json()['volume_id']}"
    for method, call, data in (("PUT", "upload", b"0123456789"), ("GET", "download", None)):
        sent = stack.api(method, f"{volume}/{call}?path=a&direct=1", data=data, allow_redirects=False)
        assert sent.status_code == 307
        assert sent.headers["Location"].startswith(stack.environment["LIGHTD_FILES_URL"])
        answer = requests.request(method, sent.headers["Location"], data=data, timeout=60)
        assert answer.status_code == 200
    assert answer.content == b"0123456789"
    assert stack.api("GET", f"{volume}/download?path=a&direct=1", headers={"Range": "bytes=8-"}).content == b"89"
    assert stack.api("DELETE", volume).status_code == 204


def test_no_process_is_orphaned_when_the_supervisor_is_killed(instance: Stack) -> None:
    instance.kill("supervisor")
    eventually(lambda: not processes_of(instance), within_seconds=10, what="the end of all processes")
    instance.up()


def test_ctrl_c_ends_everything(engine: docker.DockerClient, tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    command = [str(CHECKOUT / "lightd"), "up"]
    with subprocess.Popen(
        command, env=stack.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as foreground:
        assert foreground.stdout is not None
        shown = iter(foreground.stdout.readline, "")
        seen = [next(line for line in shown if f"Lightd is ready at {stack.base_url}" in line)]
        running = list(processes_of(stack))
        # A terminal sends SIGINT to every process of the foreground group.
        subprocess.run(["kill", "-INT", "--", f"-{foreground.pid}"], check=True)
        seen += shown
    remove_network(engine, stack.network)
    assert foreground.returncode == 0
    assert len(running) > len(NAMES)
    assert not any(map(is_alive, running))
    assert "lightd | everything has ended" in seen[-1]


def test_a_wrong_setting_is_one_sentence_and_exit_code_2(instance: Stack) -> None:
    wrong = Stack(instance.data, LIGHTD_LOG_LEVEL="loud").lightd("up", check=False)
    assert wrong.returncode == 2
    assert wrong.stderr == "Error: LIGHTD_LOG_LEVEL must be debug, info, warning or error.\n"
    relative = Stack(instance.data, LIGHTD_DATA="data").lightd("up", check=False)
    assert relative.returncode == 2
    assert relative.stderr == "Error: LIGHTD_DATA must be an absolute path, not data.\n"


def test_a_taken_port_is_told_before_anything_starts(instance: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        data = instance.data / "other"
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = Stack(data, LIGHTD_BIND=address).lightd("up", "--detach", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Error: The API cannot listen on {address}")
    assert not (data / "run/processes.json").exists()


def test_an_idle_instance_is_light(instance: Stack) -> None:
    instance.wait_ready()
    pids = list(processes_of(instance))
    assert pss_bytes(pids) <= 400 * 1024 * 1024
    before = sum(map(used_ticks, pids))
    time.sleep(5)  # the measured time, not a wait for something
    assert sum(map(used_ticks, pids)) - before <= 15, "3 % of a core, in hundredths of a second"


def shell(command: str) -> str:
    """What a command line prints."""
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout
