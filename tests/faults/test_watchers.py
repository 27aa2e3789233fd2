"""Twenty watchers of a container that prints fast, half of them coming and going, while each process fails in turn."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import docker
import pytest

from tests.support.answers import accepted
from tests.support.servers import Servers
from tests.support.stack import Stack
from tests.support.watcher import all_got, give_up, twenty_watchers, wait_for_more

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
    volume = servers.volume()["volume_id"]
    container = servers.create(COUNTING, volume_id=volume, limits={"memory": 32 * 2**20, "cpu": 1.0})
    watchers = twenty_watchers(lambda seq: stack.socket(container, since=seq))
    try:
        servers.act(container, "start")
        wait_for_more(watchers, CHARACTERS_BEFORE_AND_AFTER)
        fault(stack)
        wait_for_more(watchers, CHARACTERS_BEFORE_AND_AFTER)
        accepted(stack.api("POST", f"/volumes/{volume}/files", json={"path": "enough", "content": ""}))
        stack.wait_for_state(container, "ready", 30)
        printed = engine.containers.get(f"lightd-{container}").logs().decode().replace("\r\n", "\n")
        assert printed == "".join(f"{number}\n" for number in range(printed.count("\n")))
        all_got(watchers, printed)
    finally:
        give_up(watchers)
