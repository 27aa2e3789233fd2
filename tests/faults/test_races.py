"""Many clients want the same thing at the same moment: one gets it, the others are told."""

from __future__ import annotations

from functools import partial

import docker
import pytest
import requests

from tests.support.answers import accepted, refused
from tests.support.at_once import at_once
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def split(answers: list[requests.Response]) -> tuple[list[requests.Response], list[requests.Response]]:
    won = [answer for answer in answers if answer.ok]
    return won, [answer for answer in answers if not answer.ok]


def test_of_twenty_containers_with_the_same_id_exactly_one_is_made(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    body = servers.body(internal_id="race-for-an-id")
    won, lost = split(at_once([partial(servers.post, body)] * 20))
    assert (len(won), len(lost)) == (1, 19)
    for answer in lost:
        refused(answer, 409)
    assert stack.wait_for_job(accepted(won[0])["job_id"])["state"] == "done"
    assert len(engine.containers.list(all=True, filters={"name": "race-for-an-id"})) == 1


def test_of_twenty_containers_with_the_same_port_exactly_one_is_made(stack: Stack, servers: Servers) -> None:
    port, spare = servers.port(), servers.port("udp")
    bodies = [servers.body(internal_id=f"race-for-a-port-{number}", ports=[port]) for number in range(20)]
    won, lost = split(at_once([partial(servers.post, body) for body in bodies]))
    assert (len(won), len(lost)) == (1, 19)
    for answer in lost:
        refused(answer, 409)
    winner = accepted(won[0])["internal_id"]
    listed = accepted(stack.api("GET", "/containers"))["containers"]
    assert [item["internal_id"] for item in listed] == [winner]
    stack.wait_for_state(winner, "ready")
    assert servers.in_use(port)
    assert not servers.in_use(spare)


def test_of_twenty_starts_at_once_one_process_comes(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    container = servers.create("echo begun; sleep 600")
    answers = at_once([partial(stack.api, "POST", f"/containers/{container}/start")] * 20)
    won, lost = split(answers)
    assert won
    for answer in lost:
        refused(answer, 409)
    jobs = {accepted(answer)["job_id"] for answer in won}
    assert len(jobs) == 1, "equal requests are one job"
    stack.wait_for_state(container, "running")
    assert stack.wait_for_job(jobs.pop())["state"] == "done"
    eventually(lambda: "begun" in servers.logs(container), within_seconds=10, what="the output")
    assert servers.logs(container).count("begun") == 1


def test_of_twenty_deletions_at_once_all_agree_that_it_is_gone(stack: Stack, servers: Servers) -> None:
    container = servers.run()
    answers = at_once([partial(stack.api, "DELETE", f"/containers/{container}")] * 20)
    assert {answer.status_code for answer in answers} <= {200, 404, 409}
    assert any(answer.ok for answer in answers)
    refused(stack.api("GET", f"/containers/{container}"), 404, "Container not found")


def test_a_port_added_twenty_times_at_once_is_in_the_pool_once(stack: Stack, servers: Servers) -> None:
    port = servers.port()
    path = f"/network/ports/{port['ip']}/{port['port']}"
    accepted(stack.api("DELETE", path))
    won, lost = split(at_once([partial(stack.api, "POST", "/network/ports", json=port)] * 20))
    assert (len(won), len(lost)) == (1, 19)
    for answer in lost:
        refused(answer, 400, "Port already exists in pool")
    assert len(accepted(stack.api("GET", "/network/ports"))["ports"]) == 1


def test_a_volume_is_either_deleted_or_used(stack: Stack, servers: Servers) -> None:
    for _ in range(5):
        volume = servers.volume()["volume_id"]
        body = servers.body(volume_id=volume)
        deleted, created = at_once([partial(stack.api, "DELETE", f"/volumes/{volume}"), partial(servers.post, body)])
        assert (deleted.status_code, created.status_code) in ((204, 404), (409, 200))
        if created.ok:
            stack.wait_for_state(body["internal_id"], "ready")


def test_twenty_writers_of_one_file_leave_one_whole_file(stack: Stack, servers: Servers) -> None:
    made = servers.volume()
    route = f"/volumes/{made['volume_id']}/files"
    contents = [chr(97 + number) * 200_000 for number in range(20)]
    bodies = [{"path": "contested", "content": content} for content in contents]
    for answer in at_once([partial(stack.api, "POST", route, json=body) for body in bodies]):
        accepted(answer)
    host_file = accepted(stack.api("GET", f"/volumes/{made['volume_id']}"))["path"] + "/contested"
    with open(host_file) as written:
        assert written.read() in contents
    names = [file["name"] for file in accepted(stack.api("GET", route))["files"]]
    assert [name for name in names if name != "lost+found"] == ["contested"]
