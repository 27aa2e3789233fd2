"""What a test instance may leave behind on a host, and how it is found and removed."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import docker
from docker.errors import NotFound

from scripts.remains import in_engine, loop_devices_below, mounts_below


def leftovers(engine: docker.DockerClient, node: str, data: Path) -> list[str]:
    """Containers and images labelled with `node`, mounts and loop devices below `data`; each as a sentence."""
    found = [remain.what for remain in in_engine(engine, node)]
    found += [f"mount {point}" for point in mounts_below(data)]
    found += [f"loop device {device}" for device in loop_devices_below(data)]
    return found


def remove_network(engine: docker.DockerClient, network: str) -> None:
    """Remove the engine network that an instance's agent made, and its firewall chain with the jumps to it."""
    with contextlib.suppress(NotFound):  # then no agent got as far as making it
        engine.networks.get(network).remove()
    chain = chain_name(network)
    for tables in ("iptables", "ip6tables"):
        for parent in ("INPUT", "DOCKER-USER"):
            for rule in _jumps(tables, parent, chain):
                _run([tables, "-w", "-D", *rule.split()[1:]])
        if _exists(tables, chain):
            _run([tables, "-w", "-F", chain])
            _run([tables, "-w", "-X", chain])


def firewall_chain_gone(network: str) -> bool:
    """Whether no rule of the instance's own chain is left."""
    return not any(_exists(tables, chain_name(network)) for tables in ("iptables", "ip6tables"))


def chain_name(network: str) -> str:
    """The firewall chain that an agent makes for its network."""
    return f"LIGHTD-{network}".upper()


def _jumps(tables: str, parent: str, chain: str) -> list[str]:
    rules = subprocess.run([tables, "-w", "-S", parent], capture_output=True, text=True).stdout
    return [rule for rule in rules.splitlines() if rule.endswith(f"-j {chain}")]


def _exists(tables: str, chain: str) -> bool:
    return subprocess.run([tables, "-w", "-n", "-L", chain], capture_output=True).returncode == 0


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
