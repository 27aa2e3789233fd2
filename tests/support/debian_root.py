"""A Debian (or, on Ubuntu, an Ubuntu) root file system, made once per machine from the host's own mirror."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightd"
_LEFT_OUT = ("./var/cache/apt", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/man", "./usr/share/locale")


@dataclass(frozen=True)
class Mirror:
    """Where the host's own packages come from."""

    url: str
    release: str
    components: tuple[str, ...]


def debian_root_archive() -> Path:
    """A tar archive of the root, from the user's cache; made by debootstrap when it isn't there yet."""
    mirror = host_mirror()
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"{mirror.release}-{platform.machine()}.tar"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            _make(mirror, archive)
    return archive


def host_mirror() -> Mirror:
    """The mirror that apt of this machine uses for its own release."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = [line.split() for line in listed.splitlines()]
    urls = [url for suite, component, url in found if suite == release and component == "main"]
    if not urls:
        pytest.fail(f"apt of this machine knows no mirror for {release or 'its release'}.", pytrace=False)
    components = dict.fromkeys(component for suite, component, url in found if suite == release and url == urls[0])
    return Mirror(urls[0], release, tuple(components))


def _make(mirror: Mirror, archive: Path) -> None:
    root = Path(tempfile.mkdtemp(prefix="root-", dir=CACHE))
    try:
        _bootstrap(mirror, root)
        fresh = archive.with_suffix(".part")
        excluded = [f"--exclude={path}/*" for path in _LEFT_OUT]
        _run(["tar", "-C", str(root), *excluded, "-cf", str(fresh), "."])
        fresh.rename(archive)
    finally:
        shutil.rmtree(root)


def _bootstrap(mirror: Mirror, root: Path) -> None:
    components = ",".join(mirror.components)
    _run(["debootstrap", "--variant=minbase", f"--components={components}", mirror.release, str(root), mirror.url])
    sources = f"deb {mirror.url} {mirror.release} {' '.join(mirror.components)}\n"
    (root / "etc/apt/sources.list").write_text(sources)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        pytest.fail(f"{command[0]} failed:\n{tail}", pytrace=False)
