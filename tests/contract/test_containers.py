"""Containers: asked for, made, shown, listed, deleted."""

from __future__ import annotations

import re
import socket
import time

import docker
import pytest
from docker.errors import NotFound

from tests.support.answers import Answer, accepted, refused, refused_field
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from tests.support.servers import READ_LINES, Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

DOCUMENTED = {
    "internal_id",
    "container_id",
    "volume_id",
    "image",
    "startup_command",
    "start_pattern",
    "install_state",
    "ports",
    "limits",
    "mount",
    "created_at",
    "updated_at",
}
OURS = {"state", "node", "node_state", "exit_code", "oom_killed", "started_at", "error", "env", "job_id"}
UNKNOWN_VOLUME = "d6764075-c5f1-4045-9fb3-85315b85cb0f"


def test_creation_is_answered_at_once_and_the_container_is_not_started(stack: Stack, servers: Servers) -> None:
    body = servers.body("echo started", internal_id="contract.Create_1-x")
    answer = accepted(servers.post(body))
    job_id = answer.pop("job_id")
    told = {"message": "Container creation started", "internal_id": "contract.Create_1-x", "state": "installing"}
    assert answer == told
    assert stack.wait_for_job(job_id)["state"] == "done"
    record = servers.record("contract.Create_1-x")
    assert (record["install_state"], record["state"]) == ("ready", "ready")
    assert record["started_at"] is None
    assert servers.logs("contract.Create_1-x") == ""


def test_a_container_is_shown_with_all_documented_fields(stack: Stack, servers: Servers) -> None:
    port = servers.port()
    limits = {"memory": 32 * 2**20, "cpu": 0.5}
    body = servers.body(start_pattern="Ready", ports=[port], limits=limits, env={"MODE": "easy"})
    created = accepted(servers.post(body))
    record = stack.wait_for_state(body["internal_id"], "ready")
    assert record.keys() >= DOCUMENTED | OURS
    for field in ("internal_id", "volume_id", "image", "startup_command", "start_pattern", "env"):
        assert record[field] == body[field]
    assert record["job_id"] == created["job_id"]
    assert re.fullmatch("[0-9a-f]{64}", record["container_id"])
    assert [{key: held[key] for key in port} for held in record["ports"]] == [port]
    assert {key: record["limits"][key] for key in limits} == limits
    assert record["mount"] == {}
    assert (record["node"], record["error"], record["oom_killed"]) == (stack.node, None, False)
    for stamp in ("created_at", "updated_at"):
        assert isinstance(record[stamp], int)
        assert abs(time.time() - record[stamp]) < 60


def test_the_list_shows_each_container_briefly_and_is_filtered_by_state(stack: Stack, servers: Servers) -> None:
    ready, running = servers.create(), servers.run()

    def ids(query: str) -> set[str]:
        return {item["internal_id"] for item in accepted(stack.api("GET", f"/containers{query}"))["containers"]}

    for item in accepted(stack.api("GET", "/containers"))["containers"]:
        assert item.keys() >= {"internal_id", "container_id", "install_state", "state", "image", "ports", "node"}
    assert ids("") >= {ready, running}
    assert {ready, running} & ids("?state=running") == {running}
    assert {ready, running} & ids("?state=ready") == {ready}
    assert {ready, running} & ids("?state=failed") == set()
    refused(stack.api("GET", "/containers?state=happy"), 400)


@pytest.mark.parametrize("field", ["internal_id", "image", "volume_id", "startup_command"])
def test_a_required_field_must_be_there(servers: Servers, field: str) -> None:
    body = servers.body()
    del body[field]
    refused_field(servers.post(body), field)


@pytest.mark.parametrize("bad", ["", "-a", ".a", "_a", "a b", "a/b", "../a", "ä", "a\n", "x" * 64])
def test_an_id_of_another_form_is_refused(servers: Servers, bad: str) -> None:
    refused_field(servers.post({**servers.body(), "internal_id": bad}), "internal_id")


def test_a_taken_id_is_409_and_an_unknown_volume_404(servers: Servers) -> None:
    container = servers.create()
    refused(servers.ask(internal_id=container), 409)
    refused(servers.ask(volume_id=UNKNOWN_VOLUME), 404, "Volume not found")
    refused(servers.ask(volume_id=UNKNOWN_VOLUME[:8]), 404, "Volume not found")


def test_eight_digits_of_the_volume_are_enough(servers: Servers) -> None:
    volume = str(servers.volume()["volume_id"])
    assert servers.record(servers.create(volume_id=volume[:8]))["volume_id"] == volume


def test_a_port_must_be_in_the_pool_and_free(servers: Servers) -> None:
    port = servers.port()
    outside = {**port, "protocol": "udp"}
    answer = servers.ask(ports=[port, outside])
    refused(answer, 400, "Invalid port binding: port not in network pool")
    assert not servers.in_use(port), "ports are taken together or not at all"
    servers.create(ports=[port])
    refused(servers.ask(ports=[port]), 409)


def test_a_bad_start_pattern_is_refused_with_the_position(servers: Servers) -> None:
    body = refused_field(servers.ask(start_pattern="Done (in"), "start_pattern")
    assert re.search(r"\d", " ".join(body["fields"]["start_pattern"])), body


@pytest.mark.parametrize("limits", [{"memory": 2**62}, {"cpu": 100_000}])
def test_more_than_the_node_has_is_refused(servers: Servers, limits: Answer) -> None:
    refused(servers.ask(limits=limits), 400)


@pytest.mark.parametrize("on_host", ["/", "/etc", "/var/run/docker.sock"])
def test_a_folder_of_the_host_that_the_operator_did_not_allow_is_403(servers: Servers, on_host: str) -> None:
    refused(servers.ask(mount={"/mnt/host": on_host}), 403)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/start", None),
        ("POST", "/stop", None),
        ("POST", "/kill", None),
        ("POST", "/restart", None),
        ("POST", "/reinstall", {"image": BUSYBOX}),
        ("GET", "/logs", None),
        ("GET", "/jobs", None),
        ("PATCH", "", {"env": {}}),
        ("GET", "/resources", None),
        ("POST", "/resources", {"pids": 50}),
        ("POST", "/command", {"command": "hello"}),
        ("POST", "/rebind-network", {"ports": []}),
        ("POST", "/repair", None),
        ("GET", "/stats", None),
        ("GET", "/events", None),
        ("GET", "/ends", None),
    ],
)
def test_an_unknown_container_is_404_everywhere(stack: Stack, method: str, path: str, body: Answer | None) -> None:
    refused(stack.api(method, f"/containers/nobody{path}", json=body), 404, "Container not found")


def test_inside_it_is_the_volumes_user_in_the_volume_with_its_variables(stack: Stack, servers: Servers) -> None:
    port = servers.port()
    command = 'id -u; id -g; pwd; ls -1 /app/data; echo "$SERVER_IP|$SERVER_PORT|$SERVER_MEMORY|$P_SERVER_ID|$GREETING"'
    env = {"GREETING": "hello to you"}
    output = servers.output_of(command, internal_id="inside-1", ports=[port], env=env, install_script="#!/bin/sh")
    number = port["port"]
    last = f"127.0.0.1|{number}|32|inside-1|hello to you"
    assert output.split("\n")[:-1] == ["1000", "1000", "/home/container", "entrypoint.sh", "install.sh", last]


def test_all_ports_are_told_to_the_process(servers: Servers) -> None:
    ports = [servers.port(), servers.port("udp")]
    output = servers.output_of('echo "$SERVER_PORTS"', ports=ports)
    for port in ports:
        assert str(port["port"]) in output


def test_in_the_engine_it_is_named_after_its_id_and_hardened(engine: docker.DockerClient, servers: Servers) -> None:
    container = engine.containers.get(f"lightd-{servers.create()}")
    settings = container.attrs["HostConfig"]
    assert container.attrs["Config"]["User"] == "1000:1000"
    assert container.attrs["Config"]["Tty"] is True
    assert settings["ReadonlyRootfs"] is True
    assert settings["Privileged"] is False
    assert settings["CapDrop"] == ["ALL"]
    assert not settings["CapAdd"]
    assert any(option.startswith("no-new-privileges") for option in settings["SecurityOpt"])
    assert settings["Memory"] == 32 * 2**20
    assert settings["NanoCpus"] == 500_000_000 or settings["CpuQuota"] == 0.5 * settings["CpuPeriod"]
    assert settings["PidsLimit"] > 0, "the default for what was left out is never 'no limit'"
    assert settings["Init"] is True
    assert settings["LogConfig"]["Type"] == "json-file"


def test_its_port_answers_on_the_host(servers: Servers) -> None:
    port = servers.port()
    servers.run(f"echo Ready; while true; do nc -l -p {port['port']} -e echo pong; done", ports=[port])

    def ask() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(1)
            try:
                client.connect(("127.0.0.1", port["port"]))
                return client.recv(100)
            except OSError:
                return b""

    assert eventually(ask, within_seconds=10, what="an answer on the port") == b"pong\n"


def test_udp_and_tcp_of_the_same_number_are_two_ports(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    udp = servers.port("udp")
    accepted(stack.api("POST", "/network/ports", json={**udp, "protocol": "tcp"}))
    container = engine.containers.get(f"lightd-{servers.run('sleep 600', ports=[udp])}")
    number = udp["port"]
    bound = {name: bindings for name, bindings in container.attrs["NetworkSettings"]["Ports"].items() if bindings}
    assert bound == {f"{number}/udp": [{"HostIp": "127.0.0.1", "HostPort": str(number)}]}
    assert not servers.in_use({**udp, "protocol": "tcp"})
    accepted(stack.api("DELETE", f"/network/ports/127.0.0.1/{number}"))


def test_several_containers_may_share_a_volume(stack: Stack, servers: Servers) -> None:
    servers.output_of("echo shared > note")
    assert servers.output_of("cat note").strip() == "shared"


def test_deleting_it_takes_everything_but_the_volume(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    port = servers.port()
    script = "#!/bin/sh\necho here > /opt-marker\necho kept > kept.txt"
    container = servers.run(READ_LINES, ports=[port], install_script=script, start_pattern="Ready")
    answer = accepted(stack.api("DELETE", f"/containers/{container}"))
    assert answer["message"] == "Container deleted successfully"
    refused(stack.api("GET", f"/containers/{container}"), 404, "Container not found")
    refused(stack.api("DELETE", f"/containers/{container}"), 404, "Container not found")
    with pytest.raises(NotFound):
        engine.containers.get(f"lightd-{container}")
    assert not engine.images.list(name=f"lightd/{container}")
    assert not servers.in_use(port)
    assert servers.output_of("cat kept.txt").strip() == "kept"
    assert servers.create(internal_id=container) == container, "its id is free again"


def test_deleting_it_while_it_installs_cancels_the_install(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    port = servers.port()
    made = accepted(servers.ask(ports=[port], install_script="#!/bin/sh\necho begun\nsleep 600"))
    container = made["internal_id"]
    eventually(lambda: "begun" in servers.logs(container), within_seconds=20, what="the install")
    accepted(stack.api("DELETE", f"/containers/{container}"))
    refused(stack.api("GET", f"/containers/{container}"), 404, "Container not found")
    assert not servers.in_use(port)
    names = [found.name for found in engine.containers.list(all=True, filters={"name": container})]
    assert names == []
