"""A container after its creation: read, listed, started, stopped, deleted."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from app import create_app
from app.containers import deletion
from app.services import Services
from fleet.console import Append
from fleet.models import Job, Node, Volume
from fleet.settings import Settings
from fleet.store import Client, connect
from tests.app.conftest import NODE, VOLUME, Api
from tests.app.worker import Worker
from tests.support.deadline import eventually


@pytest.fixture(autouse=True)
def game(api: Api, volume: Volume) -> None:
    """A container that installs."""
    create(api, "game")


def create(api: Api, name: str, **more: Any) -> None:
    body = {"internal_id": name, "image": "ubuntu:22.04", "volume_id": VOLUME, "startup_command": "./run", **more}
    assert api.post("/containers", body).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/containers/none"),
        ("DELETE", "/containers/none"),
        ("GET", "/containers/none/logs"),
        ("GET", "/containers/none/jobs"),
        *[("POST", f"/containers/none/{action}") for action in ("start", "stop", "kill", "restart", "reinstall")],
        ("GET", "/containers/a:b"),
        ("GET", "/containers/%00"),
    ],
)
def test_an_unknown_container_is_not_found(api: Api, method: str, path: str) -> None:
    answer = api.call(method, path)
    assert (answer.status_code, answer.json["error"]) == (404, "Container not found")


def test_a_container_shows_where_it_is_in_its_life(api: Api, worker: Worker) -> None:
    def shown() -> tuple[object, ...]:
        record = api.get("/containers/game").json
        return tuple(record[name] for name in ("state", "install_state", "container_id", "exit_code", "error"))

    assert shown() == ("installing", "installing", None, None, None)
    worker.install("game")
    assert shown() == ("ready", "ready", "engine-game", None, None)
    api.post("/containers/game/start")
    assert shown()[0] == "starting"
    assert api.get("/containers/game").json["started_at"] is None
    run = worker.start("game")
    assert shown()[0] == "running"
    assert abs(api.get("/containers/game").json["started_at"] - time.time()) < 10
    worker.exit("game", run, 3)
    assert shown() == ("ready", "ready", "engine-game", 3, None)
    assert api.get("/containers/game").json["started_at"] is None


def test_a_failed_install_says_why(api: Api, worker: Worker) -> None:
    worker.install("game", error="The image does not exist.")
    record = api.get("/containers/game").json
    assert (record["state"], record["install_state"]) == ("failed", "failed")
    assert record["error"] == "The image does not exist."
    assert api.get(f"/jobs/{record['job_id']}").json["error"] == "The image does not exist."


def test_the_host_of_a_container_is_shown_online_or_offline(
    api: Api, offered: Services, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.node_states._REFRESH_SECONDS", 0.0)
    assert api.get("/containers/game").json["node_state"] == "online"
    offered.nodes.announce(replace(node, last_seen=time.time() - 60))
    assert api.get("/containers/game").json["node_state"] == "offline"


@pytest.mark.parametrize(
    ("action", "queue", "message"),
    [
        ("stop", "quick", "Container stop initiated"),
        ("restart", "quick", "Container restart initiated"),
        ("kill", "agent", "Container kill initiated"),
    ],
)
def test_an_action_answers_at_once_with_its_job(
    api: Api, worker: Worker, dispatched: list[Job], offered: Services, action: str, queue: str, message: str
) -> None:
    worker.install("game")
    started = api.post("/containers/game/start")
    assert started.json == {
        "message": "Container start initiated",
        "internal_id": "game",
        "job_id": dispatched[-1].job_id,
    }
    worker.start("game")
    answer = api.post(f"/containers/game/{action}")
    assert answer.status_code == 200
    assert (answer.json["message"], answer.json["internal_id"]) == (message, "game")
    job = offered.jobs.get(answer.json["job_id"])
    assert (job.kind, job.queue) == (action, queue)
    assert (dispatched[-1].job_id == job.job_id) == (queue != "agent")
    assert api.get("/containers/game").json["state"] == "stopping"


def test_an_equal_action_under_way_answers_with_the_same_job(api: Api, worker: Worker, dispatched: list[Job]) -> None:
    worker.install("game")
    first, second = (api.post("/containers/game/start").json["job_id"] for _ in range(2))
    assert first == second
    assert [job.kind for job in dispatched] == ["install", "start"]


@pytest.mark.parametrize("action", ["start", "stop", "restart", "reinstall"])
def test_an_action_that_the_state_does_not_allow_names_what_is_allowed(api: Api, action: str) -> None:
    answer = api.post(f"/containers/game/{action}")
    assert (answer.status_code, answer.json["code"]) == (409, "action_not_allowed")
    assert answer.json["error"] == f"Cannot {action} a container that is installing; allowed now: kill, delete."


def test_a_kill_cancels_an_install(api: Api, offered: Services) -> None:
    install = api.get("/containers/game").json["job_id"]
    answer = api.post("/containers/game/kill")
    assert answer.status_code == 200
    assert offered.jobs.is_cancelled(install)
    assert api.get("/containers/game").json["job_id"] == install


@pytest.mark.parametrize("action", ["start", "kill", "reinstall"])
def test_an_offline_host_is_named(api: Api, offered: Services, node: Node, worker: Worker, action: str) -> None:
    worker.install("game")
    offered.nodes.announce(replace(node, last_seen=0))
    for answer in (api.post(f"/containers/game/{action}"), api.delete("/containers/game")):
        assert (answer.status_code, answer.json["code"]) == (503, "node_offline")
        assert NODE in answer.json["error"]


def test_a_reinstall_takes_a_new_image_and_script(
    api: Api, worker: Worker, offered: Services, dispatched: list[Job]
) -> None:
    worker.install("game")
    answer = api.post("/containers/game/reinstall", {"image": "debian:12", "install_script": "#!/bin/sh\n"})
    assert answer.status_code == 200
    assert answer.json["message"] == "Container reinstall started"
    assert (dispatched[-1].kind, dispatched[-1].queue) == ("reinstall", "long")
    wanted = offered.containers.get("game").next_spec
    assert wanted is not None and (wanted.image, wanted.install_script) == ("debian:12", "#!/bin/sh\n")
    assert api.get("/containers/game").json["install_state"] == "installing"


def test_a_reinstall_without_a_body_keeps_both(api: Api, offered: Services) -> None:
    create(api, "scripted", install_script="#!/bin/sh\n")
    Worker(offered).install("scripted")
    assert api.post("/containers/scripted/reinstall").status_code == 200
    spec = offered.containers.get("scripted").next_spec
    assert spec is not None and (spec.image, spec.install_script) == ("ubuntu:22.04", "#!/bin/sh\n")


def test_a_reinstall_is_not_taken_for_another_one_that_is_under_way(api: Api, worker: Worker) -> None:
    worker.install("game")
    first = api.post("/containers/game/reinstall", {"install_script": "echo first"})
    assert api.post("/containers/game/reinstall", {"install_script": "echo first"}).json == first.json
    other = api.post("/containers/game/reinstall", {"install_script": "echo second"})
    assert (other.status_code, other.json["code"]) == (409, "reinstall_under_way")


def test_a_reinstall_can_drop_the_script(api: Api, offered: Services) -> None:
    create(api, "scripted", install_script="#!/bin/sh\n")
    Worker(offered).install("scripted")
    api.post("/containers/scripted/reinstall", {"install_script": None})
    spec = offered.containers.get("scripted").next_spec
    assert spec is not None and spec.install_script is None


@pytest.mark.parametrize(
    ("body", "field"),
    [({"image": "Bad Name"}, "image"), ({"image": None}, "image"), ({"volume_id": VOLUME}, "volume_id")],
)
def test_a_bad_reinstall_names_the_field(api: Api, worker: Worker, body: dict[str, object], field: str) -> None:
    worker.install("game")
    answer = api.post("/containers/game/reinstall", body)
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == [field]


def test_a_deletion_waits_until_the_container_is_gone(api: Api, worker: Worker, offered: Services) -> None:
    worker.install("game")

    def remove() -> None:
        eventually(lambda: offered.containers.get("game").deleting, within_seconds=5, what="the deletion's begin")
        worker.delete("game")

    removing = threading.Thread(target=remove, daemon=True)
    removing.start()
    answer = api.delete("/containers/game")
    removing.join()
    assert (answer.status_code, answer.json) == (200, {"message": "Container deleted successfully"})
    assert api.get("/containers/game").status_code == 404
    assert api.delete("/containers/game").status_code == 404


def test_a_job_that_the_store_lost_does_not_make_its_container_one_that_is_not_found(
    settings: Settings, api: Api, worker: Worker, store: Client
) -> None:
    worker.install("game")
    losing = Api(create_app(settings, connect(settings), lambda _job: store.flushall()).test_client(), api.token)
    answer = losing.delete("/containers/game")
    assert (answer.status_code, answer.json["code"]) == (503, "job_lost")


def test_a_container_of_an_offline_host_is_deleted_by_force_only(
    api: Api, offered: Services, node: Node, worker: Worker
) -> None:
    worker.install("game")
    api.post("/network/ports", {"ip": "0.0.0.0", "port": 25599})
    api.post("/containers/game/rebind-network", {"ports": [{"ip": "0.0.0.0", "port": 25599}]})
    (job, *_), _ = offered.jobs.of_container("game")
    assert job.is_open and offered.ports.get("0.0.0.0", 25599, "tcp").internal_id == "game"
    offered.nodes.announce(replace(node, last_seen=0))
    assert api.delete("/containers/game?force=false").status_code == 503
    answer = api.delete("/containers/game?force=true")
    assert (answer.status_code, answer.json) == (200, {"message": "Container deleted successfully"})
    assert api.get("/containers/game").status_code == 404
    assert not offered.ports.get("0.0.0.0", 25599, "tcp").in_use
    assert offered.volumes.users(VOLUME) == []
    ended = api.get(f"/jobs/{job.job_id}").json
    assert (ended["state"], ended["error"]) == ("cancelled", "The container was deleted by force.")
    assert api.delete("/containers/game?force=true").status_code == 404


def test_force_makes_no_difference_while_the_host_is_there(api: Api, worker: Worker, dispatched: list[Job]) -> None:
    worker.install("game")

    def remove() -> None:
        eventually(lambda: dispatched[-1].kind == "delete", within_seconds=5, what="the deletion's begin")
        worker.delete("game")

    removing = threading.Thread(target=remove, daemon=True)
    removing.start()
    assert api.delete("/containers/game?force=true").status_code == 200
    removing.join()


def test_everyone_who_waits_for_a_deletion_is_told(api: Api, worker: Worker, offered: Services) -> None:
    clients = [Api(api.client.application.test_client(), api.token) for _ in range(3)]
    answers = []
    waiting = [
        threading.Thread(
            target=lambda client=client: answers.append(client.delete("/containers/game").status_code), daemon=True
        )
        for client in clients
    ]
    for thread in waiting:
        thread.start()
    eventually(
        lambda: offered.stores.record.info("clients")["blocked_clients"] == 3,
        within_seconds=5,
        what="three who wait",
    )
    worker.delete("game")
    for thread in waiting:
        thread.join()
    assert answers == [200, 200, 200]


def test_a_deletion_that_takes_long_answers_with_its_job(
    api: Api, dispatched: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "PATIENCE_SECONDS", 0.05)
    answer = api.delete("/containers/game")
    assert answer.status_code == 202
    job = dispatched[-1]
    assert answer.json == {"message": "Container deletion started", "job_id": job.job_id, "state": "running"}
    assert (job.kind, job.queue) == ("delete", "quick")
    assert api.post("/containers/game/kill").json["code"] == "being_deleted"


def test_a_failed_deletion_says_why_and_can_be_repeated(
    api: Api, worker: Worker, dispatched: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "PATIENCE_SECONDS", 0.05)
    api.delete("/containers/game")
    worker.fail("game", "The engine does not answer.")
    assert api.get(f"/jobs/{dispatched[-1].job_id}").json["state"] == "failed"
    assert api.delete("/containers/game").status_code == 202
    assert [job.kind for job in dispatched] == ["install", "delete", "delete"]


def test_the_list_is_short_and_comes_in_pages(api: Api) -> None:
    for name in ("a", "b", "c"):
        create(api, name)
    first = api.get("/containers?limit=3").json
    assert first["containers"][0] == {
        "internal_id": "a",
        "container_id": None,
        "install_state": "installing",
        "state": "installing",
        "image": "ubuntu:22.04",
        "ports": [],
        "node": NODE,
    }
    second = api.get(f"/containers?limit=3&cursor={first['next_cursor']}").json
    assert [found["internal_id"] for found in first["containers"] + second["containers"]] == ["a", "b", "c", "game"]
    assert "next_cursor" not in second


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=ready", ["b"]),
        ("state=installing", ["a", "game"]),
        ("label=team", ["a", "b"]),
        ("label=team=red", ["a"]),
        ("label=team=", []),
        ("state=ready&label=team=blue", ["b"]),
        ("node=n1", ["a", "b", "game"]),
        ("node=n2", []),
    ],
)
def test_the_list_is_filtered(api: Api, worker: Worker, query: str, names: list[str]) -> None:
    create(api, "a", labels={"team": "red"})
    create(api, "b", labels={"team": "blue"})
    worker.install("b")
    assert [found["internal_id"] for found in api.get(f"/containers?{query}").json["containers"]] == names


def test_an_unknown_state_is_no_filter(api: Api) -> None:
    assert list(api.get("/containers?state=asleep").json["fields"]) == ["state"]


def test_a_containers_jobs_are_listed_newest_first(api: Api, worker: Worker) -> None:
    worker.install("game")
    api.post("/containers/game/start")
    worker.start("game")
    stop = api.post("/containers/game/stop").json["job_id"]
    first = api.get("/containers/game/jobs?limit=2").json
    assert [job["kind"] for job in first["jobs"]] == ["stop", "start"]
    second = api.get(f"/containers/game/jobs?limit=2&cursor={first['next_cursor']}").json
    assert [(job["kind"], job["state"]) for job in second["jobs"]] == [("install", "done")]
    assert "next_cursor" not in second
    job = api.get(f"/jobs/{stop}").json
    assert job == first["jobs"][0]
    assert {name: job[name] for name in ("kind", "internal_id", "node", "state", "error", "finished_at")} == {
        "kind": "stop",
        "internal_id": "game",
        "node": NODE,
        "state": "queued",
        "error": None,
        "finished_at": None,
    }


def test_an_unknown_job_is_not_found(api: Api) -> None:
    answer = api.get("/jobs/none")
    assert (answer.status_code, answer.json["error"]) == (404, "Job not found")


def say(offered: Services, *batches: str) -> list[int]:
    """Let the game print these; answers the `seq` of each."""
    numbers, position = [], ""
    for text in batches:
        ((seq, position),) = offered.console.append(
            [Append("game", "engine-game", position, f"{position}.", text.encode())]
        )
        numbers.append(seq or 0)
    return numbers


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "one\ntwo\nthree\n"),
        ("?lines=2", "two\nthree\n"),
        ("?lines=0", ""),
        ("?since=0", "one\ntwo\nthree\n"),
        ("?install=true", "installing 1\ninstalling 2\n"),
        ("?install=true&lines=1", "installing 2\n"),
    ],
)
def test_output_can_be_read_afterwards(api: Api, offered: Services, query: str, text: str) -> None:
    say(offered, "one\ntwo\n", "three\n")
    offered.containers.write_install_log("game", "installing 1\ninstalling 2\n")
    assert api.get(f"/containers/game/logs{query}").json["logs"] == text


def test_output_can_be_read_from_a_known_message_on(api: Api, offered: Services) -> None:
    first, second = say(offered, "one\ntwo\n", "three\n")
    assert api.get(f"/containers/game/logs?since={first}").json == {"logs": "three\n", "seq": second}
    assert api.get(f"/containers/game/logs?since={second}").json == {"logs": "", "seq": second}


def test_output_can_be_followed_by_asking_again_and_again(api: Api, offered: Services) -> None:
    assert api.get("/containers/game/logs").json == {"logs": "", "seq": 0}
    _, second = say(offered, "one\ntwo\n", "three\n")
    answer = api.get("/containers/game/logs?lines=1").json
    assert answer == {"logs": "three\n", "seq": second}
    assert offered.console.tail("game", 10, until=second - 1) == "one\ntwo\n", "what came since does not count"


@pytest.mark.parametrize(
    "query", ["lines=-1", "lines=10001", "lines=x", "since=-1", f"since={10**20}", "install=perhaps"]
)
def test_a_strange_wish_for_output_is_refused(api: Api, query: str) -> None:
    answer = api.get(f"/containers/game/logs?{query}")
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == [query.split("=")[0]]


def test_a_volume_with_a_container_on_it_is_not_deleted(api: Api) -> None:
    assert api.delete(f"/volumes/{VOLUME}").status_code == 409
