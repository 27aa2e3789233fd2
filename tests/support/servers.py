"""Volumes, ports and containers of one test, made through the API as a client makes them."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from docker.models.images import Image

from tests.support.answers import Answer, accepted
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from tests.support.ports import free_port
from tests.support.stack import Stack

READ_LINES = 'echo Ready; while read -r line; do echo "got $line"; done'


class Servers:
    """Makes what a test needs and remembers it, also when the test itself asked the API; `clean` deletes it all."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._volumes: list[str] = []
        self._containers: list[str] = []
        self._ports: list[Answer] = []
        self._jobs: list[str] = []

    def volume(self, size_mb: int = 16) -> Answer:
        """A new volume."""
        made = accepted(self.stack.api("POST", "/volumes", json={"size": size_mb}), 201)
        self._volumes.append(made["volume_id"])
        return made

    def port(self, protocol: str = "tcp", ip: str = "127.0.0.1") -> Answer:
        """A port put into the pool, as `{"ip", "port", "protocol"}`; nothing on this machine listens on it now."""
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        port = {"ip": ip, "port": free_port(kind), "protocol": protocol}
        self.offer(port)
        return port

    def offer(self, port: Answer) -> None:
        """Put this port into the pool."""
        accepted(self.stack.api("POST", "/network/ports", json=port))
        self._ports.append(port)

    def body(self, command: str = READ_LINES, **fields: Any) -> Answer:
        """A valid body for `POST /containers`; `fields` replace or add some."""
        internal_id = fields.pop("internal_id", None) or f"t{secrets.token_hex(4)}"
        volume_id = fields.pop("volume_id", None) or self._shared_volume()
        self._containers.append(internal_id)
        return {
            "internal_id": internal_id,
            "image": BUSYBOX,
            "volume_id": volume_id,
            "startup_command": command,
            "limits": {"memory": 32 * 2**20, "cpu": 0.5},
            **fields,
        }

    def ask(self, command: str = READ_LINES, **fields: Any) -> requests.Response:
        """Ask for a container; the answer."""
        return self.post(self.body(command, **fields))

    def post(self, body: Answer) -> requests.Response:
        """Ask for a container with exactly this body; its job is remembered."""
        answer = self.stack.api("POST", "/containers", json=body)
        if answer.ok:
            self._jobs.append(answer.json()["job_id"])
        return answer

    def create(self, command: str = READ_LINES, **fields: Any) -> str:
        """A container that is installed and not started; its id."""
        made = accepted(self.ask(command, **fields))
        self.stack.wait_for_state(made["internal_id"], "ready")
        return str(made["internal_id"])

    def run(self, command: str = READ_LINES, **fields: Any) -> str:
        """A container that is `running`; its id."""
        internal_id = self.create(command, **fields)
        self.act(internal_id, "start")
        self.stack.wait_for_state(internal_id, "running")
        return internal_id

    def act(self, internal_id: str, action: str, body: Answer | None = None) -> Answer:
        """Ask for a power action or a reinstall, which must be accepted; the answer."""
        answer = accepted(self.stack.api("POST", f"/containers/{internal_id}/{action}", json=body))
        self._jobs.append(answer["job_id"])
        return answer

    def record(self, internal_id: str) -> Answer:
        """The container as the API shows it."""
        return accepted(self.stack.api("GET", f"/containers/{internal_id}"))

    def in_use(self, port: Answer) -> bool:
        """Whether the pool says that a container holds this port."""
        path = f"/network/ports/{port['ip']}/{port['port']}?protocol={port['protocol']}"
        return bool(accepted(self.stack.api("GET", path))["in_use"])

    def logs(self, internal_id: str, query: str = "") -> str:
        """The container's output so far."""
        return str(accepted(self.stack.api("GET", f"/containers/{internal_id}/logs{query}"))["logs"])

    def output_of(self, command: str, **fields: Any) -> str:
        """All output of a command that runs in a container until its end."""
        internal_id = self.create(f"{command}\necho end-of-output", **fields)
        self.act(internal_id, "start")
        eventually(lambda: "end-of-output" in self.logs(internal_id), within_seconds=15, what="the output")
        return self.logs(internal_id).replace("\r", "").partition("end-of-output")[0]

    def forget_jobs(self) -> None:
        """The store was emptied: nobody knows of the jobs any more, nor of ports that no container holds."""
        self._jobs.clear()

    def clean(self) -> None:
        """Delete all of it and wait for the end of its jobs."""
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda name: self.stack.api("DELETE", f"/containers/{name}"), set(self._containers))
            for answer in answers:
                assert answer.status_code in (200, 404), answer.text
        for port in self._ports:
            path = f"/network/ports/{port['ip']}/{port['port']}?protocol={port['protocol']}"
            answer = self.stack.api("DELETE", path)
            assert answer.status_code in (200, 404), answer.text
        for volume in self._volumes:
            answer = self.stack.api("DELETE", f"/volumes/{volume}")
            assert answer.status_code in (204, 404), answer.text
        for job in self._jobs:
            self.stack.wait_for_job(job, 10)

    def _shared_volume(self) -> str:
        return self._volumes[0] if self._volumes else str(self.volume()["volume_id"])


@pytest.fixture
def servers(stack: Stack, busybox_image: Image) -> Iterator[Servers]:
    """What one test makes; gone when it ends."""
    made = Servers(stack)
    yield made
    made.clean()


def numbers_in(text: str) -> list[int]:
    """The numbers of lines such as `line 17`, in order."""
    return [int(words[1]) for words in map(str.split, text.splitlines()) if len(words) == 2 and words[0] == "line"]
