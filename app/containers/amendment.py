"""Changing what a container shall be, without an install."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.services import Services
from fleet.models import Container, Spec
from fleet.settings import Settings

_NAMES = {"stop_timeout": "stop_timeout_seconds", "install_timeout": "install_timeout_seconds"}
"""Fields that the record calls otherwise."""


def amend_container(services: Services, container_id: str, wanted: dict[str, Any]) -> Container:
    """Write changes into a container's record, all or none; the record afterwards. A start makes the rest of it.

    Raises NotFound, ActionNotAllowed while it installs, Conflict while it is deleted.
    """
    usual = _usual(services.settings)
    changes = {_NAMES.get(name, name): usual[name] if value is None else value for name, value in wanted.items()}
    if "restart_policy" in changes:
        policy = changes.pop("restart_policy")
        changes |= {"restart_policy": policy["policy"], "restart_tries": policy["max_tries"]}

    def changed(spec: Spec) -> Spec:
        return replace(spec, **changes)

    return services.containers.amend(container_id, changed, named=sorted(wanted))


def _usual(settings: Settings) -> dict[str, Any]:
    """What each field is when nobody says anything."""
    return {
        "start_pattern": None,
        "env": {},
        "labels": {},
        "stop_command": None,
        "stop_signal": "SIGTERM",
        "stop_timeout": settings.stop_timeout_seconds,
        "install_timeout": settings.install_timeout_seconds,
        "pull_policy": "if-missing",
        "restart_policy": {"policy": "no", "max_tries": None},
    }
