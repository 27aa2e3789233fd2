"""Limits on the number of sockets hold for all API processes together, whatever becomes of one of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as StoreAway

from app.sockets.places import Places, SocketLimits
from fleet.keys import key
from fleet.repositories.sockets import SocketCounts
from fleet.store import Client
from tests.sockets.conftest import Api, running_api
from tests.sockets.test_handshake import refused
from tests.support.deadline import eventually


@pytest.fixture
def small_api(folder: Path) -> Iterator[Api]:
    """An API that takes four sockets, three for a container, two for a token."""
    yield from running_api(
        folder, LIGHTD_SOCKET_LIMIT="4", LIGHTD_SOCKETS_PER_CONTAINER="3", LIGHTD_SOCKETS_PER_TOKEN="2"
    )


def told(api: Api, container_id: str, token: str) -> tuple[int, str]:
    """How a handshake beyond a limit is refused."""
    answer = refused(api.url(container_id, token=token))
    assert answer.json()["code"] == "socket_limit"
    return answer.status_code, answer.json()["error"].partition(" has its")[0]


def test_limits_hold_over_all_processes_and_a_killed_one_holds_no_places(small_api: Api) -> None:
    first, second, third = (small_api.tokens.issue(600)[0] for _ in range(3))
    with small_api.beside() as other, ExitStack() as opened:
        for api, container_id, token in (
            (small_api, "a", first),
            (other, "a", first),
            (other, "a", second),
        ):
            opened.enter_context(api.socket(container_id, token=token)).wait_for(lambda _: True)
        for api in (small_api, other):
            assert told(api, "b", first) == (429, "This token")
            assert told(api, "a", third) == (429, "Container a")
        opened.enter_context(small_api.socket("b", token=second)).wait_for(lambda _: True)
        for api in (small_api, other):
            assert told(api, "c", third) == (503, "Lightd")

        os.kill(other.held()["pid"], signal.SIGKILL)
        eventually(
            lambda: small_api.places().get("all") == 2, within_seconds=15, what="the end of the killed one's places"
        )
        assert {small_api.places()[f"container:{name}"] for name in "ab"} == {1}
        for api in (small_api, other):
            opened.enter_context(api.socket("a", token=third)).wait_for(lambda _: True)
        for api in (small_api, other):
            assert told(api, "c", first) == (503, "Lightd")


def test_a_store_that_forgot_who_is_connected_is_told_again(small_api: Api) -> None:
    def forget() -> None:
        names = [key("sockets", process) for process in small_api.redis.smembers(key("socket_processes"))]
        small_api.redis.delete(key("socket_processes"), *names)

    with small_api.socket("a") as staying, small_api.socket("b") as leaving:
        for socket in (staying, leaving):
            socket.wait_for(lambda _: True)
        counted = small_api.places()
        forget()
        eventually(lambda: small_api.places() == counted, within_seconds=10, what="the same counts")
        forget()
        leaving.close()
        eventually(lambda: small_api.places().get("all") == 1, within_seconds=10, what="the one that stays")
    eventually(lambda: small_api.places() == {}, within_seconds=10, what="nobody counted")


def test_strangers_keep_nobody_out_who_has_a_token(small_api: Api) -> None:
    with ExitStack() as opened:
        strangers = [opened.enter_context(small_api.socket("a", token="")) for _ in range(2)]
        assert small_api.places() == {"all": 2, "waiting": 2}
        answer = refused(small_api.url("a", token=""))
        assert (answer.status_code, answer.json()["code"]) == (503, "socket_limit")
        opened.enter_context(small_api.socket("a")).wait_for(lambda _: True)
        strangers[0].send({"event": "auth", "token": small_api.token})
        strangers[0].wait_for(lambda _: True)
        counted = small_api.places()
        assert (counted["all"], counted["container:a"]) == (3, 2)
        assert strangers[1].wait_closed() == 4401
    eventually(lambda: small_api.places() == {}, within_seconds=10, what="nobody counted")


class AnswersLost(SocketCounts):
    """The store does what it is asked, and the connection to it ends before the answer."""

    def take(self, limits: Mapping[str, int]) -> str | None:
        super().take(limits)
        raise StoreAway


def test_a_place_that_the_store_gave_but_could_not_say_so_is_not_held_for_ever(store: Client) -> None:
    places = Places(AnswersLost(store, "p"), SocketLimits(4, 3, 2))
    with pytest.raises(StoreAway):
        places.take("a", None)
    assert store.hgetall(key("sockets", "p")) == {"all": "1", "waiting": "1"}
    places.keep()
    assert not store.exists(key("sockets", "p"))
