"""Volumes: the record against the disk, its mounts and its loop devices."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fleet.errors import LightdError
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from storage.volumes import Volumes
from storage.volumes.disk import run
from storage.volumes.layout import volumes_folder
from storage.volumes.meta import VolumeMeta
from storage.volumes.mounts import loop_devices_below, mounts_below
from worker.agent.leftovers import Leftovers
from worker.doctor.difference import Difference


class VolumeCheck:
    """Looks at every volume of this host. Nothing that may hold somebody's files is ever removed."""

    def __init__(self, settings: Settings, records: VolumeRepository, volumes: Volumes, leftovers: Leftovers) -> None:
        self._settings = settings
        self._records = records
        self._volumes = volumes
        self._leftovers = leftovers

    def look(self) -> Iterator[Difference]:
        """All differences."""
        on_disk = {meta.volume_id: meta for meta in self._volumes.all()}
        recorded = {record.volume_id: record for record in self._records.ready(self._settings.node)}
        for volume_id in sorted(recorded.keys() - on_disk.keys()):
            yield Difference(f"Volume {volume_id} is in the record, but not on this host's disk; restore its files.")
        for volume_id, meta in on_disk.items():
            if not self._records.exists(volume_id):
                yield Difference(
                    f"Volume {volume_id} is on this host's disk, but not in the record; `./lightd recover --force`"
                    " brings its record back."
                )
            yield from self._mounted(meta)
            record = recorded.get(volume_id)
            if record is not None and record.quota_mb != meta.size_mb:
                mend = partial(self._records.resized, volume_id, meta.size_mb, was_mb=record.quota_mb)
                yield Difference(f"Volume {volume_id} has {meta.size_mb} MB, its record says {record.quota_mb}.", mend)
        for record in self._records.unfinished(self._settings.node, older_than_seconds=60):
            sentence = f"Volume {record.volume_id} was left half-way ({record.state})."
            yield Difference(sentence, self._leftovers.remove)
        yield from self._strange(set(on_disk))

    def _mounted(self, meta: VolumeMeta) -> Iterator[Difference]:
        try:
            mounted = self._volumes.is_mounted(meta.volume_id)
        except LightdError as error:
            yield Difference(f"Volume {meta.volume_id} cannot be used: {error.message}")
            return
        if not mounted:
            mend = partial(self._volumes.ensure_mounted, meta.volume_id)
            yield Difference(f"Volume {meta.volume_id} is not mounted.", mend)

    def _strange(self, known: set[str]) -> Iterator[Difference]:
        """Mounts, images and loop devices that belong to no volume."""
        folder = volumes_folder(self._settings)
        mounts = mounts_below(folder)
        for point in mounts:
            if Path(point).name not in known:
                yield Difference(f"Something is mounted at {point}, which is no volume; look at it and unmount it.")
        for image in sorted((folder / ".images").glob("*.img")):
            if image.stem not in set(self._volumes.known()):
                yield Difference(f"The image {image} belongs to no volume; look at it and remove it.")
        for device, file in loop_devices_below(folder).items():
            volume_id = Path(file.removesuffix(" (deleted)")).stem
            if volume_id not in known and str(folder / volume_id) not in mounts:
                detach = partial(run, "losetup", "--detach", device)
                yield Difference(f"The loop device {device} is left of volume {volume_id}, which is no more.", detach)
