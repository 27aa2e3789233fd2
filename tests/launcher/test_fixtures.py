"""The ground that all other tests stand on."""

from __future__ import annotations

import docker
import pytest
from docker.models.images import Image

from fleet.store import Client
from tests.support.images import UBUNTU
from tests.support.registry import Registry


def test_the_store_is_a_real_one_and_empty(store: Client, store_url: str) -> None:
    assert store_url.startswith("unix://")
    assert store.dbsize() == 0
    assert store.ping()


@pytest.mark.engine
def test_the_ubuntu_image_is_a_real_debian_or_ubuntu_with_bash(
    engine: docker.DockerClient, debian_image: Image
) -> None:
    output = engine.containers.run(
        UBUNTU, ["bash", "-c", ". /etc/os-release; echo $ID; command -v apt-get"], remove=True
    )
    assert output.decode().split() in (["debian", "/usr/bin/apt-get"], ["ubuntu", "/usr/bin/apt-get"])


@pytest.mark.engine
def test_a_container_can_refresh_its_package_lists(engine: docker.DockerClient, debian_image: Image) -> None:
    output = engine.containers.run(debian_image, ["sh", "-c", "apt-get update && apt-cache policy jq"], remove=True)
    assert b"Candidate" in output


@pytest.mark.engine
def test_the_busybox_image_has_its_applets(engine: docker.DockerClient, busybox_image: Image) -> None:
    output = engine.containers.run(busybox_image, ["/bin/sh", "-c", "which stty nc httpd sleep | wc -l"], remove=True)
    assert output.strip() == b"4"


@pytest.mark.engine
def test_an_image_can_be_pulled_from_the_registry(
    engine: docker.DockerClient, busybox_image: Image, registry: Registry
) -> None:
    reference = registry.push(busybox_image, "small:1")
    pulled = engine.images.pull(reference)
    try:
        assert reference in pulled.tags
    finally:
        engine.images.remove(reference)
