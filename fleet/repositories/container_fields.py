"""A container's record as the store keeps it: one text for each field."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from fleet.lifecycle import InstallState, State
from fleet.models import Container, Limits, PortBinding, Spec


def changed_fields(changes: dict[str, Any], now: float) -> dict[str, str]:
    """Record fields as the store keeps them: text, '' for None."""
    fields = {name: _text(value) for name, value in changes.items()}
    fields["updated_at"] = str(int(now))
    return fields


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, Spec):
        return json.dumps(asdict(value))
    return str(value)


def new_fields(container: Container) -> dict[str, str]:
    """A new record, without ports: the pool decides about them."""
    fields = container_fields(container)
    del fields["ports"]
    return fields


def container_fields(container: Container) -> dict[str, str]:
    """A whole record as the store keeps it."""
    kept = {name: getattr(container, name) for name in Container.__slots__ if name not in ("ports", "next_ports")}
    fields = {name: _text(value) for name, value in kept.items() if value not in (None, False)}
    return fields | {"ports": json.dumps([asdict(port) for port in container.ports])}


def container_from_fields(fields: dict[str, str]) -> Container:
    """The record that `container_fields` wrote."""
    exit_code = fields.get("exit_code")
    return Container(
        internal_id=fields["internal_id"],
        node=fields["node"],
        volume_id=fields["volume_id"],
        spec=_spec(fields["spec"]),
        ports=_bindings(fields["ports"]),
        state=State(fields["state"]),
        install_state=InstallState(fields["install_state"]),
        container_id=fields.get("container_id") or None,
        job_id=fields.get("job_id") or None,
        created_at=int(fields["created_at"]),
        updated_at=int(fields["updated_at"]),
        run=fields.get("run") or None,
        ended_run=fields.get("ended_run") or None,
        exit_code=int(exit_code) if exit_code else None,
        oom_killed=fields.get("oom_killed") == "1",
        error=fields.get("error") or None,
        deleting=fields.get("deleting") == "1",
        restart_at=float(fields["restart_at"]) if fields.get("restart_at") else None,
        restarts=int(fields.get("restarts") or 0),
        next_ports=_bindings(fields["next_ports"]) if fields.get("next_ports") else None,
        next_spec=_spec(fields["next_spec"]) if fields.get("next_spec") else None,
        own_image=fields.get("own_image") == "1",
        revision=int(fields.get("revision") or 0),
        started_with=fields.get("started_with") or None,
    )


def _spec(text: str) -> Spec:
    spec = json.loads(text)
    return Spec(**{**spec, "limits": Limits(**spec["limits"])})


def _bindings(text: str) -> tuple[PortBinding, ...]:
    return tuple(PortBinding(**binding) for binding in json.loads(text))
