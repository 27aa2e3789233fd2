"""What a container uses now, and over time for plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.access import Reach, needs
from app.containers.schemas import ContainerStats, StatsQuery
from app.json_body import Blueprint
from app.services import services
from fleet.models import Container
from fleet.scopes import Scope
from fleet.stats import NO_STATS, LastStats
from fleet.stats_series import Point, Ring

blueprint = Blueprint("stats", __name__, description="What containers use.")


@blueprint.route("/containers/<internal_id>/stats")
@blueprint.arguments(StatsQuery, location="query")
@blueprint.response(200, ContainerStats)
@needs(Scope.READ, reach=Reach.CONTAINER)
def get_container_stats(query: dict[str, Any], internal_id: str) -> dict[str, Any]:
    """What the container uses, or used last when it does not run; with `minutes` also a series of columns."""
    offered = services()
    container = offered.containers.get(internal_id)
    shown = {
        "internal_id": internal_id,
        "state": container.state,
        "node_state": offered.node_states.state_of(container.node),
        **_shown(container, offered.stats.last(internal_id)),
    }
    if query["minutes"] is not None:
        shown["series"] = _columns(*offered.stats.series(internal_id, query["minutes"]))
    return shown


def _shown(container: Container, last: LastStats | None) -> dict[str, Any]:
    if last is None:
        return NO_STATS
    return last.stats.shown(last.uptime_seconds() if container.is_in_run(last.run) else None)


def _columns(ring: Ring, points: Sequence[Point]) -> dict[str, Any]:
    """The points by column, as plotting libraries take them; every list has one item a point."""
    return {
        "step": ring.step_seconds,
        "at": [point.at for point in points],
        "cpu_usage": [point.cpu_percent for point in points],
        "memory_usage": [point.memory_bytes for point in points],
        "network_rx_per_second": [point.network_rx_per_second for point in points],
        "network_tx_per_second": [point.network_tx_per_second for point in points],
        "block_read_per_second": [point.block_read_per_second for point in points],
        "block_write_per_second": [point.block_write_per_second for point in points],
        "pids": [point.pids for point in points],
        "disk_used": [point.disk_used_bytes for point in points],
    }
