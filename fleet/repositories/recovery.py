"""Writing into the record what a host holds: records that the store lost come back, others are left alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fleet import messages
from fleet.errors import Conflict
from fleet.lifecycle import InstallState, State
from fleet.models import Container, Volume
from fleet.repositories.container_fields import changed_fields, container_fields
from fleet.scripts import Scripts
from fleet.store import Client

KNOWN, NEW, REPLACED, UPDATED = "known", "new", "replaced", "updated"
"""What became of a record: it was there, it has come back, it has taken the place of an older one, or it was there and
has what was changed since.
"""

_LOST = "Its host did not hold it any more when the record came back, and another container has its port; reinstall it."


class RecoveryRepository:
    """Volumes and containers as their host tells of them, each in one atomic step that may be repeated."""

    def __init__(self, redis: Client) -> None:
        self._scripts = Scripts(redis)

    def volume(self, volume: Volume, *, force: bool = False) -> str:
        """Bring a volume back; raises Conflict when the record says that another host has it."""
        request = {"volume": asdict(volume), "force": force or None}
        answer = self._scripts.run("recover_volume", request)
        if answer[0] != "ok":
            raise Conflict(f"The store knows volume {volume.volume_id} as one of node {answer[2]}.")
        return answer[1]

    def give_up_ports(self, node: str, held: Mapping[str, Container | None], *, force: bool = False) -> list[str]:
        """Take ports that containers of this host have from others of it that have them no more, as after a backup from
        before they changed hands. Answers the names of those that the host does not hold at all: they have failed.

        `held` are all containers that the host holds, None for one of which it is not known what it is.
        """
        now = time.time()
        lost = {"state": State.FAILED, "install_state": InstallState.FAILED, "container_id": None, "error": _LOST}
        request: dict[str, Any] = {
            "node": node,
            "held": {name: _ports_of(container) for name, container in held.items()},
            "force": force or None,
            "lost": changed_fields(
                {**lost, "run": None, "ended_run": None, "own_image": False, "next_spec": None}, now
            ),
            "at": now,
            "messages": [messages.event(messages.FAILED), messages.error(_LOST)],
        }
        return self._scripts.run("give_up_ports", request)

    def container(self, container: Container, *, force: bool = False) -> str:
        """Bring a container back with its ports, which a failed one does not hold.

        Raises Conflict when the store knows another container by this name, has no such volume, or has given one of
        the ports away.
        """
        ports = [{**asdict(port), "member": port.member} for port in container.ports]
        request: dict[str, Any] = {
            "container": container_fields(container),
            "ports": ports,
            "holds_ports": container.state is not State.FAILED or None,
            "force": force or None,
            "at": time.time(),
            "messages": [messages.event(_shown(container.state))],
        }
        answer = self._scripts.run("recover_container", request)
        if answer[0] != "ok":
            raise _refusal(container, answer)
        return answer[1]


def _ports_of(container: Container | None) -> dict[str, Any]:
    """Whose they are, as far as that is known, and which."""
    if container is None:
        return {"known": False}
    holds = container.ports if container.state is not State.FAILED else ()
    fields = container_fields(container)
    return {
        "volume_id": fields["volume_id"],
        "created_at": fields["created_at"],
        "ports": [port.member for port in holds],
    }


def _shown(state: State) -> str:
    """The event that tells watchers of a state; at rest it is the end of a run."""
    return messages.EXIT if state is State.READY else state.value


def _refusal(container: Container, answer: list[str]) -> Conflict:
    name = container.internal_id
    if answer[1] == "other":
        return Conflict(f"The store knows another container {name}, on node {answer[2]}.")
    if answer[1] == "volume":
        return Conflict(f"Container {name} is on volume {answer[2]}, which the store does not know.")
    address = "{}:{}/{}".format(*answer[2].split("|"))
    if answer[1] == "taken":
        return Conflict(f"Container {name} has port {address}, which the store has given to container {answer[3]}.")
    return Conflict(f"Container {name} has port {address}, which overlaps with {answer[3]} in the pool.")
