"""Volumes that are being made or deleted: who is last to decide about them."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from fleet.errors import Conflict, NotFound
from fleet.models import Volume
from fleet.repositories.volumes import CREATING, DELETING, READY, REMOVING
from tests.fleet.conftest import NODE, VOLUME, Record, record

__all__ = ["record"]

OTHER = "0e1f2a3b-1111-4222-8333-444455556666"


def begin(record: Record) -> Volume:
    """A volume that is being made."""
    now = int(time.time())
    volume = Volume(OTHER, NODE, "", 64, "", CREATING, now, now)
    record.volumes.save(volume)
    return volume


def unfinished(record: Record) -> list[str]:
    return [volume.volume_id for volume in record.volumes.unfinished(NODE, -1)]


def test_a_volume_is_unfinished_until_it_is_ready(record: Record) -> None:
    volume = begin(record)
    assert unfinished(record) == [OTHER]
    assert record.volumes.unfinished("another-node", -1) == []
    assert record.volumes.finish(replace(volume, path="/y", state=READY), was=CREATING)
    assert record.volumes.find(OTHER).path == "/y"
    assert unfinished(record) == []
    assert not record.volumes.mark_removing(OTHER), "what was finished is nobody's to remove"
    assert record.volumes.find(OTHER).state == READY


def test_who_finishes_a_volume_too_late_is_told_so(record: Record) -> None:
    volume = begin(record)
    assert record.volumes.mark_removing(OTHER)
    ready = replace(volume, state=READY)
    assert not record.volumes.finish(ready, was=CREATING)
    with pytest.raises(NotFound):
        record.volumes.mark_deleting(OTHER)
    assert unfinished(record) == [OTHER]
    record.volumes.forget(OTHER)
    assert not record.volumes.finish(ready, was=CREATING)
    assert not record.volumes.exists(OTHER)
    assert unfinished(record) == []
    record.volumes.forget(OTHER)


def test_what_cannot_be_removed_does_not_become_younger_by_trying(record: Record) -> None:
    long_ago = int(time.time()) - 600
    record.volumes.save(Volume(OTHER, NODE, "", 64, "", CREATING, long_ago, long_ago))
    assert record.volumes.mark_removing(OTHER) and record.volumes.mark_removing(OTHER)
    assert [volume.state for volume in record.volumes.unfinished(NODE, 60)] == [REMOVING]


def test_a_deletion_that_was_refused_leaves_the_volume(record: Record) -> None:
    volume = record.volumes.find(VOLUME)
    record.volumes.mark_deleting(VOLUME)
    assert unfinished(record) == [VOLUME]
    assert record.volumes.finish(volume, was=DELETING)
    assert record.volumes.find(VOLUME) == volume
    record.ready("a")
    with pytest.raises(Conflict):
        record.volumes.mark_deleting(VOLUME)
    assert unfinished(record) == []
