"""What a narrowed token hears and may ask for over a socket."""

from __future__ import annotations

import pytest

from fleet import messages
from tests.sockets.conftest import Api
from tests.sockets.test_handshake import refused
from tests.sockets.test_requests import agent
from tests.sockets.test_stats import Sampled
from tests.support.deadline import eventually


def token(api: Api, *scopes: str, containers: tuple[str, ...] = ()) -> str:
    """A token that is narrowed to these."""
    return api.tokens.issue(60, scopes=scopes, containers=containers)[0]


def test_a_containers_token_opens_no_other_containers_socket(api: Api, name: str) -> None:
    secret = token(api, containers=(name,))
    api.create(name)
    with api.socket(name, token=secret) as socket:
        socket.wait_for_state("running")
    answer = refused(api.url(f"{name}-other", token=secret))
    assert (answer.status_code, answer.json()["code"]) == (403, "out_of_reach")
    with api.socket(f"{name}-other", token="") as socket:
        socket.send({"event": "auth", "token": secret})
        assert socket.wait_closed() == 4403
        assert socket.events == []


def test_a_token_for_files_alone_opens_no_socket(api: Api, name: str) -> None:
    answer = refused(api.url(name, token=token(api, "files")))
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert answer.json()["error"] == "This token lacks the scope read or console or command or power."


@pytest.mark.parametrize(
    ("scope", "hears_console", "hears_stats"),
    [("read", False, True), ("console", True, False), ("power", False, False), ("admin", True, True)],
)
def test_a_scope_says_what_is_heard(api: Api, name: str, scope: str, hears_console: bool, hears_stats: bool) -> None:
    api.create(name)
    with api.socket(name) as everything, api.socket(name, token=token(api, scope), duplicate=1) as narrowed:
        for socket in (everything, narrowed):
            socket.wait_for_state("running")
        Sampled(api, name).report(1)
        api.print(name, "for some")
        everything.wait_for_console("for some")
        everything.wait_for(lambda event: event["event"] == "stats")
        if hears_stats:
            narrowed.wait_for(lambda event: event["event"] == "stats")
        if hears_console:
            narrowed.wait_for_console("for some")
        api.containers.tell(name, messages.daemon("for all"))
        narrowed.wait_for(lambda event: event.get("data") == "for all")
        kinds = {event["event"] for event in narrowed.events}
        assert ("console" in kinds, "console duplicate" in kinds, "stats" in kinds) == (
            hears_console,
            hears_console,
            hears_stats,
        )


@pytest.mark.parametrize(
    ("scope", "request_", "missing"),
    [
        ("read", {"event": "send_command", "command": "say hi"}, "command"),
        ("command", {"event": "power", "action": "kill"}, "power"),
        ("power", {"event": "request_logs"}, "console"),
    ],
)
def test_what_a_scope_forbids_is_told_and_the_socket_stays(
    api: Api, name: str, scope: str, request_: dict[str, str], missing: str
) -> None:
    api.create(name)
    with agent(api, lambda _: "") as taken, api.socket(name, token=token(api, scope)) as socket:
        socket.wait_for_state("running")
        for _ in range(2):
            start = len(socket.events)
            socket.send(request_)
            told = socket.wait_for(lambda event: event["event"] == "daemon_message", start=start)
            assert told["data"] == f"Error: This token lacks the scope {missing}."
        assert taken == []


def test_a_scope_allows_what_it_names(api: Api, name: str) -> None:
    api.create(name)
    with agent(api, lambda _: "") as taken, api.socket(name, token=token(api, "command")) as socket:
        socket.wait_for_state("running")
        socket.send({"event": "send_command", "command": "say hi"})
        eventually(lambda: taken, within_seconds=10, what="the command")
        assert [order["data"] for order in taken] == ["say hi\n"]
