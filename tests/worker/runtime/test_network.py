"""The containers' network when somebody takes its bridge away from under the engine."""

from __future__ import annotations

import subprocess

import pytest
from docker.models.images import Image

from fleet.errors import Conflict
from tests.worker.engine_bench import EngineBench

pytestmark = pytest.mark.engine


def take_away_the_bridge(bench: EngineBench) -> None:
    subprocess.run(["ip", "link", "delete", bench.settings.network], check=True)


def test_a_container_starts_although_the_bridge_of_its_network_is_gone(
    engine_bench: EngineBench, busybox_image: Image
) -> None:
    take_away_the_bridge(engine_bench)
    engine_id = engine_bench.start_server("ip -4 address show dev eth0")
    assert "inet " in engine_bench.output(engine_id)


def test_while_others_are_in_the_network_the_engine_must_be_restarted(
    engine_bench: EngineBench, busybox_image: Image
) -> None:
    engine_bench.start_server("read line")
    take_away_the_bridge(engine_bench)
    with pytest.raises(Conflict, match="restart the Docker engine"):
        engine_bench.start_server("true")
