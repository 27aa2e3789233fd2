"""Limits that a client asks for, against what the container's host has."""

from __future__ import annotations

from typing import Any

from app.json_body import invalid_fields
from fleet.models import Limits, Node
from fleet.settings import Settings

_MB = 1024 * 1024
_NAMES = {"memory": "memory_bytes", "cpu": "cpu", "swap": "swap_bytes", "pids": "pids", "io_weight": "io_weight"}
"""What the API calls a limit, and what the record does."""


def problems_on(node: Node, wanted: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with limits on this host, by field: more than it has."""
    problems = {}
    if wanted.get("memory", 0) > node.memory_bytes:
        problems["memory"] = [f"Node {node.id} has {node.memory_bytes} bytes."]
    if wanted.get("cpu", 0) > node.cpus:
        problems["cpu"] = [f"Node {node.id} has {node.cpus} cores."]
    return problems


def first_limits(wanted: dict[str, Any], node: Node, settings: Settings) -> Limits:
    """What was asked for, with the operator's defaults, which shrink to what the host has. Raises Invalid."""
    problems = problems_on(node, wanted)
    if problems:
        raise invalid_fields({"limits": problems})
    return Limits(
        memory_bytes=wanted.get("memory", min(settings.default_memory_mb * _MB, node.memory_bytes)),
        cpu=wanted.get("cpu", min(settings.default_cpu, float(node.cpus))),
        pids=wanted.get("pids", settings.default_pids),
        swap_bytes=wanted.get("swap", 0),
        io_weight=wanted.get("io_weight"),
    )


def new_limits(wanted: dict[str, Any], node: Node) -> dict[str, Any]:
    """The limits that shall change, as the record names them. Raises Invalid."""
    problems = problems_on(node, wanted)
    if problems:
        raise invalid_fields(problems)
    return {_NAMES[name]: value for name, value in wanted.items()}


def shown_limits(limits: Limits) -> dict[str, Any]:
    """Limits as JSON."""
    return {name: getattr(limits, field) for name, field in _NAMES.items()}
