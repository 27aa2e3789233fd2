"""One container as one client follows it: first its state, then its stats, then what was missed, then what comes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import gevent
import structlog
from redis.exceptions import RedisError

from app.sockets.client import INTERNAL_ERROR, Client
from app.sockets.hub import Hub
from app.sockets.live import Live
from app.sockets.notice import START, Notice, Place
from app.sockets.outbox import Gone
from app.sockets.permissions import OUT
from app.sockets.sources import feed_place
from app.sockets.state import not_found_message, state_message
from app.sockets.watch import NewestOfMany, NewestOnly, OneOfMany, Subscription, Watch, deleted_notice
from fleet.repositories.tokens import Principal

_log = structlog.get_logger()

_CONSOLE_SECONDS = 2
_STORE_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asked for: output after this seq, and every output twice.

    A socket of many containers adds its `server`, the kinds of events it wants, and whether it wants all that was ever
    told of this container instead of its state.
    """

    since: int | None = None
    duplicates: bool = False
    server: str | None = None
    events: frozenset[str] | None = None
    from_beginning: bool = False

    def wants(self, event: str) -> bool:
        """Whether this kind of event was asked for."""
        return self.events is None or event in self.events


def wait_begun(followings: Iterable[Following], seconds: float) -> None:
    """Wait until each of them has told what was missed, at most so long."""
    gevent.joinall([following._greenlet for following in followings], timeout=seconds)


class Following:
    """Begins at once, in a greenlet of its own; needs its `end`. What the token's scopes leave out is not followed."""

    def __init__(self, live: Live, client: Client, principal: Principal, container_id: str, wish: Wish) -> None:
        self._live = live
        self._client = client
        self._container_id = container_id
        self._wish = wish
        self._feed = live.feeds.watch(container_id)
        self._stats = live.stats.watch(container_id) if self._hears(principal, "stats") else None
        self._console = live.consoles.watch(container_id) if self._hears(principal, "console") else None
        self._begun: list[tuple[Hub, Watch, Subscription]] = []
        self._greenlet = gevent.spawn(self._run)

    def end(self) -> None:
        """Leave no greenlet and no subscription behind."""
        self._greenlet.kill()
        for _, watch, subscription in self._begun:
            watch.subscriptions.discard(subscription)
        self._live.feeds.unwatch(self._feed)
        if self._stats is not None:
            self._live.stats.unwatch(self._stats)
        if self._console is not None:
            self._live.consoles.unwatch(self._console)

    def _hears(self, principal: Principal, event: str) -> bool:
        is_wanted = self._wish.wants(event) or (event == "console" and self._wish.duplicates)
        return is_wanted and principal.may(*OUT[event])

    def _run(self) -> None:
        try:
            while not self._client.is_closing:
                try:
                    return self._follow()
                except RedisError as error:
                    _log.info("watching not begun, trying again", reason=str(error))
                    gevent.sleep(_STORE_PAUSE_SECONDS)
        except Gone:
            return None
        except Exception as error:  # noqa: BLE001 (nobody waits for this greenlet)
            _log.error("following failed", container_id=self._container_id, exc_info=error)
            self._client.close(INTERNAL_ERROR, "internal error")

    def _follow(self) -> None:
        self._feed.wait_live()
        if self._console is not None:
            self._console.wait_live(_CONSOLE_SECONDS)
        self._follow_feed()
        for hub, watch, subscription in self._begun[1:]:
            hub.follow(watch, subscription)

    def _follow_feed(self) -> None:
        """Begin; and again when the container was deleted before this watcher was among those who are told of it."""
        while True:
            lives = self._feed.lives
            self._begun = self._begin()
            hub, feed, subscription = self._begun[0]
            hub.follow(feed, subscription)
            if feed.lives == lives:
                return
            feed.subscriptions.discard(subscription)
            subscription.say(deleted_notice())

    def _begin(self) -> list[tuple[Hub, Watch, Subscription]]:
        """Read where the client begins and tell it the state there, all in one go: asked again, nothing is repeated.

        Whatever is printed after that state was told reaches the client, since its console begins there too, unless
        the stream store is away. What it must know first comes first; the feed is the first of all.
        """
        live, console = self._live, self._console
        container, entry_id = live.services.containers.snapshot(self._container_id)
        since = self._since()
        feed_start = START if self._wish.from_beginning else feed_place(entry_id)
        begun = [(live.feeds, self._feed, self._subscription(feed_start, self._wish.events))]
        if self._stats is not None:
            begun.append((live.stats, self._stats, self._stats_subscription()))
        if console is not None:
            place = (since, 0) if since is not None else self._newest(console)
            begun.append((live.consoles, console, self._subscription(place, None, self._wish.duplicates)))
        if not self._wish.from_beginning:
            self._tell(state_message(container) if container else not_found_message(self._container_id))
        return begun

    def _newest(self, console: Watch) -> Place | None:
        """Where the console ends now; None when nobody can tell."""
        if console.wait_live(0):
            return console.place
        try:
            return self._live.services.console.reach(self._container_id)[1], 0
        except RedisError:
            return None

    def _since(self) -> int | None:
        """After which seq output was asked for; None for one of a console that is no more: all there will be is new."""
        since = 0 if self._wish.from_beginning else self._wish.since
        if since is not None and since > self._live.services.console.reach(self._container_id)[1]:
            return None
        return since

    def _subscription(
        self, place: Place | None, events: frozenset[str] | None, duplicates: bool = False
    ) -> Subscription:
        if self._wish.server is None:
            return Subscription(self._client.outbox, place, duplicates)
        return OneOfMany(self._client.outbox, place, self._wish.server, events, duplicates)

    def _stats_subscription(self) -> Subscription:
        if self._wish.server is None:
            return NewestOnly(self._client.outbox, START)
        return NewestOfMany(self._client.outbox, START, self._wish.server, None)

    def _tell(self, message: str) -> None:
        """Say what is in no stream, as the feed would."""
        self._subscription(START, self._wish.events).say(Notice(START, message))
