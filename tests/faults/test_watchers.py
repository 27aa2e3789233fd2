"""Twenty watchers of a container that prints fast, half of them coming and going, while each process fails in turn."""

from __future__ import annotations

import copy
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker
import pytest
import requests

from tests.support.answers import accepted
from tests.support.deadline import eventually
from tests.support.event_socket import EventSocket
from tests.support.ports import free_port
from tests.support.servers import Servers
from tests.support.stack import CHECKOUT, Stack
from tests.support.watcher import all_got, give_up, twenty_watchers, wait_for_more
from tests.support.way import Way, hold_all

pytestmark = [pytest.mark.engine, pytest.mark.long]

COUNTING = "n=0; until [ -e enough ]; do seq $n $((n+99)); n=$((n+100)); usleep 40000; done"
"""About 2,000 lines a second."""
CHARACTERS_BEFORE_AND_AFTER = 30_000


def restarted(name: str, number: signal.Signals) -> Callable[[Stack], None]:
    def fault(stack: Stack) -> None:
        stack.wait_restarted(name, stack.kill(name, number), 30)

    return fault


def frozen(name: str) -> Callable[[Stack], None]:
    def fault(stack: Stack) -> None:
        stack.kill(name, signal.SIGSTOP)
        try:
            time.sleep(10)  # how long the outage lasts, not a wait for anything
        finally:
            stack.kill(name, signal.SIGCONT)

    return fault


FAULTS = {
    "stream store restarted": restarted("stream", signal.SIGTERM),
    "stream store frozen": frozen("stream"),
    "record store restarted": restarted("store", signal.SIGTERM),
    "record store frozen": frozen("store"),
    "API restarted": restarted("api", signal.SIGTERM),
    "API killed": restarted("api", signal.SIGKILL),
    "agent killed": restarted("agent", signal.SIGKILL),
    "agent frozen": frozen("agent"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_every_watcher_gets_every_line_once(
    stack: Stack, servers: Servers, engine: docker.DockerClient, fault: Callable[[Stack], None]
) -> None:
    _get_every_line_once(stack, servers, engine, stack.socket, lambda: fault(stack))


def test_every_watcher_gets_every_line_once_though_one_api_process_is_cut_off(
    stack: Stack, servers: Servers, engine: docker.DockerClient
) -> None:
    """One of two: those who come back reach either. For ten seconds nothing gets from it to the stores or back."""
    with _api_beside(stack) as (beside, ways):
        turns = itertools.cycle([stack, beside])

        def connect(container: str, *, since: int) -> EventSocket:
            return next(turns).socket(container, since=since)

        _get_every_line_once(stack, servers, engine, connect, lambda: hold_all(ways, 10))


def _get_every_line_once(
    stack: Stack,
    servers: Servers,
    engine: docker.DockerClient,
    connect: Callable[..., EventSocket],
    fault: Callable[[], None],
) -> None:
    volume = servers.volume()["volume_id"]
    container = servers.create(COUNTING, volume_id=volume, limits={"memory": 32 * 2**20, "cpu": 1.0})
    watchers = twenty_watchers(lambda seq: connect(container, since=seq))
    try:
        servers.act(container, "start")
        wait_for_more(watchers, CHARACTERS_BEFORE_AND_AFTER)
        fault()
        wait_for_more(watchers, CHARACTERS_BEFORE_AND_AFTER)
        accepted(stack.api("POST", f"/volumes/{volume}/files", json={"path": "enough", "content": ""}))
        stack.wait_for_state(container, "ready", 30)
        printed = engine.containers.get(f"lightd-{container}").logs().decode().replace("\r\n", "\n")
        assert printed == "".join(f"{number}\n" for number in range(printed.count("\n")))
        all_got(watchers, printed)
    finally:
        give_up(watchers)


@contextmanager
def _api_beside(stack: Stack) -> Iterator[tuple[Stack, list[Way]]]:
    """Another API process of the same Lightd, and its ways to the stores."""
    beside = copy.copy(stack)
    beside.address = f"127.0.0.1:{free_port()}"
    beside.base_url = f"http://{beside.address}"
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="lightd-ways-")))
        names = ("store", "stream")
        ways = [ends.enter_context(Way(str(stack.data / f"run/{name}.sock"), folder / name)) for name in names]
        environment = {
            **stack.environment,
            "LIGHTD_BIND": beside.address,
            "LIGHTD_REDIS_URL": ways[0].address,
            "LIGHTD_STREAM_URL": ways[1].address,
        }
        command = [sys.executable, "-m", "gunicorn", "-c", "app/gunicorn_settings.py", "wsgi:app"]
        process = ends.enter_context(subprocess.Popen(command, env=environment, cwd=CHECKOUT))
        ends.callback(process.terminate)
        eventually(lambda: _answers(beside), within_seconds=30, what="an answer of the other API process")
        yield beside, ways


def _answers(stack: Stack) -> bool:
    try:
        return stack.api("GET", "/containers").ok
    except requests.RequestException:
        return False
