"""What happened to a container, and how its runs ended."""

from __future__ import annotations

from typing import Any

from app.access import Reach, caller, needs
from app.containers.schemas import EventPage, RunEnds
from app.containers.view import shown_end, shown_happening
from app.json_body import Blueprint
from app.paging import PageQuery, page_of
from app.services import services
from fleet.repositories.history import Happening
from fleet.scopes import Scope

blueprint = Blueprint("history", __name__, description="What happened to a container; it goes with the container.")


@blueprint.route("/containers/<internal_id>/events")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, EventPage)
@needs(Scope.READ, reach=Reach.CONTAINER)
def list_container_events(query: dict[str, Any], internal_id: str) -> dict[str, Any]:
    """What happened to a container, newest first, about 500 of it."""
    containers = services().containers
    containers.get(internal_id)

    def read(after: str, limit: int) -> tuple[list[Happening], str | None]:
        return containers.history.page(internal_id, after, limit)

    return page_of("events", read, lambda found: found.id, query, show=shown_happening)


@blueprint.route("/containers/<internal_id>/ends")
@blueprint.response(200, RunEnds)
@needs(Scope.READ, reach=Reach.CONTAINER)
def list_container_ends(internal_id: str) -> dict[str, Any]:
    """How the last 20 runs ended, newest first."""
    containers = services().containers
    containers.get(internal_id)
    with_output = caller().may(Scope.CONSOLE)
    return {"ends": [shown_end(end, with_output=with_output) for end in containers.history.ends(internal_id)]}
