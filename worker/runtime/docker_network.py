"""The network that a host's containers share."""

from __future__ import annotations

from docker import APIClient
from docker.errors import APIError

LABEL = "lightd.network"


def ensure_network(client: APIClient, name: str) -> None:
    """Make the bridge `name`; of several who do so at once, one makes it and the others find it."""
    if _exists(client, name):
        return
    try:
        client.create_network(
            name,
            driver="bridge",
            options={"com.docker.network.bridge.name": name, "com.docker.network.bridge.enable_icc": "false"},
            labels={LABEL: name},
        )
    except APIError:
        if not _exists(client, name):
            raise


def renew_network(client: APIClient, name: str) -> bool:
    """Make a network of ours anew whose bridge somebody took away. False while other containers are in it: only the
    engine's own restart helps those.
    """
    if not any((network["Labels"] or {}).get(LABEL) == name for network in client.networks(names=[name])):
        return False
    try:
        client.remove_network(name)
    except APIError:
        return False
    ensure_network(client, name)
    return True


def _exists(client: APIClient, name: str) -> bool:
    return any(network["Name"] == name for network in client.networks(names=[name]))
