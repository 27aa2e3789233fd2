"""A container as the engine has it, against the create call that would make it now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker.runtime.base import LABELS_OF_THE_PLAN

Told = dict[str, Any]
"""What the engine tells of a container, or what it would be told to make one."""


def differences(found: Told, wanted: Told) -> list[str]:
    """The names of all aspects that are not the same."""
    return [name for name, aspect in _ASPECTS.items() if aspect(found, wanted) != aspect(wanted, wanted)]


def _ports(told: Told, _wanted: Told) -> set[tuple[str, str, str]]:
    bindings = told["HostConfig"].get("PortBindings") or {}
    return {(inside, at["HostIp"], at["HostPort"]) for inside, hosts in bindings.items() for at in hosts or []}


def _limits(told: Told, wanted: Told) -> dict[str, int]:
    limits = {name: int(told["HostConfig"].get(name) or 0) for name in ("Memory", "NanoCpus", "PidsLimit")}
    for name in ("MemorySwap", "BlkioWeight"):  # 0 or less: this kernel cannot limit it
        value = int(told["HostConfig"].get(name) or 0)
        limits[name] = value if value > 0 else int(wanted["HostConfig"].get(name) or 0)
    return limits


def _labels(told: Told, wanted: Told) -> dict[str, str | None]:
    labels = told.get("Labels") or (told.get("Config") or {}).get("Labels") or {}
    return {name: labels.get(name) for name in wanted["Labels"] if name not in LABELS_OF_THE_PLAN}


def _mounts(told: Told, _wanted: Told) -> set[tuple[str, str, bool]]:
    mounts = told["HostConfig"].get("Mounts") or []
    return {(mount["Source"], mount["Target"], bool(mount.get("ReadOnly"))) for mount in mounts}


def _network(told: Told, _wanted: Told) -> str:
    return str(told["HostConfig"]["NetworkMode"])


def _rights(told: Told, _wanted: Told) -> tuple[Any, ...]:
    host = told["HostConfig"]
    user = told.get("User") or (told.get("Config") or {}).get("User")
    names = [sorted(host.get(name) or []) for name in ("CapAdd", "CapDrop", "SecurityOpt")]
    return user, bool(host.get("Privileged")), bool(host.get("ReadonlyRootfs")), *names


_ASPECTS: dict[str, Callable[[Told, Told], Any]] = {
    "ports": _ports,
    "limits": _limits,
    "labels": _labels,
    "mounts": _mounts,
    "network": _network,
    "rights": _rights,
}
