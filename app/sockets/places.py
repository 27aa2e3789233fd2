"""Places for sockets, of which all API processes together have so many: counted in the store (`SocketCounts`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from fleet.errors import LightdError, TooMany, Unavailable
from fleet.repositories.sockets import SocketCounts
from fleet.repositories.tokens import Principal

_log = structlog.get_logger()

_ALL = "all"
_WAITING = "waiting"
_RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """How many connections all API processes take together."""

    in_all: int
    per_container: int
    per_token: int


class Places:
    """Gives places to the sockets of this process while there are any and, once it is leaving, to nobody.

    It remembers what it has given, so that a store that forgot it (lost, or away for long) is told again.
    """

    def __init__(self, counts: SocketCounts, limits: SocketLimits) -> None:
        self._counts = counts
        self._limits = limits
        self._held: Counter[str] = Counter()
        self._must_tell = False
        self._is_telling = False
        self._times_told = 0
        self._is_leaving = False

    def check_room(self, container_id: str | None) -> None:
        """Raise Unavailable when nobody more can be taken, TooMany when nobody more can watch this container."""
        if self._is_leaving:
            raise Unavailable("This API process is shutting down; connect again.", code="shutting_down")
        wanted = self._wanted(container_id, None)
        full = self._counts.look(wanted)
        if full is not None:
            raise _refusal(full, wanted[full])

    def take(self, container_id: str | None, principal: Principal | None) -> Place:
        """A place for a socket to this container, if to one, with this token; as `check_room`.

        One that brought no token yet only waits: half of all may, so that strangers keep nobody out of a container.
        """
        place = Place(self)
        if principal is None:
            place.take({_ALL: self._limits.in_all, _WAITING: max(self._limits.in_all // 2, 1)})
        else:
            place.take(self._wanted(container_id, principal))
        return place

    def admit(self, place: Place, container_id: str | None, principal: Principal) -> None:
        """The token that a socket showed late, and its container, count for its place now; raises TooMany."""
        wanted = self._wanted(container_id, principal)
        del wanted[_ALL]
        place.take(wanted)
        place.give_back(_WAITING)

    def keep(self) -> None:
        """Have the store know that this process lives, and what it holds. Raises RedisError."""
        if self._is_leaving or not (self._held or self._must_tell):
            return
        if self._must_tell or not self._counts.renew():
            self._tell()

    def leave(self) -> None:
        """The process is ending: give all places back at once, and no more."""
        self._is_leaving = True
        try:
            self._counts.tell({})
        except RedisError as error:
            _log.info("places not given back; they are forgotten soon", reason=str(error))

    def _tell(self) -> None:
        self._is_telling, self._must_tell = True, False
        try:
            self._counts.tell(self._held)
        except RedisError:
            self._must_tell = True
            raise
        finally:
            self._is_telling = False
            self._times_told += 1

    def _wanted(self, container_id: str | None, principal: Principal | None) -> dict[str, int]:
        wanted = {_ALL: self._limits.in_all}
        if container_id is not None:
            wanted[f"container:{container_id}"] = self._limits.per_container
        if principal is not None:
            wanted[_token(principal)] = self._limits.per_token
        return wanted

    def _take(self, wanted: dict[str, int]) -> None:
        times_told = self._times_told
        try:
            full = self._counts.take(wanted)
        except RedisError:
            self._must_tell = True  # it may have been counted, or will be when the store goes on
            raise
        if full is not None:
            raise _refusal(full, wanted[full])
        self._held.update(wanted.keys())
        self._note_telling_since(times_told)

    def _give_back(self, names: list[str]) -> None:
        for name in names:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]
        if self._is_leaving or self._must_tell:
            return
        times_told = self._times_told
        try:
            self._must_tell = not self._counts.give_back(names)
        except RedisError:
            self._must_tell = True
        self._note_telling_since(times_told)

    def _note_telling_since(self, times_told: int) -> None:
        """What the store is told meanwhile may or may not hold what was just counted: it must be told again."""
        self._must_tell = self._must_tell or self._is_telling or times_told != self._times_told


class Place:
    """What one socket takes up; give it back once it has ended."""

    __slots__ = ("_names", "_places")

    def __init__(self, places: Places) -> None:
        self._places = places
        self._names: list[str] = []

    def take(self, wanted: dict[str, int]) -> None:
        """Count for these names too, each with its limit; raises Unavailable, TooMany."""
        self._places._take(wanted)
        self._names += wanted

    def give_back(self, *names: str) -> None:
        """Take up nothing any more, or nothing of these; more than once is harmless."""
        given = [name for name in self._names if not names or name in names]
        self._names = [name for name in self._names if name not in given]
        if given:
            self._places._give_back(given)


def _token(principal: Principal) -> str:
    return f"token:{principal.digest}"


def _refusal(name: str, most: int) -> LightdError:
    kind, _, named = name.partition(":")
    if kind == _ALL:
        sentence = f"Lightd has its {most} WebSocket connections; close some or try again later."
        return Unavailable(sentence, code="socket_limit")
    if kind == _WAITING:
        sentence = f"Lightd has {most} WebSocket connections that wait for their token; send it with the handshake."
        return Unavailable(sentence, code="socket_limit")
    owner = "This token" if kind == "token" else f"Container {named}"
    sentence = f"{owner} has its {most} WebSocket connections; close some or try again later."
    return TooMany(sentence, code="socket_limit", retry_after_seconds=_RETRY_SECONDS)
