"""`/ws`: a socket for many containers, whose messages name their `server`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gevent.lock import RLock

from app.access import require_reach
from app.sockets.client import Client
from app.sockets.errands import Errands
from app.sockets.following import Following, Wish, wait_begun
from app.sockets.live import Live
from app.sockets.permissions import OUT, require_event
from app.sockets.requests import EVENTS as CONTAINER_EVENTS
from app.sockets.requests import Request, handle
from app.sockets.subscribing import ALL, Subscribing, wanted_containers, wanted_subscription
from fleet import messages
from fleet.errors import Invalid, LightdError, TooMany
from fleet.identifiers import is_container_id
from fleet.repositories.tokens import Principal

_BEGIN_SECONDS = 2


class ManyContainers:
    """What a client follows: containers that it named, and those that `"*"` stands for."""

    def __init__(self, live: Live, client: Client, principal: Principal, errands: Errands) -> None:
        self._live = live
        self._client = client
        self._principal = principal
        self._errands = errands
        self._limit = live.services.settings.socket_subscriptions
        self._followed: dict[str, Following] = {}
        self._all: Subscribing | None = None
        self._of_all: set[str] = set()
        self._left: set[str] = set()
        self._missing: set[str] = set()
        self._told_full = False
        self._changing = RLock()
        self._ended = False

    def handle(self, request: Request) -> None:
        """Do what a request asks; raises LightdError or RedisError."""
        event = request["event"]
        if event in CONTAINER_EVENTS:
            self._ask_container(request)
            return
        handler = EVENTS.get(event)
        if handler is None:
            raise Invalid(f"Unknown event {event[:40]!r}; known are {', '.join([*EVENTS, *CONTAINER_EVENTS])}.")
        require_event(self._principal, event)
        with self._changing:
            handler(self, request)
        # So nobody asks for more than is served: the next message is read after this one's containers were.
        wait_begun(list(self._followed.values()), _BEGIN_SECONDS)

    def end(self) -> None:
        """Leave nothing behind."""
        self._live.roster.remove(self._roster_read)
        with self._changing:
            self._ended = True
            for name in list(self._followed):
                self._leave(name)

    def _ask_container(self, request: Request) -> None:
        name = request.get("server")
        if not isinstance(name, str) or not is_container_id(name):
            raise Invalid(f'{request["event"]} needs a "server" here: the id of a container.')
        step = partial(handle, self._live.services, self._principal, name, partial(self._answer, name), request)
        try:
            require_reach(self._principal, name)
            self._errands.do(name, request, partial(self._telling, name, step))
        except LightdError as error:
            self._tell(name, messages.error(error.message))

    def _telling(self, name: str, step: Callable[[], None]) -> None:
        """Do a step; what is wrong with it is told as this container's."""
        try:
            step()
        except LightdError as error:
            self._tell(name, messages.error(error.message))

    def _tell(self, name: str, message: str) -> None:
        self._client.tell(messages.with_server(message, name))

    def _answer(self, name: str, message: str) -> None:
        self._client.answer(messages.with_server(message, name))

    def _subscribe(self, request: Request) -> None:
        wanted = wanted_subscription(request)
        for event in wanted.named_events:
            self._require_heard(event)
        if wanted.containers == ALL:
            self._subscribe_all(wanted)
            return
        for name in wanted.containers:
            require_reach(self._principal, name)
        if len(self._followed.keys() | set(wanted.containers)) > self._limit:
            raise self._full()
        for name in wanted.containers:
            self._left.discard(name)
            self._of_all.discard(name)
            self._follow(name, wanted.wish(name))

    def _subscribe_all(self, wanted: Subscribing) -> None:
        """Those that exist begin with their state; those that come later, with all that was ever told of them."""
        names = self._own(self._live.roster.names())
        self._all, self._told_full = wanted, False
        self._left.clear()
        for name in names:
            self._follow_of_all(name, wanted.wish(name))
        self._live.roster.add(self._roster_read)

    def _unsubscribe(self, request: Request) -> None:
        containers = wanted_containers(request)
        if containers == ALL:
            self._all = None
            self._live.roster.remove(self._roster_read)
        for name in list(self._followed) if containers == ALL else containers:
            self._left.add(name)
            self._leave(name)

    def _roster_read(self, names: list[str]) -> None:
        """Follow what is new, and what has been gone for a whole round no more: its end was told by then."""
        with self._changing:
            if self._ended or self._all is None:
                return
            own = self._own(names)
            for name in own:
                if name not in self._followed and name not in self._left:
                    self._follow_of_all(name, self._all.wish(name, from_beginning=True))
            gone = self._of_all.difference(own)
            for name in gone & self._missing:
                self._leave(name)
            self._missing = gone
            self._left.intersection_update(own)

    def _own(self, names: list[str]) -> list[str]:
        return [name for name in names if self._principal.reaches(name)]

    def _follow_of_all(self, name: str, wish: Wish) -> None:
        if name not in self._followed and len(self._followed) >= self._limit:
            if not self._told_full:
                self._told_full = True
                self._client.error(self._full().message)
            return
        self._of_all.add(name)
        self._follow(name, wish)

    def _follow(self, name: str, wish: Wish) -> None:
        """A later wish takes the place of the one before."""
        former = self._followed.pop(name, None)
        if former is not None:
            former.end()
        self._followed[name] = Following(self._live, self._client, self._principal, name, wish)

    def _leave(self, name: str) -> None:
        self._of_all.discard(name)
        following = self._followed.pop(name, None)
        if following is not None:
            following.end()

    def _require_heard(self, event: str) -> None:
        if not self._principal.may(*OUT[event]):
            raise Invalid(f"This token lacks the scope {' or '.join(OUT[event])}.")

    def _full(self) -> TooMany:
        return TooMany(f"A socket follows at most {self._limit} containers; open another one for more.")


EVENTS: dict[str, Callable[[ManyContainers, Request], None]] = {
    "subscribe": ManyContainers._subscribe,
    "unsubscribe": ManyContainers._unsubscribe,
}
