"""What a container's socket and the API tell of what it uses."""

from __future__ import annotations

import pytest

from tests.support.answers import Answer, accepted
from tests.support.deadline import eventually
from tests.support.event_socket import Event
from tests.support.servers import READ_LINES, Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

FIELDS = {
    "cpu_usage",
    "memory_usage",
    "memory_limit",
    "network_rx",
    "network_tx",
    "block_read",
    "block_write",
    "uptime",
    "pids",
    "disk_used",
}


def test_what_a_container_uses_is_told_while_it_runs_and_known_afterwards(stack: Stack, servers: Servers) -> None:
    container = servers.create(f"dd if=/dev/zero of=big bs=1M count=5; {READ_LINES}")
    with stack.socket(container) as events:
        servers.act(container, "start")
        events.wait_for_state("running")
        told = events.wait_for(lambda event: event["event"] == "stats" and _is_settled(event), 20)
        assert told.keys() == {"event", *FIELDS}
        assert told["memory_limit"] == 32 * 2**20
        assert 0 < told["memory_usage"] < 32 * 2**20
    with stack.socket(container) as late:
        late.wait_for(lambda event: event["event"] == "stats" and _is_settled(event), 20)
        assert [event["event"] for event in late.events][:2] == ["event", "stats"]

    def series() -> Answer:
        asked: Answer = accepted(stack.api("GET", f"/containers/{container}/stats?minutes=1"))["series"]
        return asked if len(asked["at"]) >= 3 else {}

    points = eventually(series, within_seconds=15, what="three points")
    assert points["step"] == 1
    assert points["at"] == sorted(set(points["at"]))
    assert {len(column) for name, column in points.items() if name != "step"} == {len(points["at"])}

    running = accepted(stack.api("GET", f"/containers/{container}/stats"))
    assert running["state"] == "running" and running["uptime"] >= 0
    servers.act(container, "kill")
    stack.wait_for_state(container, "ready")
    ended = accepted(stack.api("GET", f"/containers/{container}/stats"))
    assert ended["state"] == "ready" and ended["uptime"] is None
    assert ended["disk_used"] >= 5 * 2**20


def _is_settled(event: Event) -> bool:
    """Whether it is told after the file was written and its volume looked at."""
    return (event["disk_used"] or 0) >= 5 * 2**20 and event["pids"] >= 1
