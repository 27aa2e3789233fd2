"""What a process hears from one store, passed on to all who watch: one pub/sub connection, whatever their number."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
import structlog
from gevent.lock import BoundedSemaphore
from redis.exceptions import RedisError

from app.sockets.flusher import Flusher
from app.sockets.notice import START, Place
from app.sockets.sources import Removed, Source
from app.sockets.subscriber import Subscriber
from app.sockets.watch import Subscription, Watch

_log = structlog.get_logger()

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_CATCHING_UP_AT_ONCE = 16
_BYTES_AHEAD = 256 * 1024
_MESSAGES_AHEAD = 64


class Hub:
    """Follows streams of one kind. `on_removed` is called with the id of a container that was deleted."""

    def __init__(
        self, source: Source, url: str, flusher: Flusher, on_removed: Callable[[str], None] | None = None
    ) -> None:
        self._source = source
        self._url = url
        self._flusher = flusher
        self._on_removed = on_removed
        self._watches: dict[bytes, Watch] = {}
        self._subscriber: Subscriber | None = None
        self._greenlet: gevent.Greenlet | None = None
        self._heard_at = 0.0
        self._turns = BoundedSemaphore(_CATCHING_UP_AT_ONCE)

    @property
    def watch_count(self) -> int:
        """How many streams are followed."""
        return len(self._watches)

    def silent_seconds(self) -> float:
        """How long the store has not been heard of, while anybody watches; some seconds are usual."""
        if self._greenlet is None:
            return 0.0
        heard_at = self._subscriber.heard_at if self._subscriber else self._heard_at
        return time.monotonic() - heard_at

    def watch(self, container_id: str) -> Watch:
        """Follow a container's stream; every call needs its `unwatch`."""
        name = self._source.channel(container_id).encode()
        watch = self._watches.get(name)
        if watch is None:
            watch = self._watches[name] = Watch(self._source, container_id, self._catch_up_again)
            self._command(Subscriber.subscribe, watch)
        watch.users += 1
        return watch

    def unwatch(self, watch: Watch) -> None:
        """One watcher less; after the last one the stream is followed no more."""
        watch.users -= 1
        if watch.users == 0:
            del self._watches[watch.channel.encode()]
            watch.pause()
            self._command(Subscriber.unsubscribe, watch)

    def follow(self, watch: Watch, subscription: Subscription) -> None:
        """Tell a watcher all after its place (all new for none), then everything that comes; returns when it is live.

        Waits for the store and for the watcher's own reading. Raises Gone when the watcher has left.
        """
        while True:
            watch.wait_live()
            if subscription.place is None:
                subscription.place = watch.place
            if subscription.place >= watch.place:
                watch.subscriptions.add(subscription)
                return
            try:
                self._replay(watch, subscription, subscription.place, watch.place)
            except Removed:
                subscription.place = START
            except RedisError:
                gevent.sleep(_LONGEST_PAUSE_SECONDS)

    def restart(self, container_id: str) -> None:
        """A container was deleted: its streams of all kinds begin anew."""
        watch = self._watches.get(self._source.channel(container_id).encode())
        if watch is not None:
            watch.restart()

    def _replay(self, watch: Watch, subscription: Subscription, before: Place, goal: Place) -> None:
        for notice in self._source.after(watch.container_id, before):
            subscription.tell(notice)
            subscription.wait_room()
        if subscription.place == before:
            lost = self._source.lost(before, goal)
            if lost is not None:
                subscription.tell(lost)
            subscription.place = goal

    def _command(self, command: Callable[[Subscriber, list[str]], None], watch: Watch) -> None:
        """Tell the store; when that fails the connection has ended, and the next one subscribes to everything."""
        if self._greenlet is None:
            self._heard_at = time.monotonic()
            self._greenlet = gevent.spawn(self._run)
        elif self._subscriber is not None:
            try:
                command(self._subscriber, [watch.channel])
            except RedisError as error:
                _log.info("store connection ended", reason=str(error))

    def _run(self) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            try:
                self._subscriber = Subscriber(self._url)
                self._subscriber.subscribe([watch.channel for watch in self._watches.values()])
                if pause_seconds > _FIRST_PAUSE_SECONDS:
                    _log.info("store is back")
                    pause_seconds = _FIRST_PAUSE_SECONDS
                self._listen(self._subscriber)
            except (RedisError, OSError) as error:
                if pause_seconds == _FIRST_PAUSE_SECONDS:
                    _log.warning("store lost; trying again until it is back", reason=str(error))
            except Exception as error:  # noqa: BLE001 (all watchers wait for it)
                _log.error("listening failed", exc_info=error)
            self._disconnected()
            gevent.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def _disconnected(self) -> None:
        if self._subscriber is not None:
            self._heard_at = self._subscriber.heard_at
            self._subscriber.close()
            self._subscriber = None
        for watch in self._watches.values():
            watch.pause()

    def _listen(self, connection: Subscriber) -> None:
        """Pass on what comes, but never faster than it can be written to those who read fast enough."""
        ahead_bytes = ahead_messages = 0
        for kind, *rest in connection.replies():
            watch = self._watches.get(rest[0]) if rest else None
            if watch is None:
                continue
            if kind == b"message":
                self._published(watch, rest[1])
                ahead_bytes += len(rest[1])
            elif kind == b"subscribe":
                self._catch_up_again(watch)
            ahead_messages += 1
            if ahead_bytes > _BYTES_AHEAD or ahead_messages > _MESSAGES_AHEAD:
                gevent.sleep(0)
                self._flusher.wait_idle()
                ahead_bytes = ahead_messages = 0

    def _published(self, watch: Watch, payload: bytes) -> None:
        try:
            notice = self._source.decode(payload)
        except Removed:
            self._removed(watch)
        except ValueError as error:
            _log.warning("message not understood", container_id=watch.container_id, reason=str(error))
        else:
            watch.published(notice)

    def _removed(self, watch: Watch) -> None:
        watch.removed()
        if self._on_removed is not None:
            self._on_removed(watch.container_id)

    def _catch_up_again(self, watch: Watch) -> None:
        gevent.spawn(self._catch_up, watch, watch.pause())

    def _catch_up(self, watch: Watch, turn: int) -> None:
        """Read what a stream holds after the watch's place until nothing is missing; a later turn replaces this one."""
        while watch.turn == turn:
            try:
                with self._turns:
                    if watch.turn != turn or self._read_on(watch, turn):
                        return
            except Removed:
                if watch.turn == turn:
                    self._removed(watch)
            except RedisError:
                gevent.sleep(_LONGEST_PAUSE_SECONDS)
            except Exception as error:  # noqa: BLE001 (its watchers wait for it)
                _log.error("catching up failed", container_id=watch.container_id, exc_info=error)
                gevent.sleep(_LONGEST_PAUSE_SECONDS)

    def _read_on(self, watch: Watch, turn: int) -> bool:
        """Read once from the watch's place to the end; whether it is live now, or not ours any more."""
        if not watch.has_place:
            newest = self._source.newest(watch.container_id)
            if watch.turn != turn:
                return True
            watch.begin_at(newest)
            return watch.go_live()
        before, announced, told_bytes = watch.place, watch.goal, 0
        for notice in self._source.after(watch.container_id, before):
            if watch.turn != turn:
                return True
            watch.tell(notice)
            told_bytes += len(notice.text)
            if told_bytes > _BYTES_AHEAD:
                told_bytes = 0
                self._flusher.wait_idle()
        if watch.turn != turn:
            return True
        if watch.place == before:
            watch.give_up(announced)  # not what was announced since: it may have been written after this reading
        return watch.go_live()
