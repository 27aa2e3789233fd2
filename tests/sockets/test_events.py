"""What watchers are told: the state, everything that happens, and all output, each once and in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet import messages
from fleet.console import Append
from fleet.lifecycle import Action, State
from fleet.repositories.jobs import new_job
from tests.sockets.conftest import CONSOLE_SECONDS, NODE, Api, running_api
from tests.support.event_socket import EventSocket


def outputs(socket: EventSocket) -> list[tuple[int, str]]:
    return [(event["seq"], event["data"]) for event in socket.events if event["event"] == "console"]


def daemon_messages(socket: EventSocket) -> list[str]:
    return [event["data"] for event in socket.events if event["event"] == "daemon_message"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (State.INSTALLING, "installing"),
        (State.READY, "installed"),
        (State.STARTING, "starting"),
        (State.RUNNING, "running"),
        (State.STOPPING, "stopping"),
        (State.FAILED, "failed"),
    ],
)
def test_the_first_event_is_the_current_state(api: Api, name: str, state: State, told: str) -> None:
    api.create(name, state)
    with api.socket(name) as socket:
        socket.wait_for(lambda _: True)
        assert socket.events[0] == {"event": "event", "data": told}


def test_a_container_that_ran_before_is_told_as_exited(api: Api, name: str) -> None:
    api.create(name, State.READY)
    api.redis.hset(f"lightd:container:{name}", "ended_run", "1".zfill(20))
    with api.socket(name) as socket:
        socket.wait_for_state("exit")


def test_a_change_of_state_reaches_every_watcher_once(api: Api, name: str) -> None:
    container = api.create(name, State.READY)
    with api.socket(name) as first, api.socket(name) as second:
        first.wait_for_state("installed")
        second.wait_for_state("installed")
        job = new_job("start", NODE, "quick", internal_id=name)
        api.containers.begin(container, Action.START, job)
        claimed = api.claim(job.job_id)
        told = [messages.daemon(messages.CONTAINER_STARTED), messages.event(messages.RUNNING)]
        api.containers.write(name, claimed, finish="done", state=State.RUNNING, tell=told)
        for socket in (first, second):
            socket.wait_for_state("running")
            assert socket.states() == ["installed", "starting", "running"]
            assert daemon_messages(socket) == ["Container started"]


def test_without_since_only_new_output_comes(api: Api, name: str) -> None:
    api.create(name)
    api.print(name, "old")
    with api.socket(name) as socket:
        socket.wait_for_state("running")
        seq = api.print(name, "new", "newer")
        socket.wait_for_console("new")
        assert outputs(socket) == [(seq, "new\nnewer\n")]


def test_whatever_is_printed_after_the_state_came_is_told_also_when_its_console_was_not_ready_yet(folder: Path) -> None:
    with contextmanager(running_api)(folder, **{CONSOLE_SECONDS: "0"}) as api:
        for number in range(30):
            name = f"c{number}"
            api.create(name)
            api.print(name, "old")
            with api.socket(name) as socket:
                socket.wait_for_state("running")
                api.print(name, "new")
                socket.wait_for_console("new")
                assert socket.console_text() == "new\n"


def test_since_replays_what_was_missed_and_goes_on_live(api: Api, name: str) -> None:
    api.create(name)
    seqs = [api.print(name, f"line {number}") for number in range(1000)]
    with api.socket(name, since=seqs[99]) as socket:
        seqs += [api.print(name, f"line {number}") for number in range(1000, 1200)]
        socket.wait_for_console("line 1199")
        assert outputs(socket) == [(seqs[number], f"line {number}\n") for number in range(100, 1200)]


def test_since_nought_replays_all_that_is_kept(api: Api, name: str) -> None:
    api.create(name)
    api.print(name, "first")
    with api.socket(name, since=0) as socket:
        socket.wait_for_console("first")
        assert not daemon_messages(socket)


def test_since_the_newest_replays_nothing(api: Api, name: str) -> None:
    api.create(name)
    seq = api.print(name, "old")
    with api.socket(name, since=seq) as socket:
        socket.wait_for_state("running")
        api.print(name, "new")
        socket.wait_for_console("new")
        assert socket.console_text() == "new\n"


def test_a_since_beyond_the_newest_gets_what_is_new(api: Api, name: str) -> None:
    api.create(name)
    seq = api.print(name, "old")
    with api.socket(name, since=seq + 1_000_000) as socket:
        socket.wait_for_state("running")
        api.print(name, "new")
        socket.wait_for_console("new")


def test_a_gap_is_named_exactly(api: Api, name: str) -> None:
    api.create(name)
    first = api.print(name, "first")
    large = "x" * 100_000
    seqs = [api.print(name, large) for _ in range(40)]
    oldest, _ = api.console.reach(name)
    assert oldest > seqs[0]
    with api.socket(name, since=first) as socket:
        api.print(name, "the end")
        socket.wait_for_console("the end")
        lost = f"Console output {first + 1} to {oldest - 1} is lost: history reaches back no further."
        assert daemon_messages(socket) == [lost]
        assert [seq for seq, _ in outputs(socket)] == list(range(oldest, seqs[-1] + 2))


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ({"data": b"a\nb\nc\n", "left_out": True}, "3 lines were left out"),
        ({"data": b"", "lost": "Lost for ever"}, "Lost for ever."),
    ],
)
def test_what_is_missing_is_told_at_its_place_live_and_again(
    api: Api, name: str, missing: dict[str, Any], told: str
) -> None:
    before = api.print(name, "one")
    with api.socket(name) as live:
        live.wait_for(lambda _: True)
        at = api.console.position(name, "engine")
        api.console.append([Append(name, "engine", at, "x", **missing)])
        api.print(name, "two")
        live.wait_for_console("two")
        with api.socket(name, since=before) as later:
            later.wait_for_console("two")
        for events in (live, later):
            last = [(event["event"], event["data"].split(":")[0]) for event in events.events[-2:]]
            assert last == [("daemon_message", told), ("console", "two\n")]
            assert events.events[-2]["seq"] == before + 1


def test_each_output_is_repeated_for_a_client_that_asks_for_it(api: Api, name: str) -> None:
    api.create(name)
    with api.socket(name, duplicate=1) as asked, api.socket(name) as plain:
        asked.wait_for_state("running")
        plain.wait_for_state("running")
        api.print(name, "once")
        asked.wait_for(lambda event: event["event"] == "console duplicate")
        plain.wait_for_console("once")
        assert [event["event"] for event in asked.events] == ["event", "console", "console duplicate"]
        assert asked.events[-1] == {"event": "console duplicate", "data": "once\n"}
        assert [event["event"] for event in plain.events] == ["event", "console"]


def test_output_in_any_script_and_with_control_codes_arrives_unchanged(api: Api, name: str) -> None:
    api.create(name)
    line = 'äöü 漢字 🎮 \x1b[31mred\x1b[0m \r\x00 "quoted" \\'
    with api.socket(name) as socket:
        socket.wait_for_state("running")
        api.print(name, line)
        assert socket.wait_for(lambda event: event["event"] == "console")["data"] == line + "\n"


def test_a_deleted_container_is_told_and_a_new_one_of_its_name_is_followed(api: Api, name: str) -> None:
    container = api.create(name, State.READY)
    with api.socket(name) as socket:
        socket.wait_for_state("installed")
        api.print(name, "old life")
        socket.wait_for_console("old life")
        job = new_job("delete", NODE, "quick", internal_id=name)
        api.containers.begin(container, Action.DELETE, job, deleting=True)
        api.console.forget(name, None)
        api.containers.remove(name, api.claim(job.job_id))
        socket.wait_for(lambda event: event["data"] == "Container deleted")
        api.create(name)
        socket.wait_for_state("installing")
        api.print(name, "new life")
        socket.wait_for_console("new life")
        assert daemon_messages(socket) == ["Container deleted"]


def test_whoever_connects_while_a_container_is_deleted_is_told_that_it_is_gone(api: Api, name: str) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for number in range(20):
            container = api.create(f"{name}-{number}", State.READY)
            api.print(container.internal_id, "hello")
            job = new_job("delete", NODE, "quick", internal_id=container.internal_id)
            api.containers.begin(container, Action.DELETE, job, deleting=True)
            claimed = api.claim(job.job_id)
            connecting = [pool.submit(api.socket, container.internal_id, since=0) for _ in range(3 * _AT_ONCE)]
            connecting[0].result()
            api.console.forget(container.internal_id, None)
            api.containers.remove(container.internal_id, claimed)
            for done in connecting:
                with done.result() as socket:
                    socket.wait_for(lambda event: str(event["data"]).startswith(_GONE))


_AT_ONCE = 8
_GONE = ("Container deleted", "Container not found")
