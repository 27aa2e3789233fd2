"""Routes without a token."""

from __future__ import annotations

from typing import Any

import structlog
from redis.exceptions import RedisError

from app.auth import public
from app.json_body import Blueprint
from app.public.schemas import Health, Ping, Readiness
from app.services import services
from fleet import __version__
from fleet.errors import Unavailable
from fleet.store import Client

blueprint = Blueprint("public", __name__, description="Whether Lightd runs and works.")

_log = structlog.get_logger()


@blueprint.route("/api/v1/public/ping")
@blueprint.response(200, Ping)
@blueprint.doc(security=[])
@public
def ping() -> dict[str, Any]:
    """Whether the API answers."""
    return {"status": "ok", "message": "Lightd is running", "version": __version__}


@blueprint.route("/healthz")
@blueprint.response(200, Health)
@blueprint.doc(security=[])
@public
def healthz() -> dict[str, Any]:
    """Whether this process is up."""
    return {"status": "ok"}


@blueprint.route("/readyz")
@blueprint.response(200, Readiness)
@blueprint.doc(security=[])
@public
def readyz() -> dict[str, Any]:
    """Whether the stores answer, and which hosts do not."""
    offered = services()
    _require_store("store", offered.stores.record)
    _require_store("stream store", offered.stores.stream)
    online = [node.id for node in offered.nodes.every() if offered.nodes.is_online(node)]
    return {"status": "ok", "nodes": online, "missing": offered.nodes.missing()}


def _require_store(name: str, client: Client) -> None:
    try:
        client.ping()
    except RedisError as error:
        _log.warning("store does not answer", store=name, reason=str(error))
        raise Unavailable(f"The {name} does not answer; try again soon.", code="store_unavailable") from error
