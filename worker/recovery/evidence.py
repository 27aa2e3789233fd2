"""What this host still knows of a container: its engine container's labels and environment, its scripts, its file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet.errors import Invalid
from fleet.images import full_name
from fleet.lifecycle import ALIVE, InstallState, State
from fleet.models import Container, Limits, PortBinding, Spec
from fleet.restart import startup_digest
from worker.operations.container_folder import read_install
from worker.operations.names import private_image
from worker.runtime.base import LABEL_SPEC, NEVER_RUN, EngineContainer

INSTALL_LOST = "The install was under way when the record was lost; reinstall it."


def container_from(
    node: str, folder: Path, server: EngineContainer | None, install: EngineContainer | None, copy: Container | None
) -> Container:
    """A container's record. One that was being installed has failed; one whose process runs is running.

    `folder` holds its scripts, `copy` is the record that the host kept. The labels of a server made since then are
    newer; its ports and limits are those that the engine has. Raises Invalid when the labels cannot be understood.
    """
    source = server or install
    if copy is not None and (server is None or server.engine_id == copy.container_id):
        told = copy
    elif source is not None:
        told = _from_labels(node, folder, source)
    else:
        raise Invalid("This host holds nothing of the container.")
    told = replace(told, node=node, job_id=None, deleting=False, next_spec=None, updated_at=int(time.time()))
    if server is not None:
        return _with_server(told, server)
    if install is not None or told.state is State.INSTALLING:
        return _failed(told, INSTALL_LOST)
    if told.state is State.FAILED:
        return _failed(told, told.error)
    return replace(told, state=State.READY)


def _with_server(told: Container, server: EngineContainer) -> Container:
    told = replace(
        told,
        container_id=server.engine_id,
        install_state=InstallState.READY,
        ports=_ports(server),  # the record names the old ones until a rebinding is over
        spec=replace(told.spec, limits=replace(told.spec.limits, **server.limits)),
    )
    if server.run != NEVER_RUN:
        told = replace(told, started_with=told.started_with or startup_digest(told.spec))
    if server.running:
        pattern_awaited = told.state is State.STARTING and told.spec.start_pattern
        state = State.STARTING if pattern_awaited else State.RUNNING
        return replace(told, state=state, run=server.run, exit_code=None, oom_killed=False, error=None, restart_at=None)
    if server.run == NEVER_RUN:
        return replace(told, state=State.READY)
    unseen = told.state in ALIVE or told.ended_run != server.run
    ended = {"exit_code": server.exit_code, "oom_killed": server.oom_killed} if unseen else {}
    return replace(told, state=State.READY, run=server.run, ended_run=server.run, **ended)  # type: ignore[arg-type]


def _failed(told: Container, reason: str | None) -> Container:
    return replace(
        told,
        state=State.FAILED,
        install_state=InstallState.FAILED,
        restart_at=None,
        restarts=0,
        container_id=None,
        run=None,
        ended_run=None,
        own_image=False,
        error=reason,
    )


def _from_labels(node: str, folder: Path, found: EngineContainer) -> Container:
    facts = _facts(found)
    with _understood(found):
        return Container(
            internal_id=found.container_id,
            node=node,
            volume_id=facts["volume_id"],
            spec=_spec(facts["spec"], found.env, read_install(folder)),
            ports=_ports(found),
            state=State.READY,
            install_state=InstallState.READY,
            container_id=found.engine_id,
            job_id=None,
            created_at=facts["created_at"],
            updated_at=facts["created_at"],
            own_image=full_name(found.image) == full_name(private_image(found.container_id)),
        )


def _ports(found: EngineContainer) -> tuple[PortBinding, ...]:
    with _understood(found):
        return tuple(PortBinding(**port) for port in _facts(found)["ports"])


def _facts(found: EngineContainer) -> dict[str, Any]:
    with _understood(found):
        return dict(json.loads(found.labels[LABEL_SPEC]))


@contextmanager
def _understood(found: EngineContainer) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError, TypeError) as error:
        raise Invalid(f"The labels of engine container {found.name} cannot be understood ({error!r}).") from error


def _spec(told: dict[str, Any], env: Mapping[str, str], install_script: str | None) -> Spec:
    """The spec of a label, which names the variables of the environment but not their values."""
    limits = Limits(**told["limits"])
    known = {name: env[name] for name in told["env"] if name in env}
    return Spec(**{**told, "limits": limits, "env": known, "install_script": install_script})
