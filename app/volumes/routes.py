"""Volumes themselves: made, listed, deleted."""

from __future__ import annotations

from typing import Any

from app.access import Reach, caller, needs, volumes_within
from app.json_body import Blueprint
from app.paging import page_of, whole_list
from app.services import services
from app.volumes.lifecycle import create_volume, delete_volume, resize_volume
from app.volumes.schemas import (
    NewSize,
    NewVolume,
    Quota,
    VolumeFilter,
    VolumePage,
    VolumeRecord,
    shown_volume,
)
from fleet.errors import invalid_field
from fleet.models import SMALLEST_VOLUME_MB, Volume
from fleet.scopes import Scope

blueprint = Blueprint(
    "volumes", __name__, description="Folders of limited size on a host. A unique prefix of 8 digits names one as well."
)


@blueprint.route("/volumes", methods=["POST"])
@blueprint.arguments(NewVolume, required=False)
@blueprint.response(201, VolumeRecord)
@needs(Scope.ADMIN, reach=Reach.FLEET)
def post_volume(wanted: dict[str, Any]) -> dict[str, Any]:
    """Make a volume on an online host."""
    size_mb = wanted["size"] or services().settings.volume_size_mb
    _check_size(size_mb)
    return shown_volume(create_volume(services(), size_mb, wanted["node"]))


@blueprint.route("/volumes")
@blueprint.arguments(VolumeFilter, location="query")
@blueprint.response(200, VolumePage)
@needs(Scope.READ, Scope.FILES, reach=Reach.OWN)
def list_volumes(query: dict[str, Any]) -> dict[str, Any]:
    """List the volumes."""
    principal = caller()
    read = whole_list(volumes_within(principal), _name) if principal.containers else services().volumes.page
    return page_of(
        "volumes",
        read,
        _name,
        query,
        show=shown_volume,
        keep=lambda volume: query["node"] in (None, volume.node),
    )


@blueprint.route("/volumes/<volume_id>")
@blueprint.response(200, VolumeRecord)
@needs(Scope.READ, Scope.FILES, reach=Reach.VOLUME)
def get_volume(volume_id: str) -> dict[str, Any]:
    """One volume."""
    return shown_volume(services().volumes.find(volume_id))


@blueprint.route("/volumes/<volume_id>", methods=["DELETE"])
@blueprint.response(204)
@needs(Scope.ADMIN, reach=Reach.FLEET)
def remove_volume(volume_id: str) -> None:
    """Delete a volume and all that is in it, unless a container is on it."""
    delete_volume(services(), services().volumes.find(volume_id))


@blueprint.route("/volumes/<volume_id>/resize", methods=["POST"])
@blueprint.arguments(NewSize)
@blueprint.response(200, Quota)
@needs(Scope.ADMIN, reach=Reach.FLEET)
def post_resize(wanted: dict[str, Any], volume_id: str) -> dict[str, Any]:
    """Make a volume larger, or smaller when its content fits and no container on it runs."""
    _check_size(wanted["size"])
    return resize_volume(services(), services().volumes.find(volume_id), wanted["size"])


def _name(volume: Volume) -> str:
    return volume.volume_id


def _check_size(size_mb: int) -> None:
    largest_mb = services().settings.volume_max_mb
    if size_mb > largest_mb:
        raise invalid_field("size", f"Must be from {SMALLEST_VOLUME_MB} to {largest_mb}.")
