"""The agent removes images that Lightd pulled and nobody uses, on a real engine."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

import docker
import pytest
from docker.models.images import Image

from fleet.lifecycle import Action, State
from tests.agent.bench import Bench
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from tests.support.registry import Registry

pytestmark = pytest.mark.engine


def pushed_anew(engine: docker.DockerClient, registry: Registry, name: str) -> str:
    """Have the registry give another image under this name, which this host does not have yet."""
    made = engine.containers.create(BUSYBOX, ["true"])
    image = made.commit(changes=f"LABEL is={secrets.token_hex(4)}")
    made.remove()
    return registry.push(image, name)


def test_an_image_that_was_pulled_goes_when_its_name_means_another_one_by_now(
    bench: Bench, registry: Registry, engine: docker.DockerClient, busybox_image: Image
) -> None:
    name = f"moving-{secrets.token_hex(4)}:1"
    reference = pushed_anew(engine, registry, name)
    bench.install("game", "true", image=reference, pull_policy="always")
    first = bench.runtime.image_id(reference)
    pushed_anew(engine, registry, name)
    strangers = engine.containers.create(BUSYBOX, ["true"])
    nameless = strangers.commit(changes=f"LABEL is={secrets.token_hex(4)}")
    strangers.remove()
    try:
        bench.perform(bench.begin("game", Action.REINSTALL, next_spec=bench.record("game").spec))
        second = bench.runtime.image_id(reference)
        assert bench.record("game").state is State.READY
        assert first and second and first != second
        assert bench.runtime.images_by_id()[first] == ()
        for note in (bench.settings.data / "pulled-images").iterdir():
            os.utime(note, (0, 0))
        bench.start_agent(LIGHTD_IMAGE_PRUNE_HOURS="1")
        eventually(lambda: first not in bench.runtime.images_by_id(), within_seconds=30, what="the image's removal")
        left = bench.runtime.images_by_id()
        assert second in left, "it is in use"
        assert nameless.id in left, "somebody else's"
    finally:
        for image in (reference, first, nameless.id):
            with suppress(docker.errors.ImageNotFound):
                engine.images.remove(image, force=True)


def test_only_what_lightd_pulled_and_nobody_uses_is_removed(
    bench: Bench, registry: Registry, engine: docker.DockerClient, busybox_image: Image
) -> None:
    names = {
        name: registry.push(busybox_image, f"prune-{secrets.token_hex(4)}:1") for name in ("gone", "kept", "other")
    }
    try:
        for name in ("gone", "kept"):
            bench.install(name, "true", image=names[name])
        engine.images.pull(names["other"])
        bench.install("other", "true", image=names["other"])
        for name in ("gone", "other"):
            bench.perform(bench.begin(name, Action.DELETE, deleting=True))
        for note in (bench.settings.data / "pulled-images").iterdir():
            os.utime(note, (0, 0))
        bench.start_agent(LIGHTD_IMAGE_PRUNE_HOURS="1")
        eventually(lambda: not bench.runtime.has_image(names["gone"]), within_seconds=30, what="the image's removal")
        assert bench.runtime.has_image(names["kept"])
        assert bench.runtime.has_image(names["other"])
        assert names["gone"] in bench.log_text()
    finally:
        for name in ("gone", "kept", "other"):
            with suppress(docker.errors.ImageNotFound):
                engine.images.remove(names[name], force=True)
