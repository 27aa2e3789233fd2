"""Two actions on one container: the same one is the same job, a contradictory one is refused, a stronger one wins."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.containers import deletion, repair
from app.services import Services
from fleet.models import Port, Volume
from tests.app.conftest import VOLUME, Api
from tests.app.worker import Worker

ACTIONS = ("start", "stop", "kill", "restart", "reinstall", "rebind-network", "repair", "delete")
SAME, OTHER = "same job", "job of its own"
FIRST_PORT = 26000


def only(**outcomes: Any) -> dict[str, Any]:
    """What is not named is 409, deleting is always possible."""
    return {name: outcomes.get(name.partition("-")[0], 409) for name in ACTIONS} | {
        "delete": outcomes.get("delete", OTHER)
    }


UNDER_WAY = {
    ("installing", "install"): only(kill=OTHER, rebind=400),
    ("ready", "start"): only(start=SAME, stop=OTHER, kill=OTHER, restart=OTHER),
    ("ready", "restart"): only(stop=OTHER, kill=OTHER, restart=SAME),
    ("ready", "reinstall"): only(kill=OTHER, reinstall=SAME, rebind=400),
    ("ready", "rebind-network"): only(rebind=SAME),
    ("ready", "repair"): only(repair=SAME),
    ("ready", "delete"): only(delete=SAME),
    ("running", "stop"): only(stop=SAME, kill=OTHER),
    ("running", "kill"): only(kill=SAME),
    ("running", "restart"): only(kill=OTHER, restart=SAME),
    ("running", "rebind-network"): only(kill=OTHER, rebind=SAME),
    ("running", "repair"): only(kill=OTHER, repair=SAME),
    ("running", "delete"): only(delete=SAME),
    ("failed", "reinstall"): only(kill=OTHER, reinstall=SAME, rebind=400),
    ("failed", "rebind-network"): only(rebind=SAME),
    ("failed", "repair"): only(repair=SAME),
    ("failed", "delete"): only(delete=SAME),
}
"""State before, action under way: what comes of each further action."""


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that wait for the end of their job answer with the job at once: no worker is there."""
    for module in (deletion, repair):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)


def in_state(api: Api, worker: Worker, name: str, state: str) -> str:
    """A container in this state; the id of its install's job."""
    body = {"internal_id": name, "image": "debian:12", "volume_id": VOLUME, "startup_command": "./run"}
    job_id: str = api.post("/containers", body).json["job_id"]
    if state != "installing":
        worker.install(name, error="It failed." if state == "failed" else None)
    if state == "running":
        api.post(f"/containers/{name}/start")
        worker.start(name)
    assert api.get(f"/containers/{name}").json["state"] == state
    return job_id


def ask(api: Api, name: str, action: str) -> TestResponse:
    if action == "delete":
        return api.delete(f"/containers/{name}")
    port = {"ip": "0.0.0.0", "port": FIRST_PORT + ACTIONS.index(name)}
    return api.post(f"/containers/{name}/{action}", {"ports": [port]} if action == "rebind-network" else None)


@pytest.mark.parametrize(("state", "first"), UNDER_WAY, ids=lambda part: str(part))
def test_what_comes_of_every_action_while_another_is_under_way(
    api: Api, offered: Services, volume: Volume, worker: Worker, state: str, first: str
) -> None:
    offered.ports.add([Port("0.0.0.0", FIRST_PORT + number, "tcp", "", "", False) for number in range(len(ACTIONS))])
    seen: dict[str, Any] = {}
    for second in ACTIONS:  # each on a container of its own, which is called like it
        job_id = in_state(api, worker, second, state)
        if first != "install":
            begun = ask(api, second, first)
            assert begun.status_code in (200, 202), begun.text
            job_id = begun.json["job_id"]
        answer = ask(api, second, second)
        if answer.status_code in (200, 202):
            seen[second] = SAME if answer.json["job_id"] == job_id else OTHER
        else:
            seen[second] = answer.status_code
    assert seen == UNDER_WAY[state, first]
