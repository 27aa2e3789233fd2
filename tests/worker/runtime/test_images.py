"""Images of the real engine: by name only, made of an install without its secrets, pulled anew when asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import docker
import pytest
from docker.models.images import Image

from fleet.errors import Invalid
from fleet.settings import read_settings
from tests.support.images import BUSYBOX
from tests.support.registry import Registry
from tests.support.this_run import new_node_and_network
from tests.worker.runtime.conftest import Bench
from worker.runtime.base import LABEL_IMAGE, LABEL_JOB
from worker.runtime.docker import DockerRuntime

pytestmark = pytest.mark.engine

EMPTY_ARCHIVE = bytes(10240)
SECRET = "planted-in-the-environment"


@pytest.fixture
def runtime() -> Iterator[DockerRuntime]:
    with closing(DockerRuntime(read_settings().engine, timeout_seconds=60)) as runtime:
        yield runtime


@pytest.fixture
def labelled(engine: docker.DockerClient) -> Iterator[Callable[[str, str], None]]:
    """Makes an empty image of this name whose maker has chosen a label that is Lightd's."""
    made: list[str] = []

    def make(name: str, label: str) -> None:
        change = f"LABEL {LABEL_IMAGE}={json.dumps(label)}"
        engine.api.import_image_from_data(EMPTY_ARCHIVE, repository=name, tag="evil", changes=[change])  # type: ignore[no-untyped-call]
        made.append(f"{name}:evil")

    yield make
    for name in made:
        engine.images.remove(name)


@pytest.fixture
def private_image(runtime: DockerRuntime) -> Iterator[str]:
    """A name below `lightd/` that no other test uses; the image is gone afterwards."""
    name = f"lightd/{new_node_and_network()[0]}"
    yield name
    with suppress(Invalid):
        runtime.remove_image(name)


@pytest.mark.parametrize("bench", [pytest.param("docker", marks=pytest.mark.engine)], indirect=True)
def test_a_committed_image_holds_the_files_but_nothing_that_its_container_was_told(
    bench: Bench, engine: docker.DockerClient, private_image: str
) -> None:
    env = {"API_KEY": SECRET, "PATH": f"/{SECRET}:/bin", "EMPTY": ""}
    made = bench.runtime.create(bench.plan("changes a file", env=env, command=("/bin/sh", "-c", f"echo {SECRET} >/f")))
    bench.runtime.start(made)
    assert bench.runtime.wait(made, 30) is not None
    bench.runtime.commit(made, private_image)
    image = engine.api.inspect_image(private_image)
    config = image["Config"]
    base = engine.api.inspect_image(BUSYBOX)["Config"]
    assert SECRET not in f"{image} {engine.api.history(private_image)}"
    assert image["RepoTags"] == [f"{private_image}:latest"]
    assert (config["Entrypoint"] or [], config["Cmd"] or []) == (base["Entrypoint"] or [], base["Cmd"] or [])
    assert {name for name, value in config["Labels"].items() if value} == {LABEL_IMAGE}
    plan = bench.plan("changes nothing", image=private_image, command=("/bin/sh", "-c", "/bin/env; /bin/cat /f"))
    second = bench.runtime.create(plan)
    bench.runtime.start(second)
    assert bench.runtime.wait(second, 30) is not None
    printed = bench.runtime.log_tail(second, 100).decode()
    assert printed.splitlines()[-1] == SECRET
    for name in ("API_KEY", "EMPTY", SECRET + ":"):
        assert name not in printed
    bench.runtime.remove(second)
    bench.runtime.remove(made)


@pytest.mark.parametrize("bench", [pytest.param("docker", marks=pytest.mark.engine)], indirect=True)
def test_no_image_is_reached_by_its_id_or_the_beginning_of_it(
    bench: Bench, engine: docker.DockerClient, busybox_image: Image
) -> None:
    hexadecimal = busybox_image.id.removeprefix("sha256:")
    for name in (hexadecimal[:12], hexadecimal[:32], f"sha256:{hexadecimal[:12]}"):
        assert engine.images.get(name).id == busybox_image.id
        assert not bench.runtime.has_image(name)
        with pytest.raises(Invalid, match="Image not found"):
            bench.runtime.create(bench.plan("changes nothing", image=name))


def test_a_pull_of_a_name_that_is_there_brings_what_the_registry_has_now(
    runtime: DockerRuntime, registry: Registry, engine: docker.DockerClient, busybox_image: Image
) -> None:
    reference = registry.push(busybox_image, "moving:1")
    runtime.pull(reference, lambda _: None)
    before = engine.images.get(reference).id
    container = engine.containers.create(BUSYBOX, "true", labels={LABEL_JOB: "moved"})
    moved = container.commit(conf={"Labels": {"moved": "yes"}})
    container.remove()
    registry.push(moved, "moving:2")
    registry.retag("moving", "2", "1")
    assert engine.images.get(reference).id == before
    runtime.pull(reference, lambda _: None)
    after = engine.images.get(reference)
    assert after.labels["moved"] == "yes"
    runtime.remove_image(reference)
    with suppress(docker.errors.ImageNotFound):  # pulled and removed, it may be gone with its last name
        engine.images.remove(moved.id)
    for digest in engine.images.get(BUSYBOX).attrs["RepoDigests"]:
        if digest.startswith(reference.removesuffix(":1")):
            engine.images.remove(digest)


@pytest.mark.parametrize("label", ["][", "{}", "7", '{"id": "victim", "node": "n", "data": "/d"}'])
def test_an_image_that_somebody_labelled_as_ours_is_no_private_one(
    runtime: DockerRuntime, labelled: Callable[[str, str], None], busybox_image: Image, label: str
) -> None:
    labelled(f"lightd-test/{new_node_and_network()[0]}", label)
    assert runtime.private_images("n", "/d") == {}
