"""How long a line takes from a program in a container to a WebSocket client, at 100 lines a second."""

from __future__ import annotations

import time

import docker

from bench.figures import milliseconds, percentile, show
from tests.support.event_socket import Event, EventSocket
from tests.support.images import DEBIAN
from tests.support.stack import Stack

SECONDS = 20
RATE = 100
COMMAND = f"""bash -c 'for ((i = 0; i < {SECONDS * RATE}; i++)); do echo $i $EPOCHREALTIME; sleep {0.8 / RATE}; done'"""


def measure(engine: docker.DockerClient, stack: Stack) -> None:
    """Delay of each line, by the clock that container and client share."""
    volume = stack.api("POST", "/volumes", json={"size": 16}).json()["volume_id"]
    body = {
        "internal_id": "bench-console",
        "image": DEBIAN,
        "volume_id": volume,
        "startup_command": COMMAND,
        "limits": {"memory": 1 << 27, "cpu": 1.0},
    }
    url = f"ws://{stack.address}/ws/bench-console?token={stack.token}"
    with TimedSocket(url) as socket:
        stack.api("POST", "/containers", json=body).raise_for_status()
        socket.wait_for_state("installed")
        stack.api("POST", "/containers/bench-console/start").raise_for_status()
        socket.wait_for_state("exit", seconds=SECONDS * 3)
        delays = socket.delays
    show("lines", f"{len(delays)} of {SECONDS * RATE}")
    show("delay, median (p99)", milliseconds(delays), "15 ms (60 ms)")
    show("delay, maximum", f"{percentile(delays, 100) * 1000:.1f} ms")


class TimedSocket(EventSocket):
    """Notes how old each line is when it arrives."""

    def __init__(self, url: str) -> None:
        self.delays: list[float] = []
        super().__init__(url)

    def _keep(self, event: Event) -> None:
        now = time.time()
        if event["event"] == "console":
            self.delays += [now - float(line.split()[1]) for line in event["data"].splitlines()]
        super()._keep(event)
