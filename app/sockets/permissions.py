"""What each event of a socket asks of its client's token; docs/api.md lists it, and a test compares."""

from __future__ import annotations

from app.access import require_reach, require_scope
from fleet.repositories.tokens import Principal
from fleet.scopes import Scope

WATCHING = (Scope.READ, Scope.CONSOLE, Scope.COMMAND, Scope.POWER)
"""Whoever may do any of these may connect, and hears what the container does."""

OUT = {
    "event": WATCHING,
    "daemon_message": WATCHING,
    "progress": WATCHING,
    "stats": (Scope.READ,),
    "console": (Scope.CONSOLE,),
    "console duplicate": (Scope.CONSOLE,),
    "logs": (Scope.CONSOLE,),
}

IN = {
    "send_command": (Scope.COMMAND,),
    "power": (Scope.POWER,),
    "request_logs": (Scope.CONSOLE,),
    "subscribe": WATCHING,
    "unsubscribe": WATCHING,
}


def require_watching(principal: Principal, container_id: str | None = None) -> None:
    """Raise Forbidden unless the token may connect, to this container if one is named."""
    require_scope(principal, *WATCHING)
    if container_id is not None:
        require_reach(principal, container_id)


def require_event(principal: Principal, event: str) -> None:
    """Raise Forbidden unless the token may send this event."""
    require_scope(principal, *IN[event])
