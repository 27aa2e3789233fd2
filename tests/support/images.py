"""Images made on this machine, because tests never pull any from the internet."""

from __future__ import annotations

import contextlib
import fcntl
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import docker
import pytest
from docker.errors import ImageNotFound
from docker.models.images import Image

from tests.support.debian_root import CACHE, debian_root_archive

UBUNTU = "ubuntu:22.04"
DEBIAN = "lightd-test/debian:12"
BUSYBOX = "lightd-test/busybox:1"


@pytest.fixture(scope="session")
def debian_image(engine: docker.DockerClient) -> Iterator[Image]:
    """The image of `debian` for the whole test run."""
    with debian(engine) as image:
        yield image


@pytest.fixture(scope="session")
def busybox_image(engine: docker.DockerClient) -> Iterator[Image]:
    """The image of `busybox` for the whole test run."""
    with busybox(engine) as image:
        yield image


@contextmanager
def debian(engine: docker.DockerClient) -> Iterator[Image]:
    """A real Debian root with bash and a working apt, tagged `ubuntu:22.04` and `lightd-test/debian:12`.

    An `ubuntu:22.04` that the machine already has is left alone, and tests use that one.
    """
    with _shared(engine, DEBIAN, UBUNTU) as lock:
        with _alone(lock):
            if _find(engine, DEBIAN) is None:
                _import(engine, debian_root_archive(), DEBIAN)
            image = engine.images.get(DEBIAN)
            if _find(engine, UBUNTU) is None:
                image.tag(UBUNTU)
        yield image


@contextmanager
def busybox(engine: docker.DockerClient) -> Iterator[Image]:
    """A small image (`lightd-test/busybox:1`) with every applet of busybox: sh, stty, nc, httpd, …"""
    with _shared(engine, BUSYBOX) as lock:
        with _alone(lock):
            if _find(engine, BUSYBOX) is None:
                engine.api.import_image_from_data(_busybox_archive(), repository=BUSYBOX)
        yield engine.images.get(BUSYBOX)


@contextmanager
def _shared(engine: docker.DockerClient, ours: str, alias: str | None = None) -> Iterator[IO[str]]:
    """Hold an image together with other test runs on this machine; the last one to leave removes its tags.

    `alias` is removed only while it names the same image as `ours`: else somebody else put it there.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{ours.replace('/', '-')}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield lock
        with contextlib.suppress(BlockingIOError):  # another run still uses the image
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            image, other = _find(engine, ours), _find(engine, alias) if alias else None
            if alias and image and other and image.id == other.id:
                engine.images.remove(alias)
            engine.images.remove(ours, force=True)


@contextmanager
def _alone(held: IO[str]) -> Iterator[None]:
    """Keep other test runs from making the same image at the same time."""
    with Path(f"{held.name}.making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find(engine: docker.DockerClient, reference: str) -> Image | None:
    try:
        return engine.images.get(reference)
    except ImageNotFound:
        return None


def _import(engine: docker.DockerClient, archive: Path, reference: str) -> None:
    answer = engine.api.import_image_from_file(str(archive), repository=reference)
    assert "error" not in answer, answer


def _busybox_archive() -> bytes:
    """A root file system of one static program and a link per applet, as a tar archive."""
    binary = shutil.which("busybox")
    if binary is None:
        pytest.fail("busybox-static is missing; run ./lightd test, which installs it.", pytrace=False)
    applets = subprocess.run([binary, "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder, mode in (("tmp", 0o1777), ("root", 0o700), ("home", 0o755), ("etc", 0o755), ("proc", 0o555)):
            archive.addfile(_folder(folder, mode))
        archive.add(binary, "bin/busybox")
        for applet in applets:
            if applet != "bin/busybox":
                archive.addfile(_link(applet, "/bin/busybox"))
        for name, content in (("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("etc/group", "root:x:0:\n")):
            archive.addfile(_file(name, len(content)), io.BytesIO(content.encode()))
    return buffer.getvalue()


def _folder(name: str, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, mode
    return member


def _link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def _file(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o644
    return member
