"""Changing a container without an install: its record, its limits, and a line for its process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.containers import resources
from app.services import Services
from fleet.errors import Conflict, EngineUnavailable, LightdError
from fleet.models import Job, Volume
from fleet.orders import Orders
from fleet.stats import LastStats, Report, Stats
from fleet.stats_series import Point
from tests.app.conftest import GIB, NODE, VOLUME, Api
from tests.app.worker import Worker

PATTERN = "Done"


@pytest.fixture(autouse=True)
def game(api: Api, volume: Volume, worker: Worker) -> None:
    """A container that is ready, and one that installs."""
    for name in ("game", "young"):
        body = {"internal_id": name, "image": "ubuntu:22.04", "volume_id": VOLUME, "startup_command": "./run"}
        assert api.post("/containers", {**body, "env": {"A": "1"}, "start_pattern": PATTERN}).status_code == 200
    worker.install("game")


@contextmanager
def agent(offered: Services, answer: LightdError | None = None) -> Iterator[list[dict[str, Any]]]:
    """Somebody on the host who answers one order."""
    taken: list[dict[str, Any]] = []
    orders = Orders(offered.stores.record, offered.stores.blocking)

    def obey() -> None:
        order = orders.next(NODE, 20)
        assert order is not None
        taken.append(order)
        orders.answer(order["reply"], answer)

    thread = threading.Thread(target=obey, daemon=True)
    thread.start()
    yield taken
    thread.join(60)
    assert not thread.is_alive()


def quick_worker(offered: Services, monkeypatch: pytest.MonkeyPatch, state: str, **more: Any) -> None:
    """Let a worker end the next job that is waited for."""
    wait = type(offered.jobs).wait

    def done(jobs: Any, job_id: str, seconds: float) -> Job:
        jobs.finish(jobs.claim(job_id, "worker"), state, **more)
        return wait(jobs, job_id, seconds)

    monkeypatch.setattr(type(offered.jobs), "wait", done)


def test_what_is_named_changes_and_the_rest_stays(api: Api) -> None:
    before = api.get("/containers/game").json
    changes = {
        "startup_command": "./run --fast",
        "env": {"B": "2"},
        "labels": {"team": "red"},
        "stop_command": "quit\n",
        "stop_signal": "int",
        "stop_timeout": 7,
        "install_timeout": 60,
        "pull_policy": "always",
    }
    answer = api.call("PATCH", "/containers/game", changes)
    assert answer.status_code == 200
    told = {**changes, "stop_command": "quit", "stop_signal": "SIGINT", "restart_needed": False}
    assert {name: answer.json[name] for name in told} == told
    assert answer.json["start_pattern"] == PATTERN
    after = api.get("/containers/game").json
    assert after == answer.json
    assert {name for name in after if after[name] != before[name]} - {"updated_at"} == told.keys() - {"restart_needed"}
    assert [found["internal_id"] for found in api.get("/containers?label=team=red").json["containers"]] == ["game"]


def test_a_change_stands_in_its_history(api: Api) -> None:
    api.call("PATCH", "/containers/game", {"labels": {}, "env": {"SECRET": "x"}})
    newest = api.get("/containers/game/events").json["events"][0]
    assert (newest["event"], newest["data"]) == ("changed", {"fields": ["env", "labels"]})


def test_a_policy_changes_too_and_no_policy_cancels_a_start_that_is_due(
    api: Api, offered: Services, worker: Worker
) -> None:
    for policy, shown in (
        ({"policy": "on-crash", "max_tries": 3}, {"policy": "on-crash", "max_tries": 3}),
        ("always", {"policy": "always", "max_tries": None}),
    ):
        assert api.call("PATCH", "/containers/game", {"restart_policy": policy}).json["restart_policy"] == shown
    api.post("/containers/game/start")
    worker.exit("game", worker.start("game"), 1)
    assert api.get("/containers/game").json["restart_at"] is not None
    after = api.call("PATCH", "/containers/game", {"restart_policy": None}).json
    assert (after["restart_policy"]["policy"], after["restart_at"]) == ("no", None)


def test_null_is_what_it_is_when_nobody_says_anything(api: Api) -> None:
    names = ("start_pattern", "env", "labels", "stop_command", "stop_signal", "stop_timeout", "pull_policy")
    usual = dict.fromkeys((*names, "install_timeout"))
    api.call("PATCH", "/containers/game", {"stop_signal": "INT", "stop_timeout": 1, "labels": {"a": "b"}})
    answer = api.call("PATCH", "/containers/game", usual)
    assert [answer.json[name] for name in names] == [None, {}, {}, None, "SIGTERM", 30, "if-missing"]


def test_nothing_to_change_changes_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    before = api.get("/containers/game").json
    monkeypatch.setattr("time.time", lambda: before["updated_at"] + 60)
    assert api.call("PATCH", "/containers/game", {}).json == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("startup_command", None),
        ("startup_command", ""),
        ("start_pattern", "Done ("),
        ("env", {"A": 1}),
        ("labels", {"lightd.id": "x"}),
        ("stop_signal", "SIGNOTHING"),
        ("stop_timeout", -1),
        ("pull_policy", "never"),
        ("image", "other"),
        ("limits", {"pids": 1}),
        ("internal_id", "other"),
    ],
)
def test_a_bad_change_names_its_field_and_changes_nothing(api: Api, field: str, value: Any) -> None:
    before = api.get("/containers/game").json
    answer = api.call("PATCH", "/containers/game", {"stop_timeout": 9, field: value})
    assert (answer.status_code, [name.split(".")[0] for name in answer.json["fields"]]) == (400, [field])
    assert api.get("/containers/game").json == before


@pytest.mark.parametrize(("method", "path", "body"), [("PATCH", "", {"env": {}}), ("POST", "/resources", {"pids": 50})])
def test_what_installs_or_goes_cannot_be_changed(api: Api, method: str, path: str, body: Any) -> None:
    answer = api.call(method, f"/containers/young{path}", body)
    assert (answer.status_code, answer.json["code"]) == (409, "action_not_allowed")
    assert "installing" in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"memory": 9 * GIB}, "memory"),
        ({"cpu": 5}, "cpu"),
        ({"pids": 0}, "pids"),
        ({"pids": None}, "pids"),
        ({"memory": 1024}, "memory"),
        ({"disk": 1}, "disk"),
    ],
)
def test_limits_that_cannot_be_are_refused(api: Api, dispatched: list[Job], body: Any, field: str) -> None:
    before = len(dispatched)
    answer = api.post("/containers/game/resources", body)
    assert (answer.status_code, list(answer.json["fields"])) == (400, [field])
    assert len(dispatched) == before


def test_new_limits_are_a_job_of_the_host(
    api: Api, offered: Services, dispatched: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_worker(offered, monkeypatch, "done")
    answer = api.post("/containers/game/resources", {"memory": GIB // 2, "io_weight": None})
    assert answer.status_code == 200, answer.json
    job = dispatched[-1]
    assert (job.kind, job.queue, job.arguments) == (
        "resources",
        "quick",
        {"memory_bytes": GIB // 2, "io_weight": None},
    )
    assert (answer.json["message"], answer.json["job_id"]) == ("Limits changed", job.job_id)
    assert api.get("/containers/game").json["job_id"] != job.job_id


def test_a_refusal_of_the_host_is_answered_as_such(
    api: Api, offered: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "The container uses 99 bytes of memory now."
    quick_worker(offered, monkeypatch, "failed", error=told, result={"status": 409, "code": "below_use"})
    answer = api.post("/containers/game/resources", {"pids": 50})
    assert (answer.status_code, answer.json["error"], answer.json["code"]) == (409, told, "below_use")


def test_a_silent_host_is_named_with_the_job_that_it_still_has(
    api: Api, dispatched: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_PATIENCE_SECONDS", 0.05)
    answer = api.post("/containers/game/resources", {"pids": 50})
    assert (answer.status_code, answer.json["code"]) == (504, "node_timeout")
    assert NODE in answer.json["error"] and dispatched[-1].job_id in answer.json["error"]
    assert api.get(f"/jobs/{dispatched[-1].job_id}").json["state"] == "queued"


def test_the_same_limits_asked_for_again_meanwhile_are_the_same_job(
    api: Api, dispatched: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_PATIENCE_SECONDS", 0.05)
    before = len(dispatched)
    first, again = (api.post("/containers/game/resources", {"pids": 50, "cpu": 1}) for _ in range(2))
    (job,) = dispatched[before:]
    assert first.json["error"] == again.json["error"]
    assert api.get(f"/jobs/{job.job_id}").json["state"] == "queued"


def test_who_asked_for_limits_that_others_took_the_place_of_is_told_so(
    api: Api, offered: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_worker(offered, monkeypatch, "cancelled", error="Another action took its place.")
    answer = api.post("/containers/game/resources", {"pids": 50})
    assert answer.status_code == 409
    assert answer.json["error"] == "Other limits were asked for before these were set; look what holds now."


def test_resources_of_what_does_not_run_are_its_limits(api: Api) -> None:
    limits = {"memory": GIB, "cpu": 1.0, "swap": 0, "pids": 512, "io_weight": None}
    assert api.get("/containers/game/resources").json == {"internal_id": "game", "limits": limits, "usage": None}


def test_use_is_that_of_the_run_that_goes_on(api: Api, offered: Services, worker: Worker) -> None:
    api.post("/containers/game/start")
    run = worker.start("game")
    stats = Stats(50.0, 5, GIB, 0, 0, 0, 0, pids=2, disk_used_bytes=None)
    second = Point(int(time.time()), 0, 0, 0, 0, 0, 0, 0, None)
    offered.stats.write([Report("game", LastStats(run, 0, stats), second, is_news=True, renews=True)])
    assert api.get("/containers/game/resources").json["usage"] == {"memory": 5, "cpu": 50.0, "pids": 2}
    worker.exit("game", run)
    assert api.get("/containers/game/resources").json["usage"] is None


def test_a_command_is_written_as_one_line(api: Api, offered: Services, worker: Worker) -> None:
    api.post("/containers/game/start")
    worker.start("game")
    with agent(offered) as taken:
        answer = api.post("/containers/game/command", {"command": "say hi"})
    assert (answer.status_code, answer.json) == (200, {"message": "Command sent", "internal_id": "game"})
    assert (taken[0]["input"], taken[0]["data"]) == ("game", "say hi\n")


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Conflict("The container is not accepting input.", code="not_accepting_input"), 409, "not_accepting_input"),
        (EngineUnavailable("The engine does not answer; see that it runs."), 503, "engine_unavailable"),
    ],
)
def test_a_command_that_was_not_taken_says_why(
    api: Api, offered: Services, worker: Worker, reason: LightdError, status: int, code: str
) -> None:
    api.post("/containers/game/start")
    worker.start("game")
    with agent(offered, reason):
        answer = api.post("/containers/game/command", {"command": "say hi"})
    assert (answer.status_code, answer.json["code"], answer.json["error"]) == (status, code, reason.message)
    assert ("Retry-After" in answer.headers) == (status == 503)


@pytest.mark.parametrize("body", [{}, {"command": 1}, {"command": "two\nlines"}, {"command": "\x03"}])
def test_a_bad_command_is_refused(api: Api, body: Any) -> None:
    assert api.post("/containers/game/command", body).status_code == 400


def test_nobody_listens_in_a_container_that_does_not_run(api: Api) -> None:
    answer = api.post("/containers/game/command", {"command": "say hi"})
    assert (answer.status_code, answer.json["code"]) == (409, "action_not_allowed")
    assert "ready" in answer.json["error"]
