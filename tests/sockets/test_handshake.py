"""Who gets a WebSocket, and how the others are told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from flask import Request
from werkzeug.test import EnvironBuilder

from app.client_address import asked_host
from app.sockets.origin import is_allowed
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
    answer = requests.get(url.replace("ws:", "http:"), headers={**UPGRADE, **(headers or {})}, timeout=60)
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


@pytest.mark.parametrize("many", [False, True])
def test_a_single_use_token_is_used_up_in_whatever_form_it_comes(api: Api, name: str, many: bool) -> None:
    address = f"ws://{api.address}/ws" if many else f"ws://{api.address}/ws/{name}"
    by_header, by_message = (api.tokens.issue(60, remove_on_use=True)[0] for _ in range(2))
    with (
        EventSocket(address, headers=[f"Authorization: Bearer {by_header}"]) as first,
        EventSocket(address) as second,
    ):
        second.send({"event": "auth", "token": by_message})
        for socket in (first, second):
            socket.send({"event": "nonsense"})
            socket.wait_for(lambda event: "Unknown event" in str(event.get("data")))
        for used in (by_header, by_message):
            assert refused(f"{address}?token={used}").status_code == 401
            assert refused(address, {"Authorization": f"Bearer {used}"}).status_code == 401
            with EventSocket(address) as third:
                third.send({"event": "auth", "token": used})
                assert third.wait_closed() == 4401


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
def test_a_broken_handshake_gets_400_and_holds_no_place(api: Api, name: str, spoiled: dict[str, str | None]) -> None:
    answer = refused(api.url(name), spoiled)
    eventually(lambda: f"container:{name}" not in api.places(), within_seconds=10, what="a free place")
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_handshake"


@pytest.mark.parametrize("header", ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"])
@pytest.mark.parametrize("offer", ["chat", "chät", "a,,b; =", '"'])
def test_what_a_client_offers_besides_is_left_aside(api: Api, name: str, header: str, offer: str) -> None:
    with EventSocket(api.url(name), headers=[f"{header}: {offer}"]) as socket:
        socket.wait_for(lambda event: "Container not found" in event["data"])


def test_a_plain_get_is_told_to_open_a_socket(api: Api, name: str) -> None:
    headers = {"Authorization": f"Bearer {api.token}", "Accept": "Application/vnd.pkglatv1+json"}
    answer = requests.get(f"http://{api.address}/ws/{name}", headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_handshake")
    assert answer.json()["error"] == "This is a WebSocket: connect to it with ws:// or wss://."


def test_tokens_in_urls_are_never_logged(api: Api, name: str) -> None:
    secret = "lightd_do-not-log-this-one"
    refused(api.url(name, token=secret))
    with api.socket(name) as socket:
        socket.wait_for(lambda event: event["event"] == "daemon_message")
    assert secret not in api.log()
    assert api.token not in api.log()


@pytest.fixture
def small_api(folder: Path) -> Iterator[Api]:
    """An API that takes four sockets, three for a container, two for a token, and pages of one other host."""
    yield from running_api(
        folder,
        LIGHTD_SOCKET_LIMIT="4",
        LIGHTD_SOCKETS_PER_CONTAINER="3",
        LIGHTD_SOCKETS_PER_TOKEN="2",
        LIGHTD_SOCKET_ORIGINS="https://panel.example.com",
    )


def test_at_the_limits_sockets_are_refused_and_rest_goes_on(small_api: Api) -> None:
    secrets = [small_api.tokens.issue(600)[0] for _ in range(3)]
    once, _ = small_api.tokens.issue(600, remove_on_use=True)

    def told(container_id: str, token: str) -> tuple[int, str, bool]:
        answer = refused(small_api.url(container_id, token=token))
        body = answer.json()
        assert body["code"] == "socket_limit"
        assert requests.get(f"http://{small_api.address}/healthz", timeout=60).ok
        return answer.status_code, body["error"].partition(" has its")[0], int(answer.headers["retry-after"]) > 0

    with ExitStack() as opened:
        sockets = [opened.enter_context(small_api.socket("a", token=secrets[0])) for _ in range(2)]
        eventually(lambda: small_api.held()["clients"] == 2, within_seconds=10, what="two sockets")
        assert told("b", secrets[0]) == (429, "This token", True)
        with small_api.socket("a", token="") as late:
            late.send({"event": "auth", "token": secrets[0]})
            assert late.wait_closed() == 1013
        eventually(lambda: small_api.held()["clients"] == 2, within_seconds=10, what="the end of the third")
        sockets.append(opened.enter_context(small_api.socket("a", token=secrets[1])))
        eventually(lambda: small_api.held()["clients"] == 3, within_seconds=10, what="three sockets")
        assert told("a", secrets[2]) == (429, "Container a", True)
        assert told("a", once) == (429, "Container a", True)
        opened.enter_context(small_api.socket("b", token=once))  # the refusal has not used it up
        eventually(lambda: small_api.held()["clients"] == 4, within_seconds=10, what="four sockets")
        assert told("c", secrets[2]) == (503, "Lightd", True)
        sockets[0].close()
        eventually(lambda: small_api.held()["clients"] == 3, within_seconds=10, what="a free place")
        opened.enter_context(small_api.socket("a", token=secrets[0]))


def test_pages_of_other_hosts_open_no_sockets_unless_they_are_named(small_api: Api) -> None:
    answer = refused(small_api.url("a"), {"Origin": "https://elsewhere.example.com"})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert "https://elsewhere.example.com" in answer.json()["error"]
    own = [{"origin": f"{scheme}://{small_api.address}"} for scheme in ("http", "https")]
    for options in (*own, {"origin": "https://panel.example.com"}, {"suppress_origin": True}):
        with EventSocket(small_api.url("a"), **options) as socket:
            socket.wait_for(lambda event: event["event"] == "daemon_message")


@pytest.mark.parametrize(("proxy", "asked"), [("10.0.0.1", "a.example"), ("10.0.0.2", "inner")])
def test_a_trusted_proxy_says_which_host_was_asked_for(proxy: str, asked: str) -> None:
    headers = {"Host": "inner", "X-Forwarded-Host": "forged.example, a.example"}
    request = Request(EnvironBuilder(headers=headers, environ_base={"REMOTE_ADDR": proxy}).get_environ())
    assert asked_host(request, ["10.0.0.1/32"]) == asked


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("https://a.example", "a.example", True),
        ("http://A.example:80", "a.example", True),
        ("https://a.example", "a.example:443", True),
        ("http://[::1]:8070", "[::1]:8070", True),
        ("http://a.example", "a.example:8070", False),
        ("http://a.example:8070", "a.example", False),
        ("http://a.example.evil.example", "a.example", False),
        ("http://evil.example/a.example", "a.example", False),
        ("http://a.example@evil.example", "a.example", False),
        ("null", "a.example", False),
        ("", "", False),
        ("file://", "a.example", False),
        ("http://a.example:x", "a.example", False),
        ("HTTPS://Panel.example", "a.example", True),
        ("http://panel.example", "a.example", False),
    ],
)
def test_an_origin_is_a_whole_host_with_its_port(origin: str, host: str, allowed: bool) -> None:
    assert is_allowed(origin, host, ["https://panel.example/"]) is allowed
