"""What a test instance may leave behind on a host, and how it is found and removed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

from scripts.remains import is_ghost, of_node
from storage.volumes.mounts import loop_devices_below, mounts_below
from worker.firewall import Firewall


def leftovers(engine: docker.DockerClient, node: str, data: Path) -> list[str]:
    """Containers and images labelled with `node`, mounts and loop devices below `data`; each as a sentence."""
    found = [remain.what for remain in of_node(engine, node)]
    found += [f"mount {point}" for point in mounts_below(data)]
    found += [f"loop device {device}" for device in loop_devices_below(data)]
    return found


def remove_network(engine: docker.DockerClient, network: str) -> None:
    """Remove the engine network that an instance's agent made, and its firewall rules."""
    try:
        engine.networks.get(network).remove()
    except NotFound:
        pass  # no agent got as far as making it
    except APIError as error:
        if not is_ghost(error):
            raise
    Firewall(network).remove()


def firewall_rules(network: str) -> list[str]:
    """Rules and chains of an instance's own that are still in the host's firewall."""
    own = f"LIGHTD-{network}".upper()
    rules: list[str] = []
    for tool in ("iptables", "ip6tables"):
        listed = subprocess.run([tool, "-w", "-S"], capture_output=True, text=True).stdout
        rules += [rule for rule in listed.splitlines() if own in rule]
    return rules
