"""The firewall around containers, tried from inside real ones."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image

from fleet.settings import read_settings
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from tests.support.ports import free_port
from worker.firewall import Firewall
from worker.runtime.docker import DockerRuntime

pytestmark = pytest.mark.engine

Run = Callable[..., Container]


@pytest.fixture(scope="module")
def network(engine: docker.DockerClient) -> Iterator[str]:
    """The bridge of a host, without a firewall yet."""
    name = f"ag{secrets.token_hex(3)}"
    runtime = DockerRuntime(read_settings().engine, 30)
    runtime.ensure_network(name)
    runtime.close()
    yield name
    engine.networks.get(name).remove()


@pytest.fixture
def firewall(network: str) -> Iterator[Firewall]:
    """The firewall of the bridge, not in place yet."""
    made = Firewall(network)
    yield made
    made.remove()
    assert f"LIGHTD-{network.upper()}" not in _rules()


@pytest.fixture
def run(engine: docker.DockerClient, busybox_image: Image, network: str) -> Iterator[Run]:
    """Run a container on the bridge."""
    made: list[Container] = []

    def begin(command: str = "sleep 300", **options: object) -> Container:
        made.append(engine.containers.run(BUSYBOX, ["sh", "-c", command], detach=True, network=network, **options))
        return made[-1]

    yield begin
    for container in made:
        container.remove(force=True)


@pytest.fixture
def service() -> Iterator[int]:
    """A service of the host itself, on all its addresses."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


class Elsewhere:
    """Another machine in a private network: a network namespace behind a pair of interfaces."""

    def __init__(self) -> None:
        self._name = f"lt{secrets.token_hex(3)}"
        third = secrets.randbelow(200) + 20
        self.address, self.gateway, self.port = f"10.213.{third}.2", f"10.213.{third}.1", 7000

    def __enter__(self) -> Elsewhere:
        name = self._name
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("address", "add", f"{self.gateway}/30", "dev", name)
        _ip("link", "set", name, "up")
        self._inside("ip", "address", "add", f"{self.address}/30", "dev", "eth0")
        self._inside("ip", "link", "set", "eth0", "up")
        self._inside("ip", "route", "add", "default", "via", self.gateway)
        command = ["busybox", "nc", "-ll", "-p", str(self.port), "-e", "echo", "secret"]
        self._service = subprocess.Popen(["ip", "netns", "exec", name, *command])
        return self

    def __exit__(self, *_: object) -> None:
        self._service.kill()
        self._service.wait(10)
        _ip("netns", "delete", self._name)

    def fetch(self, port: int) -> bool:
        """Whether what this host publishes on the address between them answers from here."""
        asked = b"GET /passwd HTTP/1.0\r\n\r\n"
        return b"root:" in self._inside("busybox", "nc", "-w", "2", self.gateway, str(port), given=asked, check=False)

    def _inside(self, *command: str, given: bytes = b"", check: bool = True) -> bytes:
        done = subprocess.run(
            ["ip", "netns", "exec", self._name, *command], input=given, stdout=subprocess.PIPE, check=check
        )
        return done.stdout


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """A machine at a private address, which this host routes to."""
    with Elsewhere() as made:
        yield made


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with closing(connection):
            connection.sendall(b"secret\n")


def _rules() -> str:
    return "".join(
        subprocess.run([tool, "-w", "-S"], capture_output=True, text=True, check=True).stdout
        for tool in ("iptables", "ip6tables")
    )


def _reaches(container: Container, address: str, port: int) -> bool:
    return container.exec_run(["sh", "-c", f"nc -w 1 {address} {port} </dev/null"]).output.strip() == b"secret"


def _gateway(engine: docker.DockerClient, network: str) -> str:
    return str(engine.networks.get(network).attrs["IPAM"]["Config"][0]["Gateway"])


def _address(container: Container, network: str) -> str:
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])


def test_a_container_cannot_reach_the_hosts_own_services(
    engine: docker.DockerClient, network: str, firewall: Firewall, run: Run, service: int
) -> None:
    inside = run()
    gateway = _gateway(engine, network)
    assert _reaches(inside, gateway, service), "without the firewall it can"
    firewall.ensure()
    assert not _reaches(inside, gateway, service)
    firewall.remove()
    assert _reaches(inside, gateway, service)


def test_published_ports_can_be_reached_from_the_host(
    engine: docker.DockerClient, network: str, firewall: Firewall, run: Run
) -> None:
    firewall.ensure()
    port = free_port()
    command = "mkdir -p /tmp/www; echo hello > /tmp/www/index.html; httpd -f -p 8000 -h /tmp/www"
    inside = run(command, ports={"8000/tcp": ("127.0.0.1", port)})
    eventually(lambda: b"hello" in _fetch("127.0.0.1", port), within_seconds=5, what="the published port")
    assert b"hello" in _fetch(_address(inside, network), 8000)


def _fetch(address: str, port: int) -> bytes:
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while received := connection.recv(4096):
                answer += received
            return answer
    except OSError:
        return b""


def test_containers_cannot_reach_each_other(network: str, firewall: Firewall, run: Run) -> None:
    firewall.ensure()
    listening = run("while true; do echo secret | nc -l -p 7000; done")
    asking = run()
    address = _address(listening, network)
    assert not _reaches(asking, address, 7000)
    assert asking.exec_run(["ping", "-c", "1", "-W", "1", address]).exit_code == 1
    assert asking.exec_run(["cat", "/proc/net/if_inet6"]).output == b"", "there is no IPv6 to reach it by"


def test_metadata_addresses_cannot_be_reached(network: str, firewall: Firewall, run: Run) -> None:
    firewall.ensure()
    run().exec_run(["sh", "-c", "nc -w 1 169.254.169.254 80 </dev/null"])
    command = ["iptables", "-w", "-nvL", f"LIGHTD-{network.upper()}-OUT"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (dropped,) = re.findall(r"^\s*(\d+)\s+\d+ DROP .* 169\.254\.0\.0/16", listed, re.MULTILINE)
    assert int(dropped) > 0


def test_private_networks_can_be_closed_while_their_players_are_answered(
    network: str, run: Run, elsewhere: Elsewhere
) -> None:
    firewall = Firewall(network, private_networks=False)
    firewall.ensure()
    try:
        asking = run()
        assert not _reaches(asking, elsewhere.address, elsewhere.port)
        run("httpd -f -p 8000 -h /etc", ports={"8000/tcp": (elsewhere.gateway, 8000)})
        eventually(lambda: elsewhere.fetch(8000), within_seconds=10, what="an answer to a private network")
        Firewall(network).ensure()
        eventually(
            lambda: _reaches(asking, elsewhere.address, elsewhere.port), within_seconds=10, what="the open network"
        )
    finally:
        firewall.remove()


def test_a_store_on_another_machine_cannot_be_reached(network: str, run: Run, elsewhere: Elsewhere) -> None:
    asking = run()
    eventually(lambda: _reaches(asking, elsewhere.address, elsewhere.port), within_seconds=10, what="the other machine")
    firewall = Firewall(network, stores=(f"redis://user:word@{elsewhere.address}:{elsewhere.port}/0", "unix:///x"))
    firewall.ensure()
    try:
        assert not _reaches(asking, elsewhere.address, elsewhere.port)
        assert firewall.missing() == []
    finally:
        firewall.remove()


def test_a_store_stays_out_of_reach_while_its_name_cannot_be_looked_up(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_arguments: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def known(_host: str, port: int, family: int, kind: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        address = "203.0.113.7" if family == socket.AF_INET else "2001:db8::7"
        return [(family, kind, 6, "", (address, port))]

    firewall = Firewall(network, stores=("redis://store.example:6390",))
    try:
        for answer in (known, unknown):
            monkeypatch.setattr(socket, "getaddrinfo", answer)
            firewall.ensure()
            assert re.search(rf"-A LIGHTD-{network.upper()}-OUT -d 203.0.113.7/32 .*--dport 6390 -j DROP", _rules())
            assert firewall.missing() == []
    finally:
        firewall.remove()


def test_names_are_still_resolved(network: str, firewall: Firewall, run: Run) -> None:
    """By the engine's own resolver inside the container."""
    firewall.ensure()
    known = run(name=f"{network}-known")
    answer = run().exec_run(["nslookup", f"{network}-known"]).output.decode()
    assert _address(known, network) in answer


def test_rules_are_put_back_and_never_doubled(network: str, firewall: Firewall) -> None:
    firewall.ensure()
    first = [rule for rule in _rules().splitlines() if network in rule.lower()]
    subprocess.run(["iptables", "-w", "-D", "INPUT", "-i", network, "-j", f"LIGHTD-{network.upper()}"], check=True)
    subprocess.run(["iptables", "-w", "-F", f"LIGHTD-{network.upper()}"], check=True)
    firewall.ensure()
    firewall.ensure()
    assert sorted(rule for rule in _rules().splitlines() if network in rule.lower()) == sorted(first)


class FlushedHost:
    """A host without a single rule, in a network namespace of its own, with two containers on its bridge `br0`."""

    def __init__(self, cleanup: ExitStack) -> None:
        self._name = f"lt{secrets.token_hex(3)}"
        self._inner = [f"{self._name}-1", f"{self._name}-2"]
        for name in (self._name, *self._inner):
            _ip("netns", "add", name)
            cleanup.callback(_ip, "netns", "delete", name)
        self.run("ip", "link", "add", "br0", "type", "bridge")
        self.run("ip", "link", "set", "br0", "up")
        for number, name in enumerate(self._inner, 1):
            self.run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            self.run("ip", "link", "set", f"v{number}", "up", "master", "br0")
            self.run("ip", "address", "add", f"10.214.0.{number}/24", "dev", "eth0", inside=name)
            self.run("ip", "link", "set", "eth0", "up", inside=name)
        command = ["busybox", "nc", "-ll", "-p", "7000", "-e", "echo", "secret"]
        service = subprocess.Popen(["ip", "netns", "exec", self._inner[0], *command])
        cleanup.callback(service.wait, 10)
        cleanup.callback(service.kill)

    def run(self, *command: str, inside: str = "") -> str:
        """Run a command on the host, or in one of the containers."""
        whole = ["ip", "netns", "exec", inside or self._name, *command]
        return subprocess.run(whole, stdout=subprocess.PIPE, text=True, check=True).stdout

    def firewall(self, deed: str) -> str:
        """Have the host's firewall do something; what that answers."""
        code = f"from worker.firewall import Firewall; print(Firewall('br0').{deed}())"
        return self.run(sys.executable, "-c", code).strip()

    def containers_reach_each_other(self) -> bool:
        command = ["ip", "netns", "exec", self._inner[1], "busybox", "nc", "-w", "1", "10.214.0.1", "7000"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
        return done.stdout.strip() == b"secret"


def test_containers_stay_apart_when_somebody_has_flushed_the_engines_own_rules() -> None:
    with ExitStack() as cleanup:
        host = FlushedHost(cleanup)
        eventually(host.containers_reach_each_other, within_seconds=10, what="the containers' network")
        assert "does not lead to DOCKER-USER" in host.firewall("missing")
        host.firewall("ensure")
        assert host.firewall("missing") == "[]"
        assert not host.containers_reach_each_other()
        host.run("sysctl", "-q", "-w", "net.bridge.bridge-nf-call-iptables=0")
        assert "past iptables" in host.firewall("missing")
        assert host.containers_reach_each_other()
        host.firewall("ensure")
        assert not host.containers_reach_each_other()
        host.firewall("remove")
        eventually(host.containers_reach_each_other, within_seconds=10, what="the network without a firewall")
        host.run("iptables", "-t", "nat", "-N", "DOCKER")
        assert "published ports are gone" in host.firewall("missing")
