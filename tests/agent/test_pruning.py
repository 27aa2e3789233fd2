"""The agent removes images that Lightd pulled and nobody uses, on a real engine."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

import docker
import pytest
from docker.models.images import Image

from fleet.lifecycle import Action
from tests.agent.bench import Bench
from tests.support.deadline import eventually
from tests.support.registry import Registry

pytestmark = pytest.mark.engine


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
