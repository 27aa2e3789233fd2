"""Creating containers: what is taken, what is refused and why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from app import create_app
from app.services import Services
from fleet.models import Job, Node, Volume
from fleet.settings import Settings
from tests.app.conftest import GIB, NODE, VOLUME, Api
from tests.app.worker import Worker

SMALLEST = {"internal_id": "game", "image": "ubuntu:22.04", "volume_id": VOLUME, "startup_command": "./run"}
QUICK_START = {
    "internal_id": "my-server-001",
    "image": "ubuntu:22.04",
    "volume_id": VOLUME,
    "startup_command": 'bash -c "while true; do echo Ready; sleep 1; done"',
    "start_pattern": "Ready",
    "ports": [{"ip": "0.0.0.0", "port": 25565, "protocol": "tcp"}],
    "limits": {"memory": 536870912, "cpu": 1.0},
}


@pytest.fixture(autouse=True)
def pool(api: Api, volume: Volume) -> None:
    """A volume, and a pool with 25565 for both protocols."""
    for protocol in ("tcp", "udp"):
        api.post("/network/ports", {"ip": "0.0.0.0", "port": 25565, "protocol": protocol})


def create(api: Api, **more: Any) -> Any:
    return api.post("/containers", {**SMALLEST, **more})


def test_the_quick_starts_container_is_created(api: Api, offered: Services, dispatched: list[Job]) -> None:
    answer = api.post("/containers", QUICK_START)
    assert answer.status_code == 200
    (job,) = dispatched
    assert answer.json == {
        "message": "Container creation started",
        "internal_id": "my-server-001",
        "state": "installing",
        "job_id": job.job_id,
    }
    assert (job.kind, job.node, job.queue, job.internal_id) == ("install", NODE, "long", "my-server-001")
    record = api.get("/containers/my-server-001").json
    for name, value in QUICK_START.items():
        if name not in ("ports", "limits"):
            assert record[name] == value
    assert record["ports"] == [{"ip": "0.0.0.0", "port": 25565, "protocol": "tcp", "container_port": 25565}]
    assert record["limits"] == {"memory": 536870912, "cpu": 1.0, "swap": 0, "pids": 512, "io_weight": None}
    assert api.get("/network/ports/0.0.0.0/25565").json["in_use"] is True
    assert offered.jobs.get(job.job_id).state == "queued"


def test_what_is_left_out_is_a_setting(api: Api) -> None:
    assert create(api).status_code == 200
    record = api.get("/containers/game").json
    assert record["limits"] == {"memory": GIB, "cpu": 1.0, "swap": 0, "pids": 512, "io_weight": None}
    assert (record["stop_signal"], record["stop_timeout"], record["pull_policy"]) == ("SIGTERM", 30, "if-missing")
    assert (record["mount"], record["env"], record["labels"], record["ports"]) == ({}, {}, {}, [])


def test_default_limits_shrink_to_what_the_host_has(api: Api, offered: Services, node: Node) -> None:
    offered.nodes.announce(replace(node, memory_bytes=GIB // 2, cpus=1))
    assert create(api).status_code == 200
    assert api.get("/containers/game").json["limits"]["memory"] == GIB // 2


def test_everything_can_be_said(api: Api, offered: Services) -> None:
    wanted = {
        "start_pattern": r"Done \(\d+s\)",
        "ports": [{"container_port": 80, "host_port": 25565, "protocol": "udp"}],
        "limits": {"memory": GIB, "cpu": 0.25, "swap": 1024, "pids": 7, "io_weight": 500},
        "mount": {"/opt/shared/": "/srv/shared/maps"},
        "install_script": "#!/bin/bash\napt-get update\n",
        "install_timeout": 60,
        "env": {"NAME": "Bücher\nzwei", "_": ""},
        "stop_command": "stop\n",
        "stop_signal": "int",
        "stop_timeout": 0,
        "pull_policy": "always",
        "labels": {"owner": "me", "team/a.b": ""},
        "volume_id": VOLUME[:8],
    }
    assert create(api, **wanted).status_code == 200
    spec = offered.containers.get("game").spec
    assert spec.install_script == "#!/bin/bash\napt-get update\n"
    assert spec.install_timeout_seconds == 60
    record = api.get("/containers/game").json
    assert record["volume_id"] == VOLUME
    assert record["mount"] == {"/opt/shared": "/srv/shared/maps"}
    assert record["env"] == wanted["env"]
    assert record["labels"] == wanted["labels"]
    assert record["ports"] == [{"ip": "0.0.0.0", "port": 25565, "protocol": "udp", "container_port": 80}]
    assert record["limits"] == wanted["limits"]
    assert (record["stop_command"], record["stop_signal"], record["stop_timeout"]) == ("stop", "SIGINT", 0)


@pytest.mark.parametrize("name", ["start_pattern", "install_script", "stop_command"])
@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_text_means_none(api: Api, offered: Services, name: str, value: str | None) -> None:
    assert create(api, **{name: value}).status_code == 200
    assert getattr(offered.containers.get("game").spec, name) is None


MANY = {f"N{number}": "" for number in range(1001)}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"internal_id": ""}, "internal_id"),
        ({"internal_id": "-a"}, "internal_id"),
        ({"internal_id": "a b"}, "internal_id"),
        ({"internal_id": "../a"}, "internal_id"),
        ({"internal_id": "a\n"}, "internal_id"),
        ({"internal_id": "x" * 64}, "internal_id"),
        ({"internal_id": 7}, "internal_id"),
        ({"image": ""}, "image"),
        ({"image": "Ubuntu"}, "image"),
        ({"image": "ubuntu:"}, "image"),
        ({"image": "ubuntu 22"}, "image"),
        ({"image": "-v"}, "image"),
        ({"image": "a" * 256}, "image"),
        ({"image": "lightd/other"}, "image"),
        ({"image": "docker.io/lightd/other:latest"}, "image"),
        ({"image": "ubuntu@sha256:abc"}, "image"),
        ({"volume_id": 7}, "volume_id"),
        ({"startup_command": ""}, "startup_command"),
        ({"startup_command": "a\0b"}, "startup_command"),
        ({"startup_command": "x" * 32769}, "startup_command"),
        ({"startup_command": ["a"]}, "startup_command"),
        ({"start_pattern": "(a"}, "start_pattern"),
        ({"start_pattern": "a" * 1001}, "start_pattern"),
        ({"start_pattern": r"(?=a)"}, "start_pattern"),
        ({"install_script": 7}, "install_script"),
        ({"install_timeout": 0}, "install_timeout"),
        ({"install_timeout": 86401}, "install_timeout"),
        ({"limits": 7}, "limits"),
        ({"limits": {"memory": -1}}, "limits.memory"),
        ({"limits": {"memory": 0}}, "limits.memory"),
        ({"limits": {"memory": 6 * 1024**2 - 1}}, "limits.memory"),
        ({"limits": {"memory": "512"}}, "limits.memory"),
        ({"limits": {"memory": 5e8}}, "limits.memory"),
        ({"limits": {"memory": 9 * GIB}}, "limits.memory"),
        ({"limits": {"memory": 10**30}}, "limits.memory"),
        ({"limits": {"cpu": 0}}, "limits.cpu"),
        ({"limits": {"cpu": -0.5}}, "limits.cpu"),
        ({"limits": {"cpu": "1"}}, "limits.cpu"),
        ({"limits": {"cpu": True}}, "limits.cpu"),
        ({"limits": {"cpu": 4.5}}, "limits.cpu"),
        ({"limits": {"cpu": 10**400}}, "limits.cpu"),
        ({"limits": {"swap": -1}}, "limits.swap"),
        ({"limits": {"pids": 0}}, "limits.pids"),
        ({"limits": {"pids": None}}, "limits.pids"),
        ({"limits": {"io_weight": 9}}, "limits.io_weight"),
        ({"limits": {"disk": 1}}, "limits.disk"),
        ({"mount": []}, "mount"),
        ({"mount": {"opt": "/srv/shared"}}, "mount.opt"),
        ({"mount": {"/opt": "srv"}}, "mount./opt"),
        ({"mount": {"/opt": 7}}, "mount./opt"),
        ({"mount": {"/opt": "/srv/shared/../../etc"}}, "mount./opt"),
        ({"mount": {"/opt/../proc": "/srv/shared"}}, "mount./opt/../proc"),
        ({"mount": {"/": "/srv/shared"}}, "mount./"),
        ({"mount": {"/proc/sys": "/srv/shared"}}, "mount./proc/sys"),
        ({"mount": {"//dev": "/srv/shared"}}, "mount.//dev"),
        ({"mount": {"/app": "/srv/shared"}}, "mount./app"),
        ({"mount": {"/app/data/x": "/srv/shared"}}, "mount./app/data/x"),
        ({"mount": {"/home/container": "/srv/shared"}}, "mount./home/container"),
        ({"mount": {"/home": "/srv/shared"}}, "mount./home"),
        ({"mount": {"/opt:rw": "/srv/shared"}}, "mount./opt:rw"),
        ({"mount": {"/opt": "/srv/shared", "/opt/": "/srv/shared"}}, "mount./opt/"),
        ({"env": {"1A": "x"}}, "env.1A"),
        ({"env": {"A-B": "x"}}, "env.A-B"),
        ({"env": {"A": 7}}, "env.A"),
        ({"env": {"A": "x\0"}}, "env.A"),
        ({"env": {"A": "\ud800"}}, "env.A"),
        ({"env": {"A": "x" * 65537}}, "env.A"),
        ({"env": {f"A{number}": "x" * 65536 for number in range(16)}}, "env"),
        ({"env": ["A=x"]}, "env"),
        ({"env": MANY}, "env"),
        ({"labels": {"lightd.id": "x"}}, "labels.lightd.id"),
        ({"labels": {"a": None}}, "labels.a"),
        ({"stop_command": "a\nb"}, "stop_command"),
        ({"stop_command": "\x03"}, "stop_command"),
        ({"stop_command": "x" * 4001}, "stop_command"),
        ({"stop_signal": "SIGNOTHING"}, "stop_signal"),
        ({"stop_signal": 9}, "stop_signal"),
        ({"stop_timeout": -1}, "stop_timeout"),
        ({"stop_timeout": 3601}, "stop_timeout"),
        ({"pull_policy": "never"}, "pull_policy"),
        ({"restart_policy": "sometimes"}, "restart_policy.policy"),
        ({"restart_policy": 7}, "restart_policy"),
        ({"restart_policy": {}}, "restart_policy.policy"),
        ({"restart_policy": {"policy": "always", "max_tries": 0}}, "restart_policy.max_tries"),
        ({"restart_policy": {"policy": "always", "delay": 1}}, "restart_policy.delay"),
        ({"privileged": True}, "privileged"),
        ({"ports": {}}, "ports"),
        ({"ports": [7]}, "ports.0"),
        ({"ports": [{}]}, "ports.0"),
        ({"ports": [{"ip": "0.0.0.0"}]}, "ports.0"),
        ({"ports": [{"port": 25565}]}, "ports.0"),
        ({"ports": [{"host_port": 25565}]}, "ports.0"),
        ({"ports": [{"ip": "0.0.0.0", "port": 25565, "container_port": 80}]}, "ports.0"),
        ({"ports": [{"ip": "0.0.0.0", "port": "25565"}]}, "ports.0.port"),
        ({"ports": [{"ip": "0.0.0.0", "port": 25565, "protocol": "sctp"}]}, "ports.0.protocol"),
        ({"ports": [{"ip": "0.0.0.0", "port": 25565}] * 2}, "ports"),
    ],
)
def test_bad_input_names_its_field_and_changes_nothing(
    api: Api, dispatched: list[Job], wrong: dict[str, Any], field: str
) -> None:
    answer = create(api, **wrong)
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == [field]
    assert api.get("/containers").json["containers"] == []
    assert dispatched == []


@pytest.mark.parametrize("name", ["internal_id", "image", "volume_id", "startup_command"])
def test_what_is_required_must_be_there(api: Api, name: str) -> None:
    body = {field: value for field, value in SMALLEST.items() if field != name}
    answer = api.post("/containers", body)
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == [name]


def test_a_bad_pattern_is_told_with_its_position(api: Api) -> None:
    assert "position 3" in create(api, start_pattern="abc(").json["error"]


@pytest.mark.parametrize(
    "image",
    [
        "ubuntu",
        "library/ubuntu:22.04",
        "ghcr.io/some-one/some_thing__x:v1.2-rc",
        "127.0.0.1:5000/a/b:c",
        "localhost/x",
        "u@sha256:" + "0" * 64,
        "openjdk:17-slim",
    ],
)
def test_images_are_named_as_the_engine_names_them(api: Api, image: str) -> None:
    assert create(api, image=image).status_code == 200


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, {"policy": "no", "max_tries": None}),
        ({"restart_policy": "always"}, {"policy": "always", "max_tries": None}),
        ({"restart_policy": "on-crash"}, {"policy": "on-crash", "max_tries": 10}),
        ({"restart_policy": {"policy": "on-crash", "max_tries": 3}}, {"policy": "on-crash", "max_tries": 3}),
        ({"restart_policy": {"policy": "on-crash", "max_tries": None}}, {"policy": "on-crash", "max_tries": None}),
    ],
)
def test_a_restart_policy_is_a_name_or_an_object(api: Api, asked: dict[str, Any], shown: dict[str, Any]) -> None:
    assert create(api, **asked).status_code == 200
    assert api.get("/containers/game").json["restart_policy"] == shown


@pytest.mark.parametrize("folder", ["/etc", "/srv", "/srv/shared-not", "/", "/var/run/docker.sock"])
def test_a_host_folder_that_the_operator_did_not_allow_is_forbidden(api: Api, folder: str) -> None:
    answer = create(api, mount={"/opt": folder})
    assert (answer.status_code, answer.json["code"]) == (403, "mount_not_allowed")
    assert folder in answer.json["error"]


def test_an_unknown_volume_is_not_found(api: Api) -> None:
    answer = create(api, volume_id="00000000-0000-4000-8000-000000000000")
    assert (answer.status_code, answer.json["error"]) == (404, "Volume not found")


def test_a_taken_id_is_a_conflict(api: Api) -> None:
    create(api)
    answer = create(api)
    assert (answer.status_code, answer.json["code"]) == (409, "container_exists")


def test_of_equal_ids_at_once_exactly_one_wins(api: Api) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: create(Api(api.client.application.test_client(), api.token)), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


def test_a_port_outside_the_pool_is_refused(api: Api) -> None:
    answer = create(api, ports=[{"ip": "0.0.0.0", "port": 1, "protocol": "tcp"}])
    assert answer.status_code == 400
    assert answer.json["error"] == "Invalid port binding: port not in network pool"
    assert api.get("/containers/game").status_code == 404


def test_a_taken_port_is_a_conflict_and_takes_nothing_else(api: Api) -> None:
    game_port = {"ip": "0.0.0.0", "port": 25565}
    create(api, ports=[game_port])
    answer = create(api, internal_id="other", ports=[{**game_port, "protocol": "udp"}, game_port])
    assert (answer.status_code, answer.json["code"]) == (409, "port_taken")
    assert api.get("/network/ports/0.0.0.0/25565?protocol=udp").json["in_use"] is False


def test_a_free_port_is_taken_for_a_container_that_names_none(api: Api) -> None:
    create(api, ports=[{"container_port": 8080, "protocol": "udp"}])
    assert api.get("/containers/game").json["ports"] == [
        {"ip": "0.0.0.0", "port": 25565, "protocol": "udp", "container_port": 8080}
    ]
    answer = create(api, internal_id="other", ports=[{"container_port": 8080, "protocol": "udp"}])
    assert (answer.status_code, answer.json["code"]) == (409, "no_port_free")


def test_an_offline_host_takes_no_container(api: Api, offered: Services, node: Node) -> None:
    offered.nodes.announce(replace(node, last_seen=0))
    answer = create(api)
    assert (answer.status_code, answer.json["code"]) == (503, "node_offline")
    assert NODE in answer.json["error"]


def test_a_broker_that_is_down_does_not_matter(api: Api, settings: Settings, offered: Services) -> None:
    def dispatch(job: Job) -> None:
        raise ConnectionError("the broker is down")

    without_broker = create_app(settings, offered.stores, dispatch).test_client()
    answer = create(Api(without_broker, api.token))
    assert answer.status_code == 200
    assert offered.jobs.get(answer.json["job_id"]).state == "queued"


@pytest.mark.parametrize("image", ["sha256:" + "a" * 64, "sha256:abcdef012345", "b" * 64])
def test_an_image_is_not_taken_by_its_id(api: Api, image: str) -> None:
    assert "id" in create(api, image=image).json["fields"]["image"][0]


def test_only_images_that_the_operator_allows_are_taken(
    api: Api, settings: Settings, offered: Services, worker: Worker
) -> None:
    limited = replace(settings, images_allowed=("debian:1*", "ghcr.io/acme/*"))
    application = create_app(limited, offered.stores, lambda _job: None)
    strict = Api(application.test_client(), api.token)
    refused = create(strict, image="ubuntu:22.04")
    assert (refused.status_code, refused.json["code"]) == (403, "image_not_allowed")
    assert "docker.io/library/ubuntu:22.04" in refused.json["error"]
    assert strict.get("/containers/game").status_code == 404
    assert create(strict, image="debian:12").status_code == 200
    worker.install("game")
    reinstall = "/containers/game/reinstall"
    assert strict.post(reinstall, {"image": "ghcr.io/evil/x"}).json["code"] == "image_not_allowed"
    assert api.post(reinstall, {"image": "ubuntu:22.04"}).status_code == 200
    worker.install("game")
    assert strict.post(reinstall).json["code"] == "image_not_allowed"
    assert strict.post(reinstall, {"image": "ghcr.io/acme/x"}).status_code == 200
