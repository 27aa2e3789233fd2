"""Images that nothing uses: removed when the operator wants that, and only those that Lightd itself pulled."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from fleet.lifecycle import Action
from fleet.repositories.nodes import NodeRepository
from tests.worker.operations.conftest import IMAGE, Site
from worker.agent.pruning import Pruning
from worker.known_store import KnownStore

PULLED = "acme/game:1"
HOURS = 2


@pytest.fixture
def pruning(site: Site) -> Pruning:
    settings = replace(site.host.settings, image_prune_hours=HOURS)
    store = KnownStore(NodeRepository(site.redis, 15), settings.data)
    store.accept()
    return Pruning(settings, site.runtime, site.host.containers, store)


@pytest.fixture
def pulled(site: Site) -> str:
    """A container whose image had to be pulled; the container's name."""
    site.runtime.remote.add(PULLED)
    site.ready("game", image=PULLED)
    return "game"


def pass_hours(site: Site, hours: float) -> None:
    """Make it look as if every note was that much older."""
    for note in (site.host.settings.data / "pulled-images").glob("*"):
        then = time.time() - hours * 3600
        os.utime(note, (then, then))


def delete(site: Site, name: str) -> None:
    site.run(site.ask(name, Action.DELETE))


def test_an_image_in_use_stays_however_old(site: Site, pruning: Pruning, pulled: str) -> None:
    pass_hours(site, 100)
    pruning.prune()
    assert site.runtime.has_image(PULLED)


def test_an_image_is_removed_when_it_was_in_nobodys_use_for_that_long(
    site: Site, pruning: Pruning, pulled: str
) -> None:
    pass_hours(site, 100)
    pruning.prune()
    delete(site, pulled)
    pass_hours(site, HOURS - 0.1)
    pruning.prune()
    assert site.runtime.has_image(PULLED)
    pass_hours(site, HOURS + 0.1)
    pruning.prune()
    assert not site.runtime.has_image(PULLED)
    pass_hours(site, HOURS + 0.1)
    site.ready("again", image=PULLED)
    pruning.prune()
    assert site.runtime.has_image(PULLED)


def test_the_time_since_its_last_use_counts_not_since_its_pull(site: Site, pruning: Pruning, pulled: str) -> None:
    pass_hours(site, 100)
    pruning.prune()
    delete(site, pulled)
    pruning.prune()
    assert site.runtime.has_image(PULLED)


def test_an_image_that_was_there_before_is_nobodys_to_remove(site: Site, pruning: Pruning) -> None:
    site.runtime.remote.add(IMAGE)
    site.ready("game", pull_policy="always")
    delete(site, "game")
    pass_hours(site, 100)
    pruning.prune()
    assert site.runtime.has_image(IMAGE)


def test_an_image_that_a_strangers_container_uses_stays(site: Site, pruning: Pruning, pulled: str) -> None:
    plan = next(iter(site.runtime._made.values())).plan
    delete(site, pulled)
    site.runtime.create(replace(plan, name="stranger", labels={}))
    pass_hours(site, 100)
    pruning.prune()
    assert site.runtime.has_image(PULLED)


def test_a_store_that_was_emptied_makes_nothing_look_unused(site: Site, pruning: Pruning, pulled: str) -> None:
    site.redis.flushdb()
    pass_hours(site, 100)
    pruning.prune()
    assert site.runtime.has_image(PULLED)
