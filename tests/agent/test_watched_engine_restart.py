"""Twenty watchers of a container that prints fast, half of them coming and going, while its engine restarts."""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from tests.agent.own_engine import OwnEngine
from tests.support.answers import accepted
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack
from tests.support.watcher import all_got, give_up, twenty_watchers, wait_for_more

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(600)]

NUMBERS_A_RUN = 10_000_000
LINES_A_TURN = 100
COUNTING = f"""trap 'exit 0' TERM
run=$(($(cat run 2>/dev/null || echo 0) + 1)); echo $run > run
n=$((run * {NUMBERS_A_RUN}))
until [ -e enough ]; do
  i=0; while [ $i -lt {LINES_A_TURN} ]; do echo $n; n=$((n+1)); i=$((i+1)); done; usleep 40000
done
echo end-of-output
sleep 3600"""
"""About 2,000 lines a second; every run counts from a number of its own, so no number ever comes again.

The shell prints them itself, so that no line is cut in two by the engine's signal.
"""

CHARACTERS_BEFORE_AND_AFTER = 45_000


@pytest.fixture(params=[False, True], ids=["containers end with it", "containers run on"])
def restored(request: pytest.FixtureRequest) -> bool:
    """Whether the engine leaves its containers running."""
    return bool(request.param)


@pytest.fixture
def second(engine: docker.DockerClient, busybox_image: Image, restored: bool) -> Iterator[OwnEngine]:
    """An engine that the test may restart."""
    with tempfile.TemporaryDirectory(prefix="lightd-engine-", ignore_cleanup_errors=True) as folder:
        made = OwnEngine(Path(folder) / "e", live_restore=restored)
        made.start()
        try:
            made.take_busybox(engine)
            yield made
        finally:
            made.close()


@pytest.fixture
def stack(second: OwnEngine) -> Iterator[Stack]:
    """A Lightd on that engine."""
    with tempfile.TemporaryDirectory(prefix="lightd-test-", ignore_cleanup_errors=True) as folder, ExitStack() as ends:
        made = Stack(Path(folder) / "data", LIGHTD_ENGINE=second.address, LIGHTD_FIREWALL="false")
        ends.callback(made.lightd, "down", check=False)
        made.up()
        yield made
        made.delete_everything()


def test_every_watcher_gets_every_line_once_over_a_restart_of_the_engine(
    stack: Stack, second: OwnEngine, restored: bool
) -> None:
    servers = Servers(stack)
    volume = servers.volume()["volume_id"]
    limits = {"memory": 32 * 2**20, "cpu": 1.0}
    container = servers.create(COUNTING, volume_id=volume, limits=limits, restart_policy="always")
    watchers = twenty_watchers(lambda seq: stack.socket(container, since=seq))
    try:
        servers.act(container, "start")
        wait_for_more(watchers, CHARACTERS_BEFORE_AND_AFTER)
        second.stop()
        second.start()
        wait_for_more(watchers, CHARACTERS_BEFORE_AND_AFTER)
        accepted(stack.api("POST", f"/volumes/{volume}/files", json={"path": "enough", "content": ""}))
        printed = _printed(second, container)
        _require_numbers(printed, runs=1 if restored else 2, holes=1 if restored else 0)
        all_got(watchers, printed)
    finally:
        give_up(watchers)


def _printed(engine: OwnEngine, container: str) -> str:
    """All that the container printed, as the engine has it."""
    with closing(engine.client()) as client:

        def look() -> str:
            text: str = client.containers.get(f"lightd-{container}").logs().decode().replace("\r\n", "\n")
            return text if text.endswith("end-of-output\n") else ""

        return eventually(look, within_seconds=30, what="the end of the output")


def _require_numbers(printed: str, runs: int, holes: int) -> None:
    """Every run counted up, with no more holes than these, and those small.

    An engine whose containers run on drops now and then, when it ends, the few lines that it has taken from a
    container and not logged yet (alone, without Lightd: in 1 of 75 restarts); so watchers cannot have them either.
    What the shell says of the sleep that a signal ended is no number, nor is what a hole has left of a line.
    """
    numbers = [int(line) for line in printed.splitlines()[:-1] if re.fullmatch(r"\d{8}", line)]
    counted = [list(group) for _, group in itertools.groupby(numbers, lambda number: number // NUMBERS_A_RUN)]
    assert [found[0] // NUMBERS_A_RUN for found in counted] == list(range(1, runs + 1))
    steps = [after - before for found in counted for before, after in itertools.pairwise(found)]
    assert [found[0] % NUMBERS_A_RUN for found in counted] == [0] * runs
    assert min(steps) == 1
    assert sum(step > 1 for step in steps) <= holes
    assert max(steps) <= LINES_A_TURN + 1
