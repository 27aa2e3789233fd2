"""`Idempotency-Key`: the same call twice is done once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import Any

import pytest
import redis
from flask import Flask, g
from werkzeug.test import TestResponse

from app import create_app
from app.idempotency import HEADER, REPLAYED
from app.services import Services
from fleet.errors import StillRunning
from fleet.models import Job, Volume
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.idempotency import LONGEST_KEPT, Claimed, Idempotency
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from fleet.store import Client, connect
from tests.app.conftest import VOLUME, Api
from tests.app.worker import Worker
from tests.support.at_once import at_once

PORT = {"ip": "127.0.0.1", "port": 4000}
SERVER = {"internal_id": "game", "image": "debian:12", "volume_id": VOLUME, "startup_command": "./run"}
SAME_CALL_SECONDS = 24 * 3600


class ProcessDied(BaseException):
    """What no handler catches, as if the process was gone."""


def send(api: Api, path: str, body: Any, key: str = "k1", **more: Any) -> TestResponse:
    return api.post(path, body, headers={HEADER: key}, **more)


def let_leases_run_out(store: Client) -> None:
    """Make it look as if all calls under way had died some time ago."""
    store.delete(*store.keys("lightd:idempotency_lease:*"))


@pytest.fixture
def dying(settings: Settings, api: Api, volume: Volume) -> Api:
    """The same API in a process that dies after a job was recorded, before it is answered."""

    def die(_job: Job) -> None:
        raise ProcessDied

    return Api(create_app(settings, connect(settings), die).test_client(), api.token)


def test_the_same_call_is_answered_with_its_first_answer(api: Api) -> None:
    first, second = send(api, "/network/ports", PORT), send(api, "/network/ports", PORT)
    assert (first.status_code, first.data) == (second.status_code, second.data)
    assert first.status_code == 200
    assert (first.headers.get(REPLAYED), second.headers.get(REPLAYED)) == (None, "true")
    assert api.post("/network/ports", PORT).status_code == 400


def test_a_container_is_created_once(api: Api, volume: Volume, dispatched: list[Job]) -> None:
    answers = [send(api, "/containers", SERVER).json for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(dispatched) == 1


def test_a_refusal_is_an_answer_too(api: Api) -> None:
    first = send(api, "/containers/nobody/start", None)
    assert (first.status_code, first.data) == (404, send(api, "/containers/nobody/start", None).data)


@pytest.mark.parametrize(
    ("path", "body"), [("/network/ports", {**PORT, "port": 4001}), ("/network/ports/bulk-delete", PORT)]
)
def test_another_request_under_the_same_key_is_a_conflict(api: Api, path: str, body: Any) -> None:
    send(api, "/network/ports", PORT)
    refused = send(api, path, body)
    assert (refused.status_code, refused.json["code"]) == (409, "idempotency_key_reused")
    assert api.get("/network/ports/127.0.0.1/4001").status_code == 404


def test_a_key_belongs_to_its_token(api: Api, offered: Services) -> None:
    send(api, "/network/ports", PORT)
    other = Api(api.client, offered.tokens.issue(60)[0])
    assert send(other, "/network/ports", {**PORT, "port": 4001}).status_code == 200


def test_a_key_is_kept_for_a_day(api: Api, store: Client) -> None:
    send(api, "/network/ports", PORT)
    (record,) = store.keys("lightd:idempotency:*")
    assert SAME_CALL_SECONDS - 60 < store.ttl(record) <= SAME_CALL_SECONDS


def test_neither_key_nor_body_nor_token_is_kept_in_the_store(api: Api, store: Client) -> None:
    send(api, "/network/ports", PORT, key="recognisable-key")
    (record,) = store.keys("lightd:idempotency:*")
    kept = f"{record} {store.hgetall(record)}"
    assert "recognisable" not in kept
    assert api.token.removeprefix("lightd_") not in kept


def test_a_body_that_broke_off_leaves_its_key_to_the_whole_one(api: Api) -> None:
    whole = json.dumps(PORT).encode()
    cut_off = {"wsgi.input": BytesIO(whole[:9]), "wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(whole))}
    headers = {HEADER: "k1", "Content-Type": "application/json"}
    broken = api.post("/network/ports", headers=headers, environ_overrides=cut_off)
    assert (broken.status_code, broken.json["code"]) == (400, "malformed_body")
    assert api.post("/network/ports", headers=headers, data=whole).status_code == 200


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "\xe9"])
def test_a_strange_key_is_refused(api: Api, key: str) -> None:
    refused = send(api, "/network/ports", PORT, key=key)
    assert (refused.status_code, refused.json["code"]) == (400, "invalid_idempotency_key")


def test_tokens_are_made_anew_each_time(api: Api) -> None:
    made = [send(api, "/auth/tokens", {"ttl": "1h"}).json["token"] for _ in range(2)]
    assert made[0] != made[1]


def test_only_posts_look_at_a_key(api: Api) -> None:
    assert [api.get("/volumes", headers={HEADER: "\xe9"}).status_code for _ in range(2)] == [200, 200]


def test_an_answer_that_says_try_again_is_not_kept(application: Flask, api: Api) -> None:
    statuses = iter([503, 429, 200, 500])
    application.add_url_rule("/try", "try", lambda: ({"by": g.request_id}, next(statuses)), methods=["POST"])
    answers = [send(api, "/try", None).status_code for _ in range(4)]
    assert answers == [503, 429, 200, 200]


def test_of_calls_at_the_same_time_one_is_done_and_all_get_its_answer(
    application: Flask, api: Api, volume: Volume, dispatched: list[Job]
) -> None:
    def call() -> TestResponse:
        return send(Api(application.test_client(), api.token), "/containers", SERVER)

    answers = at_once([partial(call) for _ in range(6)])
    assert {(answer.status_code, answer.data) for answer in answers} == {(200, answers[0].data)}
    assert len(dispatched) == 1


def test_a_first_call_that_takes_long_is_told_with_a_time_to_try_again(
    offered: Services, api: Api, dying: Api, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.idempotency._PATIENCE_SECONDS", 0.2)
    with pytest.raises(ProcessDied):
        send(dying, "/containers", SERVER)
    refused = send(api, "/containers", SERVER)
    assert (refused.status_code, refused.json["code"]) == (409, "idempotency_in_progress")
    assert refused.headers["Retry-After"] == "1"


def test_a_creation_whose_process_died_before_its_answer_is_answered_with_its_job(
    offered: Services, api: Api, dying: Api, store: Client
) -> None:
    with pytest.raises(ProcessDied):
        send(dying, "/containers", SERVER)
    let_leases_run_out(store)
    answer = send(api, "/containers", SERVER)
    job_id = offered.containers.get("game").job_id
    created = {"message": "Container creation started", "internal_id": "game", "state": "installing", "job_id": job_id}
    assert (answer.status_code, answer.json) == (200, created)


def test_a_creation_whose_process_died_before_it_did_anything_is_done(
    api: Api, volume: Volume, store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise ProcessDied

    with monkeypatch.context() as patched:
        patched.setattr(ContainerRepository, "create", die)
        with pytest.raises(ProcessDied):
            send(api, "/containers", SERVER)
    let_leases_run_out(store)
    assert send(api, "/containers", SERVER).json["message"] == "Container creation started"


def test_a_call_that_may_have_been_done_is_neither_repeated_nor_locked(
    api: Api, volume: Volume, store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise ProcessDied

    with monkeypatch.context() as patched:
        patched.setattr(VolumeRepository, "save", die)
        with pytest.raises(ProcessDied):
            send(api, "/volumes", {"size": 16})
    let_leases_run_out(store)
    refused = send(api, "/volumes", {"size": 16})
    assert (refused.status_code, refused.json["code"]) == (409, "idempotency_interrupted")


@pytest.fixture
def few_keys(settings: Settings, api: Api) -> Api:
    """The same API where a token may use two keys a day."""
    few = replace(settings, idempotency_keys=2)
    return Api(create_app(few, connect(few), lambda _job: None).test_client(), api.token)


def test_a_token_has_so_many_keys_and_no_more(few_keys: Api) -> None:
    for number in (1, 2):
        assert send(few_keys, "/network/ports", {**PORT, "port": number}, key=f"k{number}").status_code == 200
    refused = send(few_keys, "/network/ports", {**PORT, "port": 3}, key="k3")
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_idempotency_keys")
    assert 0 < int(refused.headers["Retry-After"]) <= SAME_CALL_SECONDS
    assert few_keys.get("/network/ports/127.0.0.1/3").status_code == 404, "nothing was done"
    assert send(few_keys, "/network/ports", {**PORT, "port": 1}, key="k1").headers[REPLAYED] == "true"
    other = few_keys.post("/auth/tokens", {"ttl": "1h"}).json["token"]
    assert send(Api(few_keys.client, other), "/network/ports", {**PORT, "port": 3}, key="k3").status_code == 200


def test_a_key_counts_no_more_when_it_is_forgotten_or_its_answer_is_not_kept(few_keys: Api, store: Client) -> None:
    few_keys.client.application.add_url_rule("/try", "try", lambda: ({}, 503), methods=["POST"])
    assert send(few_keys, "/try", None, key="k0").status_code == 503
    for number in (1, 2):
        send(few_keys, "/network/ports", {**PORT, "port": number}, key=f"k{number}")
    assert send(few_keys, "/network/ports", {**PORT, "port": 3}, key="k3").status_code == 429
    (keys,) = store.keys("lightd:idempotency_keys:*")
    oldest = store.zrange(keys, 0, 0)[0]
    store.zadd(keys, {oldest: 1})
    assert send(few_keys, "/network/ports", {**PORT, "port": 3}, key="k3").status_code == 200
    assert 0 < store.ttl(keys) <= SAME_CALL_SECONDS


def test_a_long_answer_is_not_kept_and_the_call_not_done_twice(
    api: Api, store: Client, application: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def answer_at_length(**_: Any) -> dict[str, str]:
        done.append("once")
        return {"message": "x" * LONGEST_KEPT}

    endpoint = next(rule.endpoint for rule in application.url_map.iter_rules() if rule.rule == "/network/ports/bulk")
    monkeypatch.setitem(application.view_functions, endpoint, answer_at_length)
    assert send(api, "/network/ports/bulk", {}).status_code == 200
    again = send(api, "/network/ports/bulk", {})
    assert (again.status_code, again.json["code"], done) == (409, "idempotent_answer_too_long", ["once"])
    (record,) = store.keys("lightd:idempotency:*")
    assert store.memory_usage(record) < LONGEST_KEPT


def test_a_long_refusal_takes_no_room(api: Api, store: Client) -> None:
    body = {f"unknown-{number}": 1 for number in range(2000)}
    assert send(api, "/network/ports", body).status_code == 400
    assert store.keys("lightd:idempotency:*") == []


@pytest.mark.parametrize("comes", ["before the next try", "during the next try", "after the next try"])
@pytest.mark.parametrize("done", [ContainerRepository.create, ContainerRepository.begin])
def test_what_a_store_that_hung_did_late_is_done_once_and_told_by_its_job(
    api: Api,
    volume: Volume,
    worker: Worker,
    store: Client,
    monkeypatch: pytest.MonkeyPatch,
    comes: str,
    done: Callable[..., str],
) -> None:
    path, body = ("/containers", SERVER) if done is ContainerRepository.create else ("/containers/ready/start", None)
    api.post("/containers", {**SERVER, "internal_id": "ready"})
    worker.install("ready")
    late: list[Callable[[], str]] = []

    def hang(*arguments: Any, **more: Any) -> str:
        late.append(partial(done, *arguments, **more))
        raise redis.TimeoutError("Timeout reading from socket")

    def overtake(*arguments: Any, **more: Any) -> str:
        late[0]()
        return done(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(ContainerRepository, done.__name__, hang)
        assert send(api, path, body).json["code"] == "store_unavailable"
    with monkeypatch.context() as patched:
        if comes == "before the next try":
            late[0]()
        elif comes == "during the next try":
            patched.setattr(ContainerRepository, done.__name__, overtake)
        again = send(api, path, body)
    assert again.status_code == 200
    if comes == "after the next try":
        if done is ContainerRepository.begin:
            worker.exit("ready", worker.start("ready"))
        assert late[0]() == again.json["job_id"]
    jobs = store.zrange(f"lightd:container_jobs:{again.json['internal_id']}", 0, -1)
    assert jobs.count(again.json["job_id"]) == 1
    assert send(api, path, body).json["job_id"] == again.json["job_id"]
    (record,) = store.keys("lightd:idempotency:*")
    assert 0 < store.ttl(record) <= SAME_CALL_SECONDS


def test_a_call_whose_store_failed_may_have_been_done(
    api: Api, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object) -> None:
        raise redis.TimeoutError("Timeout reading from socket")

    with monkeypatch.context() as patched:
        patched.setattr(VolumeRepository, "save", hang)
        assert send(api, "/volumes", {"size": 16}).status_code == 503
    refused = send(api, "/volumes", {"size": 16})
    assert (refused.status_code, refused.json["code"]) == (409, "idempotency_interrupted")


def test_what_a_store_that_hung_would_do_late_is_not_done_once_the_call_was_refused(
    api: Api, volume: Volume, offered: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[Callable[[], Job | str]] = []
    create = ContainerRepository.create

    def hang(*arguments: Any) -> Job | str:
        late.append(partial(create, *arguments))
        raise redis.TimeoutError("Timeout reading from socket")

    with monkeypatch.context() as patched:
        patched.setattr(ContainerRepository, "create", hang)
        assert send(api, "/containers", SERVER).status_code == 503
    api.post("/containers", SERVER)
    assert send(api, "/containers", SERVER).json["code"] == "container_exists"
    offered.containers.forget("game")
    with pytest.raises(StillRunning):
        late[0]()
    assert not offered.containers.exists("game")


@pytest.mark.parametrize("end", [Idempotency.release, Idempotency.doubt])
def test_the_late_end_of_a_call_does_not_end_the_next_one(
    offered: Services, store: Client, end: Callable[[Idempotency, str, str], None]
) -> None:
    records = offered.idempotency
    first = records.claim("name", "owner", "asked", repeatable=True)
    let_leases_run_out(store)
    second = records.claim("name", "owner", "asked", repeatable=True)
    assert isinstance(first, Claimed) and isinstance(second, Claimed)
    end(records, "name", first.number)
    with pytest.raises(StillRunning):
        records.claim("name", "owner", "asked", repeatable=True)
    end(records, "name", second.number)
    assert isinstance(records.claim("name", "owner", "asked", repeatable=True), Claimed)


def test_a_job_whose_key_was_forgotten_is_not_remembered_for_ever(
    api: Api, volume: Volume, store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a store that was emptied while the call was at work."""
    create = ContainerRepository.create

    def forget_first(*arguments: Any) -> Job | str:
        store.delete(*store.keys("lightd:idempotency:*"))
        return create(*arguments)

    monkeypatch.setattr(ContainerRepository, "create", forget_first)
    assert send(api, "/containers", SERVER).status_code == 200
    (record,) = store.keys("lightd:idempotency:*")
    assert 0 < store.ttl(record) <= SAME_CALL_SECONDS
