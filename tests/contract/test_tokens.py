"""Tokens: made, used up, expired, revoked, never shown again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import websocket

from tests.support.answers import Answer, accepted, refused
from tests.support.at_once import at_once
from tests.support.deadline import eventually
from tests.support.event_socket import EventSocket
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def make(stack: Stack, **body: Any) -> Answer:
    return accepted(stack.api("POST", "/auth/tokens", json={"ttl": "1h", **body}))


def status_of(stack: Stack, token: str) -> int:
    return stack.api("GET", "/volumes", token=token).status_code


def lifetime_seconds(made: Answer) -> float:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", made["expires_at"])
    return (datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)).total_seconds()


@pytest.fixture
def master(stack: Stack) -> Iterator[str]:
    """The master token, which is the same again after the test."""
    before = stack.token
    yield before
    stack.lightd("token", "set", before)
    stack.token = before
    assert status_of(stack, before) == 200


@pytest.mark.parametrize(("ttl", "seconds"), [("30s", 30), ("5m", 300), ("1h", 3600), ("365d", 365 * 86400)])
def test_a_token_lives_as_long_as_asked(stack: Stack, ttl: str, seconds: int) -> None:
    made = make(stack, ttl=ttl, remove_on_use=False)
    assert {"token", "expires_at", "id"} <= made.keys()
    assert re.fullmatch(r"lightd_[A-Za-z0-9_-]{13,}", made["token"])
    assert lifetime_seconds(made) == pytest.approx(seconds, abs=5)
    assert status_of(stack, made["token"]) == 200


@pytest.mark.parametrize(
    "ttl", ["0s", "-1h", "366d", "8761h", "1w", "1", "h", "", "1h30m", "1.5h", " 1h", "1e9s", 60, None]
)
def test_a_lifetime_of_another_form_or_length_is_refused(stack: Stack, ttl: object) -> None:
    refused(stack.api("POST", "/auth/tokens", json={"ttl": ttl}), 400)


def test_a_lifetime_must_be_given(stack: Stack) -> None:
    refused(stack.api("POST", "/auth/tokens", json={}), 400)


def test_only_the_master_makes_tokens(stack: Stack) -> None:
    token = make(stack)["token"]
    refused(stack.api("POST", "/auth/tokens", json={"ttl": "1h"}, token=token), 403)


def test_a_token_ends_at_its_time(stack: Stack) -> None:
    token = make(stack, ttl="1s")["token"]
    eventually(lambda: status_of(stack, token) == 401, within_seconds=3, what="the token's end")


def test_the_list_shows_ids_and_expiry_and_no_secret(stack: Stack) -> None:
    made = make(stack)
    answer = stack.api("GET", "/auth/tokens")
    listed = {token["id"]: token for token in accepted(answer)["tokens"]}
    assert listed[made["id"]]["expires_at"] == made["expires_at"]
    assert made["token"].removeprefix("lightd_") not in answer.text
    assert stack.token.removeprefix("lightd_") not in answer.text


def test_a_revoked_token_is_dead_at_once(stack: Stack) -> None:
    made = make(stack)
    assert stack.api("DELETE", f"/auth/tokens/{made['id']}").status_code in (200, 204)
    assert status_of(stack, made["token"]) == 401
    assert made["id"] not in stack.api("GET", "/auth/tokens").text
    refused(stack.api("DELETE", f"/auth/tokens/{made['id']}"), 404)


def test_a_single_use_token_works_once(stack: Stack) -> None:
    token = make(stack, remove_on_use=True)["token"]
    assert [status_of(stack, token) for _ in range(3)] == [200, 401, 401]


def test_of_ten_simultaneous_uses_of_a_single_use_token_exactly_one_wins(stack: Stack) -> None:
    token = make(stack, remove_on_use=True)["token"]
    statuses = at_once([partial(status_of, stack, token)] * 10)
    assert sorted(statuses) == [200] + [401] * 9


def test_a_single_use_token_opens_one_socket_which_lives_until_expiry(stack: Stack, servers: Servers) -> None:
    container = servers.run()
    token = make(stack, ttl="9s", remove_on_use=True)["token"]
    began = time.monotonic()
    with stack.socket(container, token=token) as events:
        with pytest.raises(websocket.WebSocketBadStatusException) as second:
            EventSocket(f"ws://{stack.address}/ws/{container}?token={token}")
        assert second.value.status_code == 401
        events.send({"event": "send_command", "command": "still here"})
        events.wait_for_console("got still here")
        assert events.wait_closed(15) == 4401
    assert time.monotonic() - began >= 8


def test_revocation_closes_the_sockets_of_that_token_within_five_seconds_and_no_others(
    stack: Stack, servers: Servers
) -> None:
    container = servers.run()
    made = make(stack)
    with stack.socket(container) as other, stack.socket(container, token=made["token"]) as events:
        events.wait_for_state("running")
        stack.api("DELETE", f"/auth/tokens/{made['id']}")
        assert events.wait_closed(5) == 4401
        other.send({"event": "send_command", "command": "hello"})
        other.wait_for_console("got hello")


def test_the_master_token_is_shown_replaced_and_set_on_the_command_line(stack: Stack, master: str) -> None:
    assert stack.lightd("--token", "what").stdout.strip() == f"Current Token: {master}"
    assert stack.lightd("token", "what").stdout.strip() == f"Current Token: {master}"
    stack.lightd("--token", "reset")
    assert status_of(stack, master) == 401
    stack.token = stack.lightd("--token", "what").stdout.strip().removeprefix("Current Token: ")
    assert re.fullmatch(r"lightd_\S{13,}", stack.token)
    assert status_of(stack, stack.token) == 200
    chosen = "lightd_chosen-by-the-operator-1"
    stack.lightd("--token", "set", chosen)
    assert (status_of(stack, stack.token), status_of(stack, chosen)) == (401, 200)


@pytest.mark.parametrize(
    "bad", ["lightd_short", "no-prefix-but-long-enough-to-pass", "lightd_", "lightd_with a space 12345"]
)
def test_a_master_token_of_another_form_is_refused_with_one_sentence(stack: Stack, bad: str) -> None:
    done = stack.lightd("--token", "set", bad, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    assert (done.stdout + done.stderr).strip()
    assert status_of(stack, stack.token) == 200


def test_no_token_is_ever_logged(stack: Stack) -> None:
    made = make(stack)
    wrong = "lightd_a-wrong-token-somebody-tried"
    status_of(stack, made["token"])
    status_of(stack, wrong)
    with stack.socket("nobody", token=made["token"]) as events:
        events.wait_for(lambda event: event["event"] == "daemon_message")
    with pytest.raises(websocket.WebSocketBadStatusException):
        stack.socket("nobody", token=wrong)
    logged = b"".join(path.read_bytes() for path in stack.data.rglob("*.log"))
    for secret in (made["token"], wrong, stack.token):
        assert secret.removeprefix("lightd_").encode() not in logged
