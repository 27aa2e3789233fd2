"""Who gets a WebSocket, and how the others are told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from tests.sockets.conftest import Api, running_api
from tests.support.deadline import eventually
from tests.support.event_socket import EventSocket

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def refused(url: str, headers: Mapping[str, str | None] | None = None) -> requests.Response:
    """The answer to a handshake that gets no WebSocket."""
    answer = requests.get(url.replace("ws:", "http:"), headers={**UPGRADE, **(headers or {})}, timeout=10)
    assert answer.status_code != 101
    return answer


def test_a_bad_token_gets_401_and_no_upgrade(api: Api, name: str) -> None:
    answer = refused(api.url(name, token="lightd_" + "x" * 20))
    body = answer.json()
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert body["error"] == "Missing or invalid authorization token"
    assert body["request_id"]


@pytest.mark.parametrize("header", ["Bearer lightd_wrong-wrong-wrong-wrong", "Bearer", "Basic bGlnaHRk", ""])
def test_a_bad_authorization_header_gets_401(api: Api, name: str, header: str) -> None:
    assert refused(f"ws://{api.address}/ws/{name}", {"Authorization": header}).status_code == 401


def test_an_empty_token_in_the_url_gets_401(api: Api, name: str) -> None:
    assert refused(f"ws://{api.address}/ws/{name}?token=").status_code == 401


def test_the_authorization_header_opens_a_socket(api: Api, name: str) -> None:
    api.create(name)
    with EventSocket(f"ws://{api.address}/ws/{name}", headers=[f"Authorization: Bearer {api.token}"]) as socket:
        socket.wait_for_state("running")


def test_the_first_message_may_bring_the_token(api: Api, name: str) -> None:
    api.create(name)
    with api.socket(name, token="") as socket:
        socket.send({"event": "auth", "token": api.token})
        socket.wait_for_state("running")


@pytest.mark.parametrize(
    "message",
    [
        '{"event": "auth", "token": "lightd_wrong-wrong-wrong"}',
        '{"event": "auth", "token": 5}',
        '{"event": "auth"}',
        '{"event": "power", "action": "kill"}',
    ],
)
def test_a_first_message_without_a_good_token_closes_with_4401(api: Api, name: str, message: str) -> None:
    with api.socket(name, token="") as socket:
        socket.send(message)
        assert socket.wait_closed() == 4401


def test_without_any_token_the_socket_is_closed_after_five_seconds(api: Api, name: str) -> None:
    began = time.monotonic()
    with api.socket(name, token="") as socket:
        assert socket.wait_closed() == 4401
    assert time.monotonic() - began > 4.5
    assert socket.events == []


def test_nothing_is_told_before_the_token_came(api: Api, name: str) -> None:
    api.create(name)
    with api.socket(name, token="") as waiting, api.socket(name) as authenticated:
        authenticated.wait_for_state("running")
        api.print(name, "secret")
        authenticated.wait_for_console("secret")
        assert waiting.events == []


def test_a_single_use_token_opens_one_socket_that_lives_on(api: Api, name: str) -> None:
    secret, _ = api.tokens.issue(60, remove_on_use=True)
    api.create(name)
    with api.socket(name, token=secret) as socket:
        socket.wait_for_state("running")
        assert refused(api.url(name, token=secret)).status_code == 401
        api.print(name, "still here")
        socket.wait_for_console("still here")


def test_an_unknown_container_is_told_and_followed_once_it_exists(api: Api, name: str) -> None:
    with api.socket(name) as socket:
        told = socket.wait_for(lambda event: event["event"] == "daemon_message")
        assert told["data"].startswith(f"Container not found: {name}")
        api.create(name)
        socket.wait_for_state("installing")
        api.print(name, "hello")
        socket.wait_for_console("hello")


@pytest.mark.parametrize("since", ["-1", "abc", "1.5", "99999999999999999999", "9" * 400])
def test_a_since_that_is_no_seq_gets_400(api: Api, name: str, since: str) -> None:
    answer = refused(api.url(name, since=since))
    assert answer.status_code == 400
    assert "since" in answer.json()["fields"]


@pytest.mark.parametrize("spoiled", [{"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Key": None}])
def test_a_broken_handshake_gets_400(api: Api, name: str, spoiled: dict[str, str | None]) -> None:
    answer = refused(api.url(name), spoiled)
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_handshake"


def test_a_plain_get_is_no_socket(api: Api, name: str) -> None:
    headers = {"Authorization": f"Bearer {api.token}", "Accept": "Application/vnd.pkglatv1+json"}
    answer = requests.get(f"http://{api.address}/ws/{name}", headers=headers, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_tokens_in_urls_are_never_logged(api: Api, name: str) -> None:
    secret = "lightd_do-not-log-this-one"
    refused(api.url(name, token=secret))
    with api.socket(name) as socket:
        socket.wait_for(lambda event: event["event"] == "daemon_message")
    assert secret not in api.log()
    assert api.token not in api.log()


@pytest.fixture
def small_api(folder: Path) -> Iterator[Api]:
    """An API that takes three sockets."""
    yield from running_api(folder, LIGHTD_SOCKET_LIMIT="3")


def test_at_the_limit_sockets_are_refused_and_rest_goes_on(small_api: Api) -> None:
    sockets = [small_api.socket("c") for _ in range(3)]
    answer = refused(small_api.url("c"))
    assert answer.status_code == 503
    assert answer.json()["code"] == "socket_limit"
    assert int(answer.headers["retry-after"]) > 0
    assert requests.get(f"http://{small_api.address}/healthz", timeout=2).ok
    sockets.pop().close()
    eventually(lambda: small_api.held()["clients"] == 2, within_seconds=5, what="a free place")
    with small_api.socket("c"):
        pass
    for socket in sockets:
        socket.close()
