"""One socket for many containers: what it is told, of which, and what it may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.sockets.notice import Notice
from fleet import messages
from fleet.lifecycle import Action, State
from fleet.repositories.jobs import new_job
from tests.sockets.conftest import NODE, Api, running_api
from tests.sockets.test_requests import agent
from tests.sockets.test_stats import Sampled
from tests.support.deadline import eventually
from tests.support.event_socket import Event, EventSocket


class Many(EventSocket):
    """A socket of many containers."""

    def __init__(self, api: Api, token: str | None = None) -> None:
        super().__init__(api.many_url(token))

    def subscribe(self, *containers: str, **more: Any) -> None:
        """Ask for containers; for none, for all there are."""
        self.send({"event": "subscribe", "containers": list(containers) or "*", **more})

    def of(self, server: str) -> list[Event]:
        """What came about one container so far."""
        return [event for event in self.events if event.get("server") == server]

    def wait_of(self, server: str, kind: str, data: str | None = None, *, start: int = 0) -> Event:
        """An event of one container, with this text in it."""
        return self.wait_for(
            lambda event: (
                event.get("server") == server
                and event["event"] == kind
                and (data is None or data in str(event.get("data")))
            ),
            start=start,
        )

    def wait_error(self, text: str) -> Event:
        """An error of this socket."""
        return self.wait_for(lambda event: text in str(event.get("data")) and event["data"].startswith("Error: "))


def delete(api: Api, name: str) -> None:
    """Remove a container's record, as the job of its deletion does."""
    container = api.containers.get(name)
    job = new_job(Action.DELETE.value, NODE, "quick", internal_id=name)
    api.containers.begin(container, Action.DELETE, job)
    api.containers.remove(name, api.claim(job.job_id))


def test_messages_of_all_that_was_asked_for_name_their_server(api: Api, name: str) -> None:
    a, b, c = (f"{name}-{letter}" for letter in "abc")
    for server in (a, b, c):
        api.create(server)
    with Many(api) as socket:
        socket.subscribe(a, b)
        for server in (a, b):
            socket.wait_of(server, "event", "running")
            Sampled(api, server).report(5)
            api.print(server, f"printed by {server}")
            api.containers.tell(server, messages.progress("j", "pull", 0.5))
            assert socket.wait_of(server, "console")["data"] == f"printed by {server}\n"
            assert socket.wait_of(server, "stats")["cpu_usage"] == 5
            assert socket.wait_of(server, "progress")["progress"] == 0.5
        api.print(c, "unheard")
        api.print(a, "later")
        socket.wait_of(a, "console", "later")
        assert {event.get("server") for event in socket.events} == {a, b}


def test_only_the_kinds_that_were_named_are_told(api: Api, name: str) -> None:
    a, b = f"{name}-a", f"{name}-b"
    for server in (a, b):
        api.create(server)

    def is_heard(server: str, kind: str) -> bool:
        """Whether something that happens over and over is heard: it is not told when a subscription has begun."""
        api.print(server, "again")
        api.containers.tell(server, messages.event("stopping"), messages.daemon("again"))
        return any(event["event"] == kind for event in socket.of(server))

    with Many(api) as socket:
        socket.subscribe(a, events=["daemon_message"])
        socket.subscribe(b, events=["console duplicate"])
        for server, kind in ((a, "daemon_message"), (b, "console duplicate")):
            eventually(lambda of=server, which=kind: is_heard(of, which), within_seconds=20, what=f"a {kind}")
        api.print(b, "last")
        socket.wait_of(b, "console duplicate", "last")
        assert {event["event"] for event in socket.of(a)} == {"daemon_message"}
        assert {event["event"] for event in socket.of(b)} == {"console", "console duplicate"}


def test_all_stands_also_for_containers_that_come_later_from_their_beginning(api: Api, name: str) -> None:
    old, new = f"{name}-old", f"{name}-new"
    api.create(old)
    with Many(api) as socket:
        socket.subscribe()
        socket.wait_of(old, "event", "running")
        api.create(new)
        for number in range(3):
            api.print(new, f"line {number}")
        api.containers.tell(new, messages.event("installed"))
        socket.wait_of(new, "event", "installed")
        socket.wait_of(new, "console", "line 2")
        told = socket.of(new)
        assert [event["data"] for event in told if event["event"] == "event"] == ["installing", "installed"]
        printed = "".join(event["data"] for event in told if event["event"] == "console")
        assert printed == "line 0\nline 1\nline 2\n"
        delete(api, old)
        socket.wait_of(old, "daemon_message", "Container deleted")
        start = len(socket.events)
        api.create(old)
        socket.wait_of(old, "event", "installing", start=start)


def test_all_is_all_that_a_containers_token_reaches(api: Api, name: str) -> None:
    mine, later, theirs = f"{name}-mine", f"{name}-later", f"{name}-theirs"
    secret, _ = api.tokens.issue(60, containers=(mine, later))
    for server in (mine, theirs):
        api.create(server)
    with Many(api, secret) as socket, Many(api) as everything:
        for each in (socket, everything):
            each.subscribe()
            each.wait_of(mine, "event")
        api.create(f"{theirs}-too")
        api.create(later)
        everything.wait_of(f"{theirs}-too", "event")
        socket.wait_of(later, "event")
        socket.subscribe(mine, theirs)
        socket.wait_error("limited to its containers")
        socket.send({"event": "power", "server": theirs, "action": "kill"})
        socket.wait_of(theirs, "daemon_message", "Error: This token is limited")
        assert {event.get("server") for event in socket.events} <= {mine, later, theirs, None}
        assert [event["event"] for event in socket.of(theirs)] == ["daemon_message"]


def test_scopes_hold_for_many_as_for_one(api: Api, name: str) -> None:
    api.create(name)
    secret, _ = api.tokens.issue(60, scopes=("read",))
    with Many(api, secret) as socket, api.socket(name) as other:
        socket.subscribe(name, events=["console"])
        socket.wait_error("lacks the scope console")
        socket.subscribe(name)
        socket.wait_of(name, "event", "running")
        other.wait_for_state("running")
        api.print(name, "unheard")
        other.wait_for_console("unheard")
        socket.send({"event": "send_command", "server": name, "command": "say hi"})
        socket.wait_of(name, "daemon_message", "lacks the scope command")
        assert {event["event"] for event in socket.events} == {"event", "daemon_message"}


def test_commands_and_logs_name_their_server(api: Api, name: str) -> None:
    api.create(name)
    api.print(name, "of old")
    with agent(api, lambda _: "") as taken, Many(api) as socket:
        for number in range(5):
            socket.send({"event": "send_command", "server": name, "command": f"say {number}"})
        socket.send({"event": "request_logs", "server": name})
        assert socket.wait_of(name, "logs")["data"] == "of old\n"
        eventually(lambda: len(taken) >= 5, within_seconds=10, what="all commands")
        assert [order["data"] for order in taken] == [f"say {number}\n" for number in range(5)]
        socket.send({"event": "send_command", "command": "say hi"})
        socket.wait_error('send_command needs a "server" here')


def test_a_command_that_nobody_reads_holds_up_neither_a_kill_nor_other_containers(api: Api, name: str) -> None:
    a, b, c = (f"{name}-{letter}" for letter in "abc")
    for server in (a, b, c):
        api.create(server)
    with agent(api, lambda order: None if order["input"] == a else "") as taken, Many(api) as socket:
        for server, command in ((a, "unread"), (a, "after it"), (b, "hi")):
            socket.send({"event": "send_command", "server": server, "command": command})
        socket.send({"event": "power", "server": c, "action": "stop"})
        socket.send({"event": "power", "server": a, "action": "kill"})
        for server in (a, c):
            eventually(
                lambda of=server: api.containers.get(of).state is State.STOPPING, within_seconds=10, what="an action"
            )
        socket.wait_of(a, "daemon_message", "does not answer")
        eventually(lambda: len(taken) >= 2, within_seconds=10, what="the other container's command")
        assert {order["data"] for order in taken[:2]} == {"unread\n", "hi\n"}


def test_since_replays_what_was_missed_of_each(api: Api, name: str) -> None:
    a, b = f"{name}-a", f"{name}-b"
    seen = {}
    for server in (a, b):
        api.create(server)
        seen[server] = api.print(server, "seen")
        api.print(server, "missed")
    with Many(api) as socket:
        socket.subscribe(a, b, since={a: seen[a]})
        socket.wait_of(a, "console", "missed")
        socket.wait_of(b, "event", "running")
        assert [event["data"] for event in socket.of(a) if event["event"] == "console"] == ["missed\n"]
        assert [event["event"] for event in socket.of(b)] == ["event"]


def test_what_is_unsubscribed_is_told_no_more_and_leaves_nothing_behind(api: Api, name: str) -> None:
    a, b = f"{name}-a", f"{name}-b"
    for server in (a, b):
        api.create(server)
    eventually(lambda: api.held()["watches"] == 0, within_seconds=10, what="the end of earlier sockets")
    with Many(api) as socket:
        socket.subscribe()
        for server in (a, b):
            socket.wait_of(server, "event")
        socket.send({"event": "unsubscribe", "containers": [a]})
        socket.send({"event": "request_logs", "server": b})
        socket.wait_of(b, "logs")
        api.print(a, "unheard")
        api.create(f"{name}-c")
        socket.wait_of(f"{name}-c", "event")  # a round later
        assert not any(event["event"] == "console" for event in socket.of(a))
        socket.send({"event": "unsubscribe", "containers": "*"})
        eventually(lambda: api.held()["watches"] == 0, within_seconds=10, what="nothing to be followed")
        start = len(socket.events)
        socket.subscribe(a)
        socket.wait_of(a, "event", start=start)
    eventually(lambda: api.held()["watches"] == 0, within_seconds=10, what="nothing to be followed")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, '"containers" must be'),
        ({"containers": "a"}, '"containers" must be'),
        ({"containers": ["a/b"]}, '"containers" must be'),
        ({"containers": [1]}, '"containers" must be'),
        ({"containers": ["a"], "events": ["logs"]}, '"events" must be'),
        ({"containers": ["a"], "events": [{}]}, '"events" must be'),
        ({"containers": ["a"], "events": "console"}, '"events" must be'),
        ({"containers": ["a"], "since": 5}, '"since" must be'),
        ({"containers": ["a"], "since": {"a": -1}}, '"since" must be'),
        ({"containers": ["a"], "since": {"a": True}}, '"since" must be'),
    ],
)
def test_a_wrong_wish_is_told_and_the_socket_stays(api: Api, name: str, wrong: Event, told: str) -> None:
    with Many(api) as socket:
        socket.send({"event": "subscribe", **wrong})
        socket.wait_error(told)
        socket.subscribe(name)
        socket.wait_of(name, "daemon_message", "Container not found")


def test_a_token_that_ends_closes_its_sockets_of_many_within_five_seconds(api: Api, name: str) -> None:
    secret, token = api.tokens.issue(60)
    brief_secret, _ = api.tokens.issue(2)
    with Many(api, brief_secret) as expired, Many(api, secret) as revoked, Many(api) as other:
        for socket in (expired, revoked, other):
            socket.subscribe(name)
            socket.wait_of(name, "daemon_message")
        api.tokens.revoke(token.id)
        assert revoked.wait_closed(5) == 4401
        assert expired.wait_closed(7) == 4401
        start = len(other.events)
        api.create(name)
        other.wait_of(name, "event", start=start)


def test_a_socket_follows_only_so_many(folder: Path) -> None:
    for api in running_api(folder, LIGHTD_SOCKET_SUBSCRIPTIONS="2"):
        for server in ("a", "b", "c"):
            api.create(server)
        with Many(api) as socket:
            socket.subscribe("a", "b", "c")
            socket.wait_error("at most 2 containers")
            socket.subscribe()
            for server in ("a", "b"):
                socket.wait_of(server, "event")
            delete(api, "a")
            socket.wait_of("c", "event")
            assert [event["data"] for event in socket.events if event["event"] == "daemon_message"].count(
                "Error: A socket follows at most 2 containers; open another one for more."
            ) == 2


def test_a_message_is_framed_once_for_all_sockets_of_many() -> None:
    notice = Notice((1, 0), messages.console("a line\n", 1), "a line\n")
    frame = notice.frame_of("a")
    assert notice.frame_of("a") is frame
    assert frame.endswith(b'{"event": "console", "data": "a line\\n", "seq": 1, "server": "a"}')
