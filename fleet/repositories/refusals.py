"""What the scripts' refusals of a container's change mean, in sentences for the person who must act."""

from __future__ import annotations

from fleet.errors import (
    ActionNotAllowed,
    AlreadyExists,
    Conflict,
    Invalid,
    LightdError,
    NotFound,
    PortNotInPool,
    PortTaken,
)


def installing() -> ActionNotAllowed:
    """The error for a change of what is being installed."""
    return ActionNotAllowed("Cannot change a container that is installing; wait for the end of its install.")


PORT_REASONS = ("pool", "taken", "twice", "none")


def port_error(reason: str, member: str) -> LightdError:
    """The error for a port that cannot be had; `member` is its name in the pool, or the protocol that ran out."""
    if reason == "pool":
        return PortNotInPool()
    if reason == "none":
        return Conflict(f"No free {member} port is left in the pool; add one.", code="no_port_free")
    ip, port, protocol = member.split("|")
    if reason == "twice":
        return Invalid(f"Port {ip}:{port}/{protocol} is asked for twice.", code="port_twice")
    return PortTaken(f"Port {ip}:{port}/{protocol} is in use by another container or reserved.")


def creation_error(container_id: str, reason: str, about: list[str]) -> Exception:
    """The error for a container that was not recorded."""
    if reason == "exists":
        return AlreadyExists(f"Container already exists: {container_id}", code="container_exists")
    if reason == "confusing":
        return AlreadyExists(
            f"A container {container_id} cannot be beside {about[0]}: its install would have the other's name.",
            code="container_exists",
        )
    if reason == "volume":
        return NotFound("Volume not found", code="volume_not_found")
    if reason in PORT_REASONS:
        return port_error(reason, about[0])
    return Invalid(f"The container was refused: {reason}.")
