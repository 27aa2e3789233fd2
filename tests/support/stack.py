"""A whole running Lightd, started as a user starts it, in a folder and under a node name of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from tests.support.deadline import eventually
from tests.support.event_socket import EventSocket
from tests.support.leftovers import firewall_rules, leftovers, remove_network
from tests.support.ports import free_port
from tests.support.this_run import new_node_and_network

CHECKOUT = Path(__file__).parents[2]
VENDOR_TYPE = "Application/vnd.pkglatv1+json"
_UP_SECONDS = 120


class Stack:
    """A Lightd of its own: `api(…)` calls it, `socket(…)` watches a container, `kill("long")` ends a process."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.node, self.network = new_node_and_network()
        self.address = f"127.0.0.1:{free_port()}"
        self.base_url = f"http://{self.address}"
        self.token = ""
        self.registry_logins = data / "registry-logins.json"
        data.mkdir(parents=True, exist_ok=True)
        self.registry_logins.touch(mode=0o600)
        self.registry_logins.write_text("{}")
        self.environment = {
            **os.environ,
            "LIGHTD_DATA": str(data),
            "LIGHTD_NODE": self.node,
            "LIGHTD_NETWORK": self.network,
            "LIGHTD_BIND": self.address,
            "LIGHTD_VOLUME_SIZE_MB": "64",
            "LIGHTD_VOLUME_ALLOCATION": "sparse",
            "LIGHTD_REGISTRY_LOGINS": str(self.registry_logins),
            # Many tests try wrong tokens, all from one address.
            "LIGHTD_LOGIN_FAILURES_PER_MINUTE": "10000",
            **settings,
        }

    def up(self) -> None:
        """Start it in the background and learn its token."""
        self.lightd("up", "--detach")
        self.token = self.lightd("token", "what").stdout.strip().removeprefix("Current Token: ")

    def down(self) -> None:
        """End its processes; containers keep running."""
        self.lightd("down")

    def lightd(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `./lightd` with these arguments for this instance; unless told otherwise it must succeed."""
        done = subprocess.run(
            [str(CHECKOUT / "lightd"), *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_UP_SECONDS,
        )
        if check and done.returncode != 0:
            command = f"./lightd {' '.join(arguments)}"
            output = done.stdout + done.stderr + self.log_tails()
            raise AssertionError(f"{command} ended with {done.returncode}:\n{output}")
        return done

    def api(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
        **more: Any,
    ) -> requests.Response:
        """Call the API with both headers; `headers` replaces or adds some, `token` is the master's unless given."""
        sent = {"Authorization": f"Bearer {token or self.token}", "Accept": VENDOR_TYPE, **(headers or {})}
        more.setdefault("timeout", 60)
        return requests.request(method, self.base_url + path, json=json, headers=sent, **more)

    def socket(self, container_id: str, *, token: str | None = None, **query: str | int) -> EventSocket:
        """Watch a container; `query` is added to the URL (`since=5`)."""
        added = "".join(f"&{name}={value}" for name, value in query.items())
        url = f"ws://{self.address}/ws/{container_id}?token={token or self.token}{added}"
        return EventSocket(url)

    def wait_for_state(self, container_id: str, state: str, seconds: float = 30) -> dict[str, Any]:
        """Poll a container until its `state` is this one; its record then."""

        def look() -> dict[str, Any] | None:
            record: dict[str, Any] = self.api("GET", f"/containers/{container_id}").json()
            if record.get("state") == "failed" != state:
                raise AssertionError(f"The container failed: {record}")
            return record if record.get("state") == state else None

        return eventually(look, within_seconds=seconds, what=f"state {state} of {container_id}") or {}

    def wait_for_job(self, job_id: str, seconds: float = 30) -> dict[str, Any]:
        """Poll a job until it has ended; its record then, whether done, failed or cancelled."""

        def look() -> dict[str, Any] | None:
            job: dict[str, Any] = self.api("GET", f"/jobs/{job_id}").json()
            return job if job.get("state") in ("done", "failed", "cancelled") else None

        return eventually(look, within_seconds=seconds, what=f"the end of job {job_id}") or {}

    def pid(self, name: str) -> int:
        """The process `name` (`api`, `files`, `quick`, `long`, `agent`, `store`, `stream`) as it runs now."""

        def look() -> int:
            listed = json.loads((self.data / "run/processes.json").read_text())
            return int(listed["processes"][name]["pid"] or 0)

        return eventually(look, within_seconds=10, what=f"a running {name}")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to the process `name`; the id it had. The supervisor starts it again when it ends."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def wait_restarted(self, name: str, old_pid: int, seconds: float = 10) -> int:
        """Wait until `name` runs under another id than `old_pid`; the new id."""
        return eventually(
            lambda: self.pid(name) if self.pid(name) != old_pid else 0,
            within_seconds=seconds,
            what=f"a restart of {name}",
        )

    def wait_ready(self, seconds: float = 30) -> None:
        """Wait until `/readyz` answers 200."""
        eventually(self._is_ready, within_seconds=seconds, what="/readyz")

    def delete_everything(self) -> None:
        """Delete all containers, volumes and ports through the API, and wait until they are gone."""
        for container in self.api("GET", "/containers?limit=1000").json()["containers"]:
            self.api("DELETE", f"/containers/{container['internal_id']}")
        eventually(
            lambda: not self.api("GET", "/containers").json()["containers"],
            within_seconds=60,
            what="the deletion of all containers",
        )
        for volume in self.api("GET", "/volumes?limit=1000").json()["volumes"]:
            self.api("DELETE", f"/volumes/{volume['volume_id']}")
        for port in self.api("GET", "/network/ports?limit=1000").json()["ports"]:
            self.api("DELETE", f"/network/ports/{port['ip']}/{port['port']}?protocol={port['protocol']}")

    def log_tails(self, lines: int = 25) -> str:
        """The last lines of every log, for a failed test."""
        tails = []
        for path in sorted((self.data / "log").glob("*.log")):
            last = path.read_text(errors="replace").splitlines()[-lines:]
            tails.append("\n".join((f"--- {path.name}", *last)))
        return "\n" + "\n".join(tails)

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.base_url}/readyz", timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False


@pytest.fixture(scope="session")
def stack(engine: docker.DockerClient) -> Iterator[Stack]:
    """A running Lightd for the whole test run. At the end everything is deleted through its API, it goes down, and
    nothing may be left of it: no container, private image, mount, loop device.
    """
    yield from running_stack(engine)


def running_stack(engine: docker.DockerClient, **settings: str) -> Iterator[Stack]:
    """What the fixture `stack` does, for a fixture that needs its own settings (`LIGHTD_…`)."""
    data = Path(tempfile.mkdtemp(prefix="lightd-test-"))
    stack = Stack(data, **settings)
    try:
        stack.up()
        yield stack
        stack.delete_everything()
        found = eventually_nothing(engine, stack)
    finally:
        stack.lightd("down", check=False)
        remove_network(engine, stack.network)
        left_after_down = leftovers(engine, stack.node, data)
        if not left_after_down:
            shutil.rmtree(data)
    assert not found, f"Left over although everything was deleted: {found}"
    assert not firewall_rules(stack.network)


def eventually_nothing(engine: docker.DockerClient, stack: Stack) -> list[str]:
    """What is left of an instance whose things were all deleted, after giving its workers a moment."""
    try:
        eventually(
            lambda: not leftovers(engine, stack.node, stack.data), within_seconds=10, what="the end of all things"
        )
    except AssertionError:
        return leftovers(engine, stack.node, stack.data)
    return []
