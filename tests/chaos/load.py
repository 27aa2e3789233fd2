"""Clients at work: each has servers of its own and does to them whatever comes to its mind."""

from __future__ import annotations

import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import requests

from tests.chaos.ledger import Files, Ports, Server
from tests.chaos.timeline import Timeline
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from tests.support.stack import Stack

T = TypeVar("T")

CLIENTS = 6
SERVERS_EACH = 6
POOL = range(21000, 21048)
_VOLUME_MB = 24
_EXTRA_MB = 16
_THOUGHT_SECONDS = 0.4
_CALL_SECONDS = 60
_TRIES = 4
_TEMPERS = (
    {"startup_command": "echo Ready; exec sleep 100000"},
    {"startup_command": "echo Ready; exec sleep 100000", "start_pattern": "Ready"},
    {"startup_command": "trap '' TERM; echo Ready; while true; do sleep 1; done", "stop_timeout": 2},
    {"startup_command": "while read -r line; do [ $line = end ] && exit 0; done", "stop_command": "end"},
    {"startup_command": "echo Ready; exec sleep 100000", "restart_policy": "always"},
)
_SCRIPTS = (None, None, "#!/bin/sh\nmkdir -p /opt\ndate > /opt/made\n", "#!/bin/sh\nsleep 1\ndate > made\n")
_UNANSWERED = 0
_FIRST_PIDS = 32


class Client:
    """One client; it does one thing at a time, so it knows what each of its servers must be."""

    def __init__(self, number: int, seed: int, stack: Stack, address: str, timeline: Timeline) -> None:
        self._random = random.Random(f"{seed}/{number}")
        self._stack = stack
        self._address = address
        self._timeline = timeline
        self._name = f"client {number}"
        self._number = number
        self._extra: list[str] = []
        self.servers: list[Server] = []
        self.volumes: set[str] = set()
        self.files = Files()
        self.answers: Counter[str] = Counter()
        self.at_work = threading.Lock()

    def settle(self) -> None:
        """Make the volume that all its servers share."""
        status, made = self._call("POST", "/volumes", {"size": _VOLUME_MB})
        assert status == 201, made
        self.volumes.add(made["volume_id"])
        self.servers = [Server(f"c{self._number}-{n}", made["volume_id"]) for n in range(SERVERS_EACH)]

    def work(self, rest: threading.Event) -> None:
        """Go on until it is time to rest."""
        while not rest.is_set():
            with self.at_work:
                self._do_something()
            rest.wait(self._random.uniform(0, _THOUGHT_SECONDS))

    def _do_something(self) -> None:
        server = self._random.choice(self.servers)
        if server.there is None:
            self._look(server)
        elif not server.there:
            self._create(server)
        else:
            deeds: list[tuple[Callable[[Server], None], int]] = [
                (lambda one: self._act(one, "start"), 7),
                (lambda one: self._act(one, "stop"), 3),
                (lambda one: self._act(one, "kill"), 3),
                (lambda one: self._act(one, "restart"), 3),
                (self._rebind, 4),
                (lambda one: self._act(one, "reinstall"), 2),
                (lambda one: self._act(one, "repair"), 1),
                (self._label, 2),
                (self._limit, 2),
                (self._delete, 2),
                (self._write, 6),
                (lambda _: self._come_and_go(), 1),
            ]
            deed = self._random.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])[0]
            deed(server)

    def _create(self, server: Server) -> None:
        ports = self._some_ports()
        body = {
            "internal_id": server.name,
            "image": BUSYBOX,
            "volume_id": server.volume_id,
            "ports": _bindings(ports),
            "limits": {"memory": 24 * 2**20, "cpu": 0.5, "pids": _FIRST_PIDS},
            **self._random.choice(_TEMPERS),
        }
        script = self._random.choice(_SCRIPTS)
        if script:
            body["install_script"] = script
        server.begin(ports, _FIRST_PIDS)
        status, answer = self._call("POST", "/containers", body, repeat=True)
        if status == 200:
            server.there = True
            server.jobs.append(answer["job_id"])
        elif status == 409 and answer["code"] == "container_exists":
            self._timeline.wrong(f"{server.name} was deleted, but a new one is refused because it exists.")
        elif status in (400, 404, 409) and answer["code"] != "idempotency_interrupted":
            server.gone()

    def _act(self, server: Server, action: str) -> None:
        status, answer = self._call("POST", f"/containers/{server.name}/{action}", repeat=action != "repair")
        if status in (200, 202) and "job_id" in answer:
            server.jobs.append(answer["job_id"])
        self._check_known(server, status, answer)

    def _rebind(self, server: Server) -> None:
        ports = self._some_ports()
        path = f"/containers/{server.name}/rebind-network"
        status, answer = self._call("POST", path, {"ports": _bindings(ports)})
        if status == 200:
            server.jobs.append(answer["job_id"])
        if status in (200, _UNANSWERED):
            server.rebindings.append((answer.get("job_id"), ports))
        self._check_known(server, status, answer)

    def _label(self, server: Server) -> None:
        label = secrets.token_hex(4)
        status, answer = self._call("PATCH", f"/containers/{server.name}", {"labels": {"n": label}})
        server.label = _after(status, server.label, label)
        self._check_known(server, status, answer)

    def _limit(self, server: Server) -> None:
        pids = self._random.randrange(32, 64)
        status, answer = self._call("POST", f"/containers/{server.name}/resources", {"pids": pids})
        server.pids = _after(status, server.pids, pids)
        self._check_known(server, status, answer)

    def _delete(self, server: Server) -> None:
        """Delete; one whose deletion was asked for before may be gone by now, or will be."""
        may_be_gone, server.deletion_asked = server.deletion_asked, True
        status, answer = self._call("DELETE", f"/containers/{server.name}")
        if status == 200:
            server.gone()
        elif status in (202, _UNANSWERED):
            server.there = None
        elif status == 404 and may_be_gone:
            server.gone()
        else:
            server.deletion_asked = may_be_gone
            self._check_known(server, status, answer)

    def _look(self, server: Server) -> None:
        """Find out what an unanswered call did."""
        status, _ = self._call("GET", f"/containers/{server.name}")
        if status == 404:
            server.gone()
        elif status == 200 and not server.deletion_asked:
            server.there = True
        elif status == 200:
            self._delete(server)

    def _check_known(self, server: Server, status: int, answer: dict[str, Any]) -> None:
        """Only a container that is not found is gone; what else was not, the sentence says."""
        if status == 404:
            told = answer.get("error")
            self._timeline.wrong(f"{server.name} was created, but a call for it is answered with 404: {told}")
            if answer.get("code") == "container_not_found":
                server.gone()

    def _write(self, server: Server) -> None:
        path = f"notes/{self._number}-{self._random.randrange(4)}"
        content = secrets.token_hex(4) * self._random.choice((1, 1000, 60_000))
        self.files.may_have(server.volume_id, path, content)
        body = {"path": path, "content": content}
        status, _ = self._call("POST", f"/volumes/{server.volume_id}/files", body)
        if status == 200:
            self.files.has(server.volume_id, path, content)
        elif status != _UNANSWERED:
            self.files.has_not(server.volume_id, path, content)
        if status == 404:
            self._timeline.wrong(f"Volume {server.volume_id} was created, but a write to it is answered with 404.")

    def _come_and_go(self) -> None:
        """Make a volume, or delete one that was made so."""
        if not self._extra:
            status, answer = self._call("POST", "/volumes", {"size": _EXTRA_MB})
            if status == 201:
                self._extra.append(answer["volume_id"])
                self.volumes.add(answer["volume_id"])
            return
        status, _ = self._call("DELETE", f"/volumes/{self._extra[0]}")
        if status != 409:  # what was not answered with success may have been begun all the same
            self.volumes.discard(self._extra[0])
            self.files.forget(self._extra[0])
        if status in (204, 404, _UNANSWERED):
            self._extra.pop()

    def _some_ports(self) -> Ports:
        return frozenset(self._random.sample(POOL, self._random.choice((0, 1, 1, 2))))

    def _call(self, method: str, path: str, body: Any = None, *, repeat: bool = False) -> tuple[int, dict[str, Any]]:
        """Status and body of an answer; status 0 when nobody can know what the call did.

        With `repeat` a call that went unanswered is sent again under the same key, as a careful client does.
        """
        headers = {"Idempotency-Key": secrets.token_hex(8)} if repeat else {}
        for _ in range(_TRIES if repeat else 1):
            status, answer = self._send(method, path, body, headers)
            if status != _UNANSWERED:
                break
            threading.Event().wait(0.5)
        return status, answer

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        answer: dict[str, Any] = {}
        try:
            response = self._stack.api(method, path, json=body, headers=headers, timeout=_CALL_SECONDS)
            status = response.status_code
            answer = response.json() if response.content else {}
            told = f"{status} {answer.get('error') or answer.get('job_id') or ''}"
        except (requests.RequestException, ValueError) as error:
            status, told = _UNANSWERED, f"no answer ({type(error).__name__})"
        self._timeline.note(self._name, f"{method} {path} -> {told}")
        self.answers[f"{status or 'none'}"] += 1
        if status == 500:
            self._timeline.wrong(f"{method} {path} was answered with 500.")
        in_doubt = status >= 500 or answer.get("code") in ("idempotency_in_progress", "idempotency_interrupted")
        return (_UNANSWERED if in_doubt or status == 401 else status), answer


class Load:
    """All clients; `working` has them at work in threads, `paused` keeps them from calling for a moment."""

    def __init__(self, seed: int, stack: Stack, address: str, timeline: Timeline) -> None:
        self._stack = stack
        self._address = address
        self.clients = [Client(number, seed, stack, address, timeline) for number in range(CLIENTS)]

    def settle(self) -> None:
        """Fill the pool and make the volumes."""
        self.offer_ports()
        for client in self.clients:
            client.settle()

    def offer_ports(self) -> None:
        """Put all ports into the pool that are not there."""
        for port in POOL:
            eventually(partial(self._offer, port), within_seconds=30, what=f"port {port} in the pool")

    def _offer(self, port: int) -> bool:
        with suppress(requests.RequestException):
            answer = self._stack.api("POST", "/network/ports", json={"ip": self._address, "port": port})
            return answer.status_code in (200, 400)
        return False

    @contextmanager
    def working(self) -> Iterator[None]:
        """The clients work while the block runs, and have ended their last call after it."""
        rest = threading.Event()
        threads = [threading.Thread(target=client.work, args=(rest,), daemon=True) for client in self.clients]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            rest.set()
            for thread in threads:
                thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No call is under way while the block runs."""
        with ExitStack() as held:
            for client in self.clients:
                held.enter_context(client.at_work)
            yield

    @property
    def servers(self) -> list[Server]:
        """Those of all clients."""
        return [server for client in self.clients for server in client.servers]


def _after(status: int, possible: set[T], value: T) -> set[T]:
    """What a thing may be after an answer to the call that would set it."""
    if status == 200:
        return {value}
    return possible | {value} if status in (202, _UNANSWERED) else possible


def _bindings(ports: Ports) -> list[dict[str, Any]]:
    return [{"container_port": 80, "host_port": port, "protocol": "tcp"} for port in sorted(ports)]
