"""What a client of many containers asks to be told: of which containers, which events, since when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.sockets.following import Wish
from app.sockets.permissions import OUT
from app.sockets.requests import Request
from fleet.errors import Invalid
from fleet.identifiers import is_container_id

ALL = "*"
DUPLICATES = "console duplicate"
_TOLD = tuple(event for event in OUT if event != "logs")
"""What comes by itself."""
_LARGEST_SEQ = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Subscribing:
    """A valid wish; `named_events` is empty when none were named, which means all but duplicates."""

    containers: str | tuple[str, ...]
    named_events: frozenset[str]
    since: Mapping[str, int]

    def wish(self, name: str, *, from_beginning: bool = False) -> Wish:
        """The same for one container."""
        events = self.named_events or frozenset(_TOLD) - {DUPLICATES}
        return Wish(self.since.get(name), DUPLICATES in events, name, events, from_beginning)


def wanted_subscription(request: Request) -> Subscribing:
    """What a `subscribe` asks for; raises Invalid."""
    events = request.get("events", [])
    if not isinstance(events, list) or any(event not in _TOLD for event in events):
        raise Invalid(f'"events" must be a list of some of {", ".join(_TOLD)}.')
    since = request.get("since", {})
    if not isinstance(since, dict) or not all(type(seq) is int and 0 <= seq <= _LARGEST_SEQ for seq in since.values()):
        raise Invalid('"since" must be an object that gives containers the seq of a console event.')
    return Subscribing(wanted_containers(request), frozenset(events), since)


def wanted_containers(request: Request) -> str | tuple[str, ...]:
    """The containers in a request: `ALL`, or their ids, each once; raises Invalid."""
    named = request.get("containers")
    if named == ALL:
        return ALL
    if not isinstance(named, list) or not all(isinstance(name, str) and is_container_id(name) for name in named):
        raise Invalid('"containers" must be a list of ids, or "*".')
    return tuple(dict.fromkeys(named))
