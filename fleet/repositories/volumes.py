"""Volumes: where they are and who uses them. Their bytes are the storage package's business."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict

from fleet.errors import Conflict, NotFound
from fleet.identifiers import volume_prefix
from fleet.keys import key
from fleet.models import Volume
from fleet.scripts import Scripts
from fleet.store import Client

CREATING, READY, DELETING, REMOVING = "creating", "ready", "deleting", "removing"

BEGIN_SECONDS = 15.0
"""A host does not begin to make a volume that was recorded longer ago. Whoever asked for it may be dead and the call
still on its way; after that time it is enough that nobody on the host is at work on the volume.
"""


class VolumeRepository:
    """All volumes of the fleet."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    def save(self, volume: Volume) -> None:
        """Write a volume's whole record; it is listed only when its state is `ready`."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key("volume", volume.volume_id), mapping=asdict(volume))
            pipe.zadd(key("volumes"), {volume.volume_id: 0})
            if volume.state == READY:
                pipe.zrem(key("volumes_unfinished", volume.node), volume.volume_id)
            else:
                pipe.zadd(key("volumes_unfinished", volume.node), {volume.volume_id: volume.updated_at})
            pipe.execute()

    def finish(self, volume: Volume, was: str) -> bool:
        """Write the record of a volume that is ready; False when its state is not `was` any more: it is removed."""
        answer = self._scripts.run("finish_volume", {"volume": asdict(volume), "was": was})
        return bool(answer[0] == "ok")

    def find(self, text: str) -> Volume:
        """The ready volume with this id or this prefix of 8 or more digits.

        Raises NotFound, or Conflict when the prefix fits more than one.
        """
        prefix = volume_prefix(text)
        if prefix is None:
            raise _unknown()
        names = self._redis.zrange(key("volumes"), f"[{prefix}", f"[{prefix}\xff", bylex=True, offset=0, num=100)
        volumes = self.many(names)
        if not volumes:
            raise _unknown()
        if len(volumes) > 1:
            raise Conflict(f"The volume id {text} fits {len(volumes)} volumes; give more digits.", code="ambiguous_id")
        return volumes[0]

    def exists(self, volume_id: str) -> bool:
        """Whether there is a record of this volume, in whatever state."""
        return bool(self._redis.exists(key("volume", volume_id)))

    def page(self, after: str = "", limit: int = 100) -> tuple[list[Volume], str | None]:
        """Up to `limit` ready volumes by id after `after`, and the id to go on from if there may be more."""
        first = f"({after}" if after else "-"
        names = self._redis.zrange(key("volumes"), first, "+", bylex=True, offset=0, num=limit)
        volumes = self.many(names)
        return volumes, names[-1] if len(names) == limit else None

    def many(self, volume_ids: list[str]) -> list[Volume]:
        """The ready volumes among these."""
        return [volume for volume in self._records(volume_ids) if volume.state == READY]

    def unfinished(self, node: str, older_than_seconds: float) -> list[Volume]:
        """Volumes of a host whose making or deletion was begun but not ended, that long ago."""
        before = time.time() - older_than_seconds
        names = self._redis.zrangebyscore(key("volumes_unfinished", node), "-inf", before)
        return [volume for volume in self._records(names) if volume.state != READY]

    def ready(self, node: str) -> list[Volume]:
        """Every ready volume of one host."""
        every = self._records(self._redis.zrange(key("volumes"), 0, -1))
        return [volume for volume in every if volume.node == node and volume.state == READY]

    def users(self, volume_id: str) -> list[str]:
        """Ids of the containers on a volume."""
        return sorted(self._redis.smembers(key("volume_users", volume_id)))

    def resized(self, volume_id: str, quota_mb: int, *, was_mb: int | None = None) -> None:
        """Note a volume's new size, unless it was deleted meanwhile, or has another size by now than `was_mb`."""
        request = {"volume_id": volume_id, "quota_mb": quota_mb, "was_mb": was_mb, "at": int(time.time())}
        self._scripts.run("resize_volume", request)

    def mark_deleting(self, volume_id: str) -> None:
        """From now on nothing can be put on the volume. Raises NotFound, or Conflict while something is on it."""
        self._delete(volume_id, DELETING)

    def mark_removing(self, volume_id: str) -> bool:
        """Take an unfinished volume away from whoever began with it, for good; False when that one has finished it."""
        try:
            self._delete(volume_id, REMOVING)
        except (NotFound, Conflict):
            return False
        return True

    def forget(self, volume_id: str) -> None:
        """Drop the record of a volume whose disk is gone; fine when there is none."""
        with suppress(NotFound):
            self._delete(volume_id, None)

    def _delete(self, volume_id: str, mark: str | None) -> None:
        request = {"volume_id": volume_id, "mark": mark, "at": int(time.time())}
        answer = self._scripts.run("delete_volume", request)
        if answer[0] == "ok":
            return
        if answer[1] == "missing":
            raise _unknown()
        if answer[1] == "busy":
            raise Conflict(f"The volume is busy with job {answer[2]}; cancel it or wait.", code="volume_busy")
        if answer[1] == "ready":
            raise Conflict("The volume is ready by now.")
        raise Conflict(f"The volume is in use by container {answer[2]}; delete that first.", code="volume_in_use")

    def _records(self, names: list[str]) -> list[Volume]:
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(key("volume", name))
            return [_from_fields(fields) for fields in pipe.execute() if fields]


def _unknown() -> NotFound:
    return NotFound("Volume not found", code="volume_not_found")


def _from_fields(fields: dict[str, str]) -> Volume:
    numbers = ("quota_mb", "created_at", "updated_at")
    return Volume(**{name: int(value) if name in numbers else value for name, value in fields.items()})  # type: ignore[arg-type]
