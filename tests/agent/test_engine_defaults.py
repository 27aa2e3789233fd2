"""An engine whose administrator has other containers' logs compressed: consoles are read from files as they are."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from fleet.lifecycle import Action
from fleet.store import Client
from tests.agent.bench import Bench, new_settings
from tests.agent.own_engine import OwnEngine
from tests.support.deadline import eventually

pytestmark = [pytest.mark.engine, pytest.mark.slow]

LINES = 28_000
"""More than the 2 MB at which the engine begins another file, but less than it keeps."""


@pytest.fixture
def bench(
    engine: docker.DockerClient, busybox_image: Image, store: Client, store_url: str, tmp_path: Path
) -> Iterator[Bench]:
    with contextlib.ExitStack() as ends:
        folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="lightd-engine-", ignore_cleanup_errors=True))
        second = OwnEngine(Path(folder) / "e", log_options=["compress=true", "max-size=9m", "labels=lightd.id"])
        second.start()
        ends.callback(second.close)
        second.take_busybox(engine)
        made = Bench(
            ends.enter_context(contextlib.closing(second.client())),
            new_settings(tmp_path / "data", store_url, engine=second.address, log_mb=2),
        )
        ends.callback(made.close)
        made.runtime.ensure_network(made.settings.network)
        made.start_agent(LIGHTD_ENGINE=second.address)
        made.await_agent()
        yield made


def test_every_line_comes_once_over_rotations_and_a_new_agent(bench: Bench) -> None:
    bench.install("flood", f"seq 1 {LINES}; sleep 600")
    bench.kill_agent()
    bench.do("flood", Action.START)
    container = bench.engine.containers.get(bench.engine_name("flood"))
    eventually(lambda: container.logs(tail=1).strip() == b"%d" % LINES, within_seconds=30, what="the end of the flood")
    bench.start_agent(LIGHTD_ENGINE=bench.settings.engine)
    expected = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
    eventually(lambda: bench.output("flood") == expected, within_seconds=30, what="all lines")
    assert not [output.notice for output in bench.console.since(bench.id_of("flood"), 0) if output.notice]
