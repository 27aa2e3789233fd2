"""What all sockets of a process share."""

from __future__ import annotations

from dataclasses import dataclass

from app.services import Services
from app.sockets.hub import Hub
from app.sockets.places import Places
from app.sockets.registry import Registry
from app.sockets.roster import Roster


@dataclass(frozen=True, slots=True)
class Live:
    """The clients of this process, and what it hears for them."""

    services: Services
    registry: Registry
    places: Places
    feeds: Hub
    consoles: Hub
    stats: Hub
    roster: Roster

    @property
    def hubs(self) -> tuple[Hub, Hub, Hub]:
        """All of them."""
        return self.feeds, self.stats, self.consoles
