"""Containers: what clients run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Response

from app.access import Reach, caller, needs
from app.containers.amendment import amend_container
from app.containers.command import send_command
from app.containers.creation import create_container
from app.containers.deletion import delete_container
from app.containers.power import DEEDS, request_action
from app.containers.rebinding import rebind_network
from app.containers.reinstalling import reinstall_container
from app.containers.repair import repair_container
from app.containers.schemas import (
    ActionStarted,
    Changes,
    Command,
    CommandSent,
    ContainerPage,
    ContainerQuery,
    ContainerRecord,
    CreationStarted,
    Deletion,
    DeletionQuery,
    Logs,
    LogsQuery,
    NewContainer,
    Rebinding,
    Reinstall,
    Repair,
)
from app.containers.view import listed_container, shown_container
from app.idempotency import repeatable
from app.json_body import Blueprint
from app.paging import page_of, whole_list
from app.services import services
from fleet.lifecycle import Action, State
from fleet.models import Container
from fleet.scopes import Scope

blueprint = Blueprint("containers", __name__, description="What clients run, from creation to deletion.")


@blueprint.route("/containers", methods=["POST"])
@blueprint.arguments(NewContainer)
@blueprint.response(200, CreationStarted)
@repeatable
@needs(Scope.ADMIN, reach=Reach.FLEET)
def post_container(wanted: dict[str, Any]) -> dict[str, Any]:
    """Create a container where its volume is. It is installed at once, and started when asked."""
    job_id = create_container(services(), wanted)
    return {
        "message": "Container creation started",
        "internal_id": wanted["internal_id"],
        "state": State.INSTALLING,
        "job_id": job_id,
    }


@blueprint.route("/containers")
@blueprint.arguments(ContainerQuery, location="query")
@blueprint.response(200, ContainerPage)
@needs(Scope.READ, reach=Reach.OWN)
def list_containers(query: dict[str, Any]) -> dict[str, Any]:
    """List the containers by name."""
    containers, within = services().containers, caller().containers
    read = whole_list(containers.many(sorted(within)), _name) if within else containers.page
    return page_of("containers", read, _name, query, show=listed_container, keep=_fits(query))


@blueprint.route("/containers/<internal_id>")
@blueprint.response(200, ContainerRecord)
@needs(Scope.READ, reach=Reach.CONTAINER)
def get_container(internal_id: str) -> Response:
    """All of a container."""
    offered = services()
    container = offered.containers.get(internal_id)
    last_end = offered.containers.history.last_end(internal_id)
    node_state, with_output = offered.node_states.state_of(container.node), caller().may(Scope.CONSOLE)
    shown = shown_container(container, node_state, last_end, with_output=with_output)
    return Response(json.dumps(shown, separators=(",", ":")), mimetype="application/json")


@blueprint.route("/containers/<internal_id>", methods=["PATCH"])
@blueprint.arguments(Changes)
@blueprint.response(200, ContainerRecord)
@needs(Scope.ADMIN, reach=Reach.CONTAINER)
def patch_container(wanted: dict[str, Any], internal_id: str) -> dict[str, Any]:
    """Change a container without an install; `restart_needed` tells whether its process has to start again for it."""
    offered = services()
    container = amend_container(offered, internal_id, wanted)
    last_end = offered.containers.history.last_end(internal_id)
    return shown_container(container, offered.node_states.state_of(container.node), last_end, with_output=True)


@blueprint.route("/containers/<internal_id>/command", methods=["POST"])
@blueprint.arguments(Command)
@blueprint.response(200, CommandSent)
@needs(Scope.COMMAND, reach=Reach.CONTAINER)
def post_command(wanted: dict[str, Any], internal_id: str) -> dict[str, Any]:
    """Write one line to the terminal of the container's process, after those that were sent before it."""
    send_command(services(), internal_id, wanted["command"])
    return {"message": "Command sent", "internal_id": internal_id}


@blueprint.route("/containers/<internal_id>", methods=["DELETE"])
@blueprint.arguments(DeletionQuery, location="query")
@blueprint.response(200, Deletion)
@blueprint.alt_response(202, schema=Deletion, description="It takes longer; see the job.", success=True)
@needs(Scope.ADMIN, reach=Reach.CONTAINER)
def remove_container(query: dict[str, Any], internal_id: str) -> tuple[dict[str, Any], int]:
    """Delete a container; one that runs is killed first, the volume stays."""
    job_id = delete_container(services(), internal_id, force=query["force"])
    if job_id:
        return {"message": DEEDS[Action.DELETE].message, "job_id": job_id, "state": "running"}, 202
    return {"message": "Container deleted successfully"}, 200


@blueprint.route("/containers/<internal_id>/reinstall", methods=["POST"])
@blueprint.arguments(Reinstall, required=False)
@blueprint.response(200, ActionStarted)
@repeatable
@needs(Scope.ADMIN, reach=Reach.CONTAINER)
def post_reinstall(wanted: dict[str, Any], internal_id: str) -> dict[str, Any]:
    """Install again, from the image; the volume's data stays. All stays as it is when the image cannot be had."""
    return _started(Action.REINSTALL, internal_id, reinstall_container(services(), internal_id, wanted))


@blueprint.route("/containers/<internal_id>/rebind-network", methods=["POST"])
@blueprint.arguments(Rebinding)
@blueprint.response(200, ActionStarted)
@repeatable
@needs(Scope.ADMIN, reach=Reach.CONTAINER)
def rebind_container(wanted: dict[str, Any], internal_id: str) -> dict[str, Any]:
    """Give the container other ports; one that runs is restarted for it, its file system stays."""
    return _started(Action.REBIND, internal_id, rebind_network(services(), internal_id, wanted["ports"]))


@blueprint.route("/containers/<internal_id>/repair", methods=["POST"])
@blueprint.response(200, Repair)
@blueprint.alt_response(202, schema=Repair, description="It takes longer; see the job.", success=True)
@repeatable
@needs(Scope.ADMIN, reach=Reach.CONTAINER)
def post_repair(internal_id: str) -> tuple[dict[str, Any], int]:
    """Compare the container with its engine, mend what is safe, and tell what was done."""
    job_id, found = repair_container(services(), internal_id)
    if found is None:
        return {**_started(Action.REPAIR, internal_id, job_id), "state": "running"}, 202
    message = "Container repaired" if found.get("repaired") else "Nothing was to be repaired"
    return {**_started(Action.REPAIR, internal_id, job_id), "message": message, **found}, 200


@blueprint.route("/containers/<internal_id>/logs")
@blueprint.arguments(LogsQuery, location="query")
@blueprint.response(200, Logs)
@needs(Scope.CONSOLE, reach=Reach.CONTAINER)
def get_logs(query: dict[str, Any], internal_id: str) -> dict[str, Any]:
    """The container's output: the last lines, or all after a `seq`, or that of the last install."""
    offered = services()
    offered.containers.get(internal_id)
    if query["install"]:
        return {"logs": _last_lines(offered.containers.install_log(internal_id), query["lines"])}
    if query["since"] is not None:
        found = list(offered.console.since(internal_id, query["since"]))
        newest = found[-1].seq if found else query["since"]
        return {"logs": "".join(message.text for message in found), "seq": newest}
    _, newest = offered.console.reach(internal_id)
    return {"logs": offered.console.tail(internal_id, query["lines"], until=newest), "seq": newest}


def _add_power_route(action: Action) -> None:
    """The actions that need nothing but a name differ in nothing but their name."""

    def view(internal_id: str) -> dict[str, Any]:
        return _started(action, internal_id, request_action(services(), internal_id, action))

    view.__name__ = f"{action.value}_container"
    view.__doc__ = f"{action.value.capitalize()} the container; answers at once, the job tells how far."
    declared = needs(Scope.POWER, reach=Reach.CONTAINER)(repeatable(view))
    documented = blueprint.response(200, ActionStarted)(declared)
    blueprint.route(f"/containers/<internal_id>/{action.value}", methods=["POST"])(documented)


for _action in (Action.START, Action.STOP, Action.RESTART, Action.KILL):
    _add_power_route(_action)


def _started(action: Action, internal_id: str, job_id: str) -> dict[str, Any]:
    return {"message": DEEDS[action].message, "internal_id": internal_id, "job_id": job_id}


def _name(container: Container) -> str:
    return container.internal_id


def _fits(query: dict[str, Any]) -> Callable[[Container], bool]:
    """Whether a container is among those asked for."""
    name, has_value, value = (query["label"] or "").partition("=")

    def fits(container: Container) -> bool:
        labels = container.spec.labels
        return (
            query["state"] in (None, container.state)
            and query["node"] in (None, container.node)
            and (not name or (name in labels and (not has_value or labels[name] == value)))
        )

    return fits


def _last_lines(text: str, count: int) -> str:
    return "".join(text.splitlines(keepends=True)[-count:]) if count else ""
