"""What can be watched about a container: its output, its feed of state events and daemon messages, and its stats.

All come live through pub/sub. The first two can be read again from a Redis stream, whose entry ids only rise: a
reader that has subscribed first, then reads from the last place it knows and drops what it has seen, misses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from app.sockets.notice import START, Notice, Place
from app.sockets.state import state_message
from fleet import messages
from fleet.console import Console, Output, decode_message
from fleet.keys import console_channel, feed_channel, stats_channel
from fleet.repositories.containers import ContainerRepository
from fleet.stats import StatsStore
from fleet.stats import decode_message as decode_stats

_REMOVED_ENTRY = b"0-0"


class Removed(Exception):
    """The container was deleted; its streams begin anew if another one gets its name."""


class Source(Protocol):
    """One kind of stream."""

    def channel(self, container_id: str) -> str:
        """The pub/sub channel."""

    def decode(self, payload: bytes) -> Notice:
        """A message of the channel; raises Removed."""

    def follows(self, last: Place, following: Place, /) -> bool:
        """Whether nothing can be missing between two places."""

    def newest(self, container_id: str) -> Place:
        """The place of the newest notice."""

    def after(self, container_id: str, place: Place) -> Iterator[Notice]:
        """All that is kept after `place`, oldest first; what is lost is told at its place. Raises Removed."""

    def lost(self, place: Place, goal: Place, /) -> Notice | None:
        """What to tell when nothing is kept after `place` although `goal` was published; None for nothing."""


class ConsoleSource:
    """A container's output; the seq of a console message is the first number of its place."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def channel(self, container_id: str) -> str:
        """The pub/sub channel of the stream store."""
        return console_channel(container_id)

    def decode(self, payload: bytes) -> Notice:
        """A message of the channel."""
        return _output(decode_message(payload))

    def follows(self, last: Place, following: Place, /) -> bool:
        """The seq rises by one, except for the very first."""
        return following[0] == last[0] + 1 or last == START

    def newest(self, container_id: str) -> Place:
        """The last seq given out."""
        return self._console.reach(container_id)[1], 0

    def after(self, container_id: str, place: Place) -> Iterator[Notice]:
        """History after a seq."""
        for output in self._console.since(container_id, place[0]):
            if not (output.begins or self.follows(place, (output.seq, 0))):
                yield _gap(place[0] + 1, output.seq - 1)
            yield _output(output)
            place = (output.seq, 0)

    def lost(self, place: Place, goal: Place, /) -> Notice | None:
        """Everything between was dropped from history already."""
        return None if place == START else _gap(place[0] + 1, goal[0])


class FeedSource:
    """A container's state events and daemon messages; places are the ids of its feed's entries."""

    def __init__(self, containers: ContainerRepository) -> None:
        self._containers = containers

    def channel(self, container_id: str) -> str:
        """The pub/sub channel of the record store."""
        return feed_channel(container_id)

    def decode(self, payload: bytes) -> Notice:
        """A message of the channel; raises Removed."""
        entry_id, _, text = payload.partition(b" ")
        if entry_id == _REMOVED_ENTRY:
            raise Removed
        return Notice(feed_place(entry_id.decode()), text.decode())

    def follows(self, last: Place, following: Place, /) -> bool:
        """Ids tell no gaps; a connection that was never interrupted has none."""
        return last < following

    def newest(self, container_id: str) -> Place:
        """The id of the newest entry."""
        return feed_place(self._containers.last_feed_id(container_id))

    def after(self, container_id: str, place: Place) -> Iterator[Notice]:
        """The feed after an id; the current state instead, when entries after it were dropped. Raises Removed."""
        if place != START and not self._containers.feed_holds(container_id, _entry_id(place)):
            container, newest = self._containers.snapshot(container_id)
            if container is None:
                raise Removed
            yield Notice(feed_place(newest), state_message(container))
            return
        for entry_id, text in self._containers.feed(container_id, _entry_id(place)):
            yield Notice(feed_place(entry_id), text)

    def lost(self, _place: Place, _goal: Place, /) -> Notice | None:
        """The feed keeps its newest entries; they can only vanish with their container."""
        return None


class StatsSource:
    """What a container uses. Only the newest counts: its place is the moment at which it changed to that."""

    def __init__(self, stats: StatsStore, containers: ContainerRepository) -> None:
        self._stats = stats
        self._containers = containers

    def channel(self, container_id: str) -> str:
        """The pub/sub channel of the stream store."""
        return stats_channel(container_id)

    def decode(self, payload: bytes) -> Notice:
        """A message of the channel."""
        changed_ms, text = decode_stats(payload)
        return Notice((changed_ms, 0), text)

    def follows(self, last: Place, following: Place, /) -> bool:
        """Nobody misses what was overtaken."""
        return last < following

    def newest(self, container_id: str) -> Place:
        """When the stats changed last."""
        last = self._stats.last(container_id)
        return (last.changed_ms, 0) if last else START

    def after(self, container_id: str, place: Place) -> Iterator[Notice]:
        """The stats of a run that goes on, if they changed after `place`."""
        last = self._stats.last(container_id)
        if last is None or last.changed_ms <= place[0]:
            return
        for container in self._containers.many([container_id]):
            if container.is_in_run(last.run):
                yield Notice((last.changed_ms, 0), last.message())

    def lost(self, _place: Place, _goal: Place, /) -> Notice | None:
        """Nothing is missed."""
        return None


def feed_place(entry_id: str) -> Place:
    """The place of a feed entry, from its id."""
    milliseconds, _, ordinal = entry_id.partition("-")
    return int(milliseconds), int(ordinal)


def _entry_id(place: Place) -> str:
    return f"{place[0]}-{place[1]}"


def _output(output: Output) -> Notice:
    place = (output.seq, 0)
    if output.notice:
        return Notice(place, messages.daemon(f"{output.notice}.", output.seq), begins=output.begins)
    return Notice(place, messages.console(output.data, output.seq), output.data, output.begins)


def _gap(first: int, last: int) -> Notice:
    text = f"Console output {first} to {last} is lost: history reaches back no further."
    return Notice((last, 0), messages.daemon(text))
