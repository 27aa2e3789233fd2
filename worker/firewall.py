"""What containers may reach: the internet and what is published; not the host's own services, the stores, metadata.

Two chains per network, which hold only rules of ours: `LIGHTD-<NETWORK>` for packets to the host itself (from INPUT)
and `LIGHTD-<NETWORK>-OUT` for packets that it passes on (from DOCKER-USER, the engine's place for such rules).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from fleet.errors import Unavailable
from fleet.settings import Settings

_SECONDS = 10
_RESOLVERS = Path("/etc/resolv.conf")
_STORE_PORT = 6379
_BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_ENGINES = "DOCKER-USER"
_NAT = ("iptables", "-t", "nat")
_PUBLISHED = ("-m", "addrtype", "--dst-type", "LOCAL", "-j", "DOCKER")

_METADATA = {
    "iptables": ("169.254.0.0/16", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32"),
    "ip6tables": ("fe80::/10", "fd00:ec2::254/128"),
}
"""Where clouds tell a machine its secrets: link-local, and those of Alibaba, Oracle, Azure and Amazon (IPv6)."""

_PRIVATE = {
    "iptables": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    "ip6tables": ("fc00::/7",),
}
"""Other machines of whoever runs this host, and of its provider."""

log = structlog.get_logger()


def firewall_of(settings: Settings) -> Firewall:
    """The one around this host's containers."""
    stores = (settings.redis_url, settings.stream_url)
    return Firewall(settings.network, private_networks=settings.private_networks, stores=stores)


class Firewall:
    """Keeps the rules of one network in place."""

    def __init__(self, network: str, *, private_networks: bool = True, stores: tuple[str, ...] = ()) -> None:
        """`private_networks`: whether containers may connect to addresses that are not on the public internet. `stores`
        are URLs that they may not connect to on other machines either.
        """
        self._network = network
        self._private_networks = private_networks
        self._stores = stores
        self._led_to: dict[tuple[str, str], set[tuple[str, int]]] = {}
        self._input = f"LIGHTD-{network.upper()}"
        self._forward = f"LIGHTD-{network.upper()}-OUT"
        self._told = False

    def is_possible(self) -> bool:
        """Whether this process may set rules at all."""
        return os.geteuid() == 0 and shutil.which("iptables") is not None

    def is_here(self) -> bool:
        """Whether this process sees the bridge: one in a container with a network of its own has other rules."""
        return Path("/sys/class/net", self._network).exists()

    def ensure(self) -> None:
        """Put all rules in place again, whatever happened to them; raises Unavailable when that fails."""
        if not self.is_possible():
            if not self._told:
                self._told = True
                log.warning(
                    "containers can reach this host's own services: LIGHTD_FIREWALL needs root and the iptables command"
                )
            return
        for tool in _tools():
            self._fill_chains(tool)
            if tool == "iptables" and not _exists(tool, _ENGINES):
                _run([tool, "-w", "-N", _ENGINES])
            for parent, *rule in self._jumps(tool):
                if not _ok(tool, "-C", parent, *rule):
                    _run([tool, "-w", "-I", parent, "1", *rule])
        if _bridge_is_open():
            _BRIDGED.write_text("1")

    def missing(self) -> list[str]:
        """What is not in place of what `ensure` puts there, a sentence each."""
        if not self.is_possible():
            return ["The firewall around containers cannot be set: it needs root and the iptables command."]
        sentences: list[str] = []
        for tool in _tools():
            for chain, rules in ((self._input, _input_rules(tool)), (self._forward, self._forward_rules(tool))):
                if not _holds(tool, chain, list(rules)):
                    sentences.append(f"The chain {chain} of {tool} does not have the rules that it should.")
            for parent, *rule in self._jumps(tool):
                if not _ok(tool, "-C", parent, *rule):
                    sentences.append(f"The chain {parent} of {tool} does not lead to {rule[-1]}.")
        if _bridge_is_open():
            sentences.append(f"Containers can reach each other past iptables: {_BRIDGED} is 0.")
        if _ok(*_NAT, "-S", "DOCKER") and not _ok(*_NAT, "-C", "PREROUTING", *_PUBLISHED):
            sentences.append("The engine's own rules for published ports are gone from iptables; restart the engine.")
        return sentences

    def remove(self) -> None:
        """Take all rules away; fine when there are none."""
        for tool in _tools():
            for parent, chain in (("INPUT", self._input), (_ENGINES, self._forward)):
                while _ok(tool, "-D", parent, "-i", self._network, "-j", chain):
                    pass
                if _exists(tool, chain):
                    _run([tool, "-w", "-F", chain])
                    _run([tool, "-w", "-X", chain])

    def _fill_chains(self, tool: str) -> None:
        """Replace the content of both chains in one step."""
        lines = ["*filter", f":{self._input} - [0:0]", f":{self._forward} - [0:0]"]
        lines += [f"-A {self._input} {rule}" for rule in _input_rules(tool)]
        lines += [f"-A {self._forward} {rule}" for rule in self._forward_rules(tool)]
        _run([f"{tool}-restore", "-w", "--noflush"], "\n".join([*lines, "COMMIT", ""]))

    def _jumps(self, tool: str) -> Iterator[tuple[str, ...]]:
        """The ways into both chains: a chain and the rule that stands in it, whose last word is where it leads."""
        yield "INPUT", "-i", self._network, "-j", self._input
        if tool == "iptables" or _exists(tool, _ENGINES):
            yield "FORWARD", "-j", _ENGINES
            yield _ENGINES, "-i", self._network, "-j", self._forward

    def _forward_rules(self, tool: str) -> Iterator[str]:
        yield f"-o {self._network} -j DROP"  # the engine's own rule for this is lost when somebody flushes iptables
        for address, port in self._store_addresses(tool):
            yield f"-d {address} -p tcp --dport {port} -j DROP"
        yield "-p udp --dport 53 -j RETURN"  # on some clouds the name server has a metadata address
        yield "-p tcp --dport 53 -j RETURN"
        for address in _METADATA[tool]:
            yield f"-d {address} -j DROP"
        if not self._private_networks:
            yield "-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"  # whoever plays may sit there
            for address in _PRIVATE[tool]:
                yield f"-d {address} -j DROP"
        yield "-j RETURN"

    def _store_addresses(self, tool: str) -> list[tuple[str, int]]:
        """What the stores' URLs lead to, or led to before if their names mean nothing now; none for a local socket."""
        family = socket.AF_INET if tool == "iptables" else socket.AF_INET6
        addresses: set[tuple[str, int]] = set()
        for url in self._stores:
            parts = urlsplit(url)
            if parts.scheme != "unix" and parts.hostname:
                with contextlib.suppress(OSError):
                    found = socket.getaddrinfo(parts.hostname, parts.port or _STORE_PORT, family, socket.SOCK_STREAM)
                    self._led_to[tool, url] = {(str(to[0]).partition("%")[0], int(to[1])) for *_, to in found}
                addresses |= self._led_to.get((tool, url), set())
        return sorted(addresses)


def _input_rules(tool: str) -> Iterator[str]:
    yield "-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"
    if tool == "ip6tables":
        yield "-p ipv6-icmp -j RETURN"
    for address in _resolvers(tool):
        yield f"-d {address} -p udp --dport 53 -j RETURN"
        yield f"-d {address} -p tcp --dport 53 -j RETURN"
    yield "-j DROP"


def _resolvers(tool: str) -> Iterator[str]:
    """The host's name servers: where they are the host itself, containers still need them."""
    version = 4 if tool == "iptables" else 6
    for line in _RESOLVERS.read_text().splitlines() if _RESOLVERS.exists() else []:
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ipaddress.ip_address(words[1].partition("%")[0])
        except ValueError:
            continue
        if address.version == version and not address.is_loopback:
            yield str(address)


def _bridge_is_open() -> bool:
    """Whether the kernel keeps from iptables what goes from one container to another."""
    return _BRIDGED.exists() and _BRIDGED.read_text().strip() == "0"


def _tools() -> list[str]:
    """iptables, and ip6tables where the kernel has IPv6."""
    with_ipv6 = shutil.which("ip6tables") and Path("/proc/net/if_inet6").exists()
    return ["iptables", "ip6tables"] if with_ipv6 else ["iptables"]


def _holds(tool: str, chain: str, rules: list[str]) -> bool:
    """Whether a chain has all of these rules and no others."""
    listed = subprocess.run([tool, "-w", "-S", chain], capture_output=True, text=True, timeout=_SECONDS, check=False)
    count = sum(line.startswith("-A ") for line in listed.stdout.splitlines())
    return count == len(rules) and all(_ok(tool, "-C", chain, *rule.split()) for rule in rules)


def _exists(tool: str, chain: str) -> bool:
    return _ok(tool, "-S", chain)


def _ok(tool: str, *arguments: str) -> bool:
    done = subprocess.run([tool, "-w", *arguments], capture_output=True, timeout=_SECONDS, check=False)
    return done.returncode == 0


def _run(command: list[str], given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)} failed: {done.stderr.strip()}")
