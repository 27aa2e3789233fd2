"""One stream of one container, as this process follows it for all its watchers."""

from __future__ import annotations

from collections.abc import Callable

from gevent.event import Event

from app.sockets.frames import text_frame
from app.sockets.notice import START, Notice, Place
from app.sockets.outbox import Outbox
from app.sockets.sources import Source
from fleet import messages


def deleted_notice() -> Notice:
    """For watchers of a container that is no more."""
    return Notice(START, messages.daemon("Container deleted"))


class Subscription:
    """One watcher of one stream, and the place up to which it was told; None for one who wants only what is new."""

    __slots__ = ("_duplicates", "_outbox", "place")

    def __init__(self, outbox: Outbox, place: Place | None, duplicates: bool = False) -> None:
        self.place = place
        self._outbox = outbox
        self._duplicates = duplicates

    def tell(self, notice: Notice) -> None:
        """Pass a notice on, unless it was told already."""
        if self.place is not None and notice.place <= self.place:
            return
        self.place = notice.place
        self._pass_on(notice)

    def _pass_on(self, notice: Notice) -> None:
        self._outbox.put(notice.frame)
        if self._duplicates and notice.duplicate:
            self._outbox.put(notice.duplicate)

    def say(self, notice: Notice) -> None:
        """Pass on what has no place in the stream."""
        self._pass_on(notice)

    def wait_room(self) -> None:
        """Wait until the watcher has read most of what it was told. Raises Gone."""
        self._outbox.wait_room()


class NewestOnly(Subscription):
    """A watcher to whom a newer notice makes an older one worthless: one that reads slowly skips those."""

    __slots__ = ()

    def _pass_on(self, notice: Notice) -> None:
        self._outbox.put_newest(notice.frame)


class OneOfMany(Subscription):
    """A watcher that is told whose each message is, and only some kinds: all for None."""

    __slots__ = ("_events", "_server")

    def __init__(
        self, outbox: Outbox, place: Place | None, server: str, events: frozenset[str] | None, duplicates: bool = False
    ) -> None:
        super().__init__(outbox, place, duplicates)
        self._server = server
        self._events = events

    def _pass_on(self, notice: Notice) -> None:
        if self._events is not None and notice.event not in self._events:
            return
        self._outbox.put(notice.frame_of(self._server))
        if self._duplicates and notice.output is not None:
            self._outbox.put(text_frame(messages.with_server(messages.duplicate(notice.output), self._server)))


class NewestOfMany(OneOfMany):
    """As `NewestOnly`, one of many."""

    __slots__ = ()

    def _pass_on(self, notice: Notice) -> None:
        self._outbox.put_newest(notice.frame_of(self._server), self._server)


class Watch:
    """A stream that is subscribed to.

    While it is `live`, what is published is passed on at once. While it is not (just subscribed, or something is
    missing), the stream is read from `place` on, and what is published only says how far there is to read.
    `lives` counts the containers of this name that have ended meanwhile.
    Nothing here waits, so no two greenlets ever see a half-made change.
    """

    def __init__(self, source: Source, container_id: str, on_gap: Callable[[Watch], None]) -> None:
        self.container_id = container_id
        self.channel = source.channel(container_id)
        self.place = START
        self.goal = START
        self.has_place = False
        self.subscriptions: set[Subscription] = set()
        self.users = 0
        self.turn = 0
        self.lives = 0
        self._source = source
        self._on_gap = on_gap
        self._live = Event()

    def wait_live(self, seconds: float | None = None) -> bool:
        """Wait until `place` is the newest there is, at most so long; whether it is."""
        return bool(self._live.wait(seconds))

    def pause(self) -> int:
        """Something may be missing from here on; answers the number of the catching up that follows."""
        self._live.clear()
        self.turn += 1
        return self.turn

    def begin_at(self, place: Place) -> None:
        """Nobody was told anything yet: what is up to `place` is not missing."""
        self.place = place
        self.has_place = True

    def go_live(self) -> bool:
        """All was read: pass on what comes from now on. False when more was announced meanwhile."""
        if self.goal > self.place:
            return False
        self._live.set()
        return True

    def give_up(self, goal: Place) -> None:
        """What was announced up to `goal` can no longer be read: say what is lost, and go on after it."""
        if goal > self.place:
            notice = self._source.lost(self.place, goal)
            if notice is not None:
                self.tell(notice)
            self.place = goal

    def published(self, notice: Notice) -> None:
        """Take what came through pub/sub."""
        if not self._live.is_set():
            self.goal = max(self.goal, notice.place)
        elif notice.place <= self.place:
            return
        elif notice.begins or self._source.follows(self.place, notice.place):
            self.tell(notice)
        else:
            self.goal = notice.place
            self._on_gap(self)

    def tell(self, notice: Notice) -> None:
        """Pass a notice on to all who are up to date."""
        self.place = notice.place
        for subscription in self.subscriptions:
            subscription.tell(notice)

    def removed(self) -> None:
        """The container was deleted."""
        notice = deleted_notice()
        for subscription in self.subscriptions:
            subscription.say(notice)
        self.restart()

    def restart(self) -> None:
        """The stream begins anew: forget how far it was read."""
        self.lives += 1
        self.place = self.goal = START
        for subscription in self.subscriptions:
            subscription.place = START
