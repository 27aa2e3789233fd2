"""Volumes: where they are and who uses them. Their bytes are the storage package's business."""

from __future__ import annotations

import time
from dataclasses import asdict

from fleet.errors import Conflict, NotFound
from fleet.identifiers import volume_prefix
from fleet.keys import key
from fleet.models import Volume
from fleet.scripts import Scripts
from fleet.store import Client


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
            pipe.execute()

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
        return [volume for volume in self._records(volume_ids) if volume.state == "ready"]

    def unfinished(self, node: str, older_than_seconds: float) -> list[Volume]:
        """Volumes of a host whose making or deletion was begun but not ended, that long ago."""
        before = time.time() - older_than_seconds
        return [volume for volume in self._of_node(node) if volume.state != "ready" and volume.updated_at < before]

    def ready(self, node: str) -> list[Volume]:
        """Every ready volume of one host."""
        return [volume for volume in self._of_node(node) if volume.state == "ready"]

    def users(self, volume_id: str) -> list[str]:
        """Ids of the containers on a volume."""
        return sorted(self._redis.smembers(key("volume_users", volume_id)))

    def resized(self, volume_id: str, quota_mb: int, *, was_mb: int | None = None) -> None:
        """Note a volume's new size, unless it was deleted meanwhile, or has another size by now than `was_mb`."""
        request = {"volume_id": volume_id, "quota_mb": quota_mb, "was_mb": was_mb, "at": int(time.time())}
        self._scripts.run("resize_volume", request)

    def mark_deleting(self, volume_id: str) -> None:
        """From now on nothing can be put on the volume. Raises NotFound, or Conflict while something is on it."""
        self._delete(volume_id, forget=False)

    def forget(self, volume_id: str) -> None:
        """Drop the record of a volume whose disk is gone."""
        self._delete(volume_id, forget=True)

    def _delete(self, volume_id: str, *, forget: bool) -> None:
        request = {"volume_id": volume_id, "forget": forget or None, "at": int(time.time())}
        answer = self._scripts.run("delete_volume", request)
        if answer[0] == "ok":
            return
        if answer[1] == "missing":
            raise _unknown()
        if answer[1] == "busy":
            raise Conflict(f"The volume is busy with job {answer[2]}; cancel it or wait.", code="volume_busy")
        raise Conflict(f"The volume is in use by container {answer[2]}; delete that first.", code="volume_in_use")

    def _of_node(self, node: str) -> list[Volume]:
        every = self._records(self._redis.zrange(key("volumes"), 0, -1))
        return [volume for volume in every if volume.node == node]

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
