"""Whatever dies, and in whatever order: what was acknowledged is there afterwards, and nothing else."""

from __future__ import annotations

import os

import docker
import pytest
from docker.models.images import Image

from scripts.checks import CHAOS_MINUTES, CHAOS_SEED
from tests.chaos.faults import FAULTS
from tests.chaos.place import place_of_chaos
from tests.chaos.storm import MANY, Storm
from tests.support.deadline import eventually

ROUNDS = 2
MINUTES = float(os.environ.get(CHAOS_MINUTES, "0"))
SEED = int(os.environ.get(CHAOS_SEED, "1"))  # the same faults in the same order whenever everything is checked

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(1800 + 60 * MINUTES)]


def test_nothing_is_lost_whatever_dies(engine: docker.DockerClient, busybox_image: Image) -> None:
    print(f"chaos from seed {SEED} begins")
    with place_of_chaos(engine) as place:
        storm = Storm(place, SEED)
        try:
            report = storm.run(ROUNDS, MINUTES)
            print(report.text)
            told = f"{report.text}{place.stack.log_tails()}\n{storm.timeline.about(report.broken)}\n{report.text}"
            assert not report.broken, told
            assert set(report.faults) == set(FAULTS) and min(report.faults.values()) >= ROUNDS
            assert report.faults.total() >= 40 and report.servers >= MANY
            place.stack.delete_everything()
            eventually(lambda: not place.left(), within_seconds=15, what="the end of all things")
        except BaseException:
            print(f"The timeline of seed {SEED}:\n{storm.timeline.text}")
            raise
