"""Asking for other ports, and for a repair: what is taken, what is refused, what is answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.containers import repair
from app.services import Services
from fleet.lifecycle import State
from fleet.models import Job, Node, Volume
from tests.app.conftest import NODE, VOLUME, Api
from tests.app.worker import Worker
from tests.support.deadline import eventually

REBIND = "/containers/game/rebind-network"


@pytest.fixture(autouse=True)
def game(api: Api, volume: Volume) -> None:
    """A container that installs and has port 25565 of a pool of three."""
    api.post("/network/ports/bulk", {"ip": "0.0.0.0", "from": 25565, "to": 25567, "protocol": "tcp"})
    body = {"internal_id": "game", "image": "ubuntu:22.04", "volume_id": VOLUME, "startup_command": "./run"}
    assert api.post("/containers", {**body, "ports": [port(25565)]}).status_code == 200


def port(number: int) -> dict[str, Any]:
    return {"ip": "0.0.0.0", "port": number, "protocol": "tcp"}


def holders(api: Api) -> list[str]:
    return [entry["internal_id"] or "" for entry in api.get("/network/ports").json["ports"]]


def test_it_takes_the_new_ports_beside_the_old_ones_and_begins(api: Api, worker: Worker, dispatched: list[Job]) -> None:
    worker.install("game")
    answer = api.post(REBIND, {"ports": [port(25566)]})
    job = dispatched[-1]
    told = {"message": "Network rebinding started", "internal_id": "game", "job_id": job.job_id}
    assert (answer.status_code, answer.json) == (200, told)
    assert (job.kind, job.queue, job.node) == ("rebind-network", "quick", NODE)
    assert holders(api) == ["game", "game", ""]
    assert [bound["port"] for bound in api.get("/containers/game").json["ports"]] == [25565]


def test_while_it_installs_it_is_400(api: Api) -> None:
    answer = api.post(REBIND, {"ports": [port(25566)]})
    assert answer.status_code == 400
    assert answer.json["error"] == "Cannot rebind network while container is installing"
    assert holders(api) == ["game", "", ""]


def test_a_container_that_failed_gets_other_ports_for_its_next_install(
    api: Api, worker: Worker, dispatched: list[Job]
) -> None:
    worker.install("game", error="no such image")
    answer = api.post(REBIND, {"ports": [port(25566)]})
    assert (answer.status_code, answer.json["job_id"]) == (200, dispatched[-1].job_id)
    assert holders(api)[1] == "game"


def test_a_container_that_failed_still_says_why_after_what_does_not_heal_it(
    api: Api, offered: Services, worker: Worker, dispatched: list[Job]
) -> None:
    worker.install("game", error="no such image")
    repaired(api, offered, dispatched, finish="done", result={"repaired": [], "remaining": []})
    assert api.get("/containers/game").json["error"] == "no such image"
    api.post("/containers/game/reinstall")
    assert api.get("/containers/game").json["error"] is None


def test_an_unknown_container_is_404(api: Api) -> None:
    for path in ("rebind-network", "repair"):
        answer = api.post(f"/containers/none/{path}", {"ports": []} if path == "rebind-network" else None)
        assert (answer.status_code, answer.json["error"]) == (404, "Container not found")


@pytest.mark.parametrize(
    ("wanted", "status", "error"),
    [
        (port(4000), 400, "Invalid port binding: port not in network pool"),
        (port(25567), 409, "Port 0.0.0.0:25567/tcp is in use by another container or reserved."),
        ({"container_port": 80, "host_port": 25566}, 400, "Port 0.0.0.0:25566/tcp is asked for twice."),
        ({"container_port": 80, "protocol": "udp"}, 409, "No free udp port is left in the pool; add one."),
    ],
    ids=["not in the pool", "reserved", "twice in two forms", "none free"],
)
def test_a_port_that_cannot_be_had_changes_nothing(
    api: Api, worker: Worker, wanted: dict[str, Any], status: int, error: str
) -> None:
    worker.install("game")
    api.put("/network/ports/0.0.0.0/25567/use", {"in_use": True})
    answer = api.post(REBIND, {"ports": [port(25566), wanted]})
    assert (answer.status_code, answer.json["error"]) == (status, error)
    assert holders(api) == ["game", "", ""]


def test_any_port_may_be_one_that_it_has_when_no_other_is_free(api: Api, worker: Worker) -> None:
    worker.install("game")
    wish = {"container_port": 80, "protocol": "tcp"}
    assert api.post(REBIND, {"ports": [wish] * 4}).status_code == 409
    assert holders(api) == ["game", "", ""]
    assert api.post(REBIND, {"ports": [wish] * 3}).status_code == 200
    assert holders(api) == ["game", "game", "game"]


@pytest.mark.parametrize("body", [{}, {"ports": None}, {"ports": [{"port": 1}]}, {"ports": [port(25566)] * 2}])
def test_a_body_that_names_no_ports_is_400(api: Api, worker: Worker, body: dict[str, Any]) -> None:
    worker.install("game")
    assert api.post(REBIND, body).status_code == 400


def test_the_same_wish_is_the_same_job_and_another_one_is_409(api: Api, worker: Worker, dispatched: list[Job]) -> None:
    worker.install("game")
    first = api.post(REBIND, {"ports": [port(25566)]})
    assert api.post(REBIND, {"ports": [port(25566)]}).json == first.json
    other = api.post(REBIND, {"ports": [port(25567)]})
    assert (other.status_code, other.json["code"]) == (409, "busy")
    assert [job.kind for job in dispatched] == ["install", "rebind-network"]
    assert holders(api) == ["game", "game", ""]


def test_other_actions_are_409_until_it_has_ended(api: Api, worker: Worker) -> None:
    worker.install("game")
    job_id = api.post(REBIND, {"ports": [port(25566)]}).json["job_id"]
    for action in ("start", "restart", "reinstall", "repair"):
        answer = api.post(f"/containers/game/{action}")
        assert (answer.status_code, answer.json["code"]) == (409, "busy")
        assert job_id in answer.json["error"]


def test_a_host_that_is_offline_is_503(api: Api, offered: Services, worker: Worker, node: Node) -> None:
    worker.install("game")
    offered.stores.record.hset("lightd:node:n1", "last_seen", "1")
    assert api.post(REBIND, {"ports": [port(25566)]}).status_code == 503
    assert holders(api) == ["game", "", ""]


def repaired(api: Api, offered: Services, dispatched: list[Job], **ending: Any) -> TestResponse:
    """The answer to a repair whose job a worker ends like this, while the call waits for it."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(api.post, "/containers/game/repair")
        job = eventually(
            lambda: dispatched[-1] if dispatched[-1].kind == "repair" else None, within_seconds=20, what="the job"
        )
        offered.containers.write("game", offered.jobs.claim(job.job_id, "worker"), **ending)
        return call.result(60)


def test_a_repair_tells_what_was_done(api: Api, offered: Services, worker: Worker, dispatched: list[Job]) -> None:
    worker.install("game")
    found = {"repaired": ["The engine had no container; it was made again."], "remaining": []}
    answer = repaired(api, offered, dispatched, finish="done", result=found)
    told = {"message": "Container repaired", "internal_id": "game", "job_id": dispatched[-1].job_id, **found}
    assert (answer.status_code, answer.json) == (200, told)
    assert api.get(f"/jobs/{dispatched[-1].job_id}").json["result"] == found


def test_a_repair_that_takes_long_answers_with_its_job(
    api: Api, worker: Worker, dispatched: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.install("game")
    monkeypatch.setattr(repair, "PATIENCE_SECONDS", 0.05)
    answer = api.post("/containers/game/repair")
    told = {"message": "Container repair started", "internal_id": "game", "job_id": dispatched[-1].job_id}
    assert (answer.status_code, answer.json) == (202, {**told, "state": "running"})
    assert (dispatched[-1].kind, dispatched[-1].queue) == ("repair", "quick")


def test_a_repair_that_failed_says_why(api: Api, offered: Services, worker: Worker, dispatched: list[Job]) -> None:
    worker.install("game")
    answer = repaired(api, offered, dispatched, finish="failed", error="The image is lost.")
    assert (answer.status_code, answer.json["code"]) == (409, "repair_failed")
    assert answer.json["error"] == "The repair failed: The image is lost."
    assert offered.containers.get("game").state is State.READY


def test_a_repair_while_it_installs_is_409(api: Api) -> None:
    assert api.post("/containers/game/repair").status_code == 409
