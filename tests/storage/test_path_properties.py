"""Any text at all as a path: refused, or it names something inside."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import LightdError, PathTraversal
from storage.beneath import open_beneath, opened_root
from storage.paths import checked_path
from storage.stepwise import open_in_steps

PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "%2e", "%2f", "%5c", "%00", "\0", "C:", "~", "a", "ü", "\udcff", "\ud800", " "]
)


@given(st.one_of(st.text(max_size=50), st.lists(PIECES, max_size=12).map("".join)))
@settings(max_examples=1500, deadline=None)
def test_a_checked_path_never_names_anything_outside(text: str) -> None:
    with suppress(LightdError):
        path = checked_path(text)
        assert not path.startswith(b"/") and b".." not in path.split(b"/") and b"\0" not in path


@given(st.lists(st.sampled_from([b"..", b".", b"a", b"link", b"etc", b"", b"root"]), max_size=10).map(b"/".join))
@settings(max_examples=500, deadline=None)
def test_the_kernel_never_opens_anything_outside_whatever_the_path(path: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="lightd-beneath-") as name:
        folder = Path(name) / "volume"
        (folder / "a").mkdir(parents=True)
        (folder / "link").symlink_to("../..")
        (folder / "root").symlink_to("/")
        with opened_root(folder, (0, 0)) as root, suppress(LightdError, OSError):
            fd = open_beneath(root.fd, path, os.O_PATH)
            try:
                assert os.readlink(f"/proc/self/fd/{fd}").startswith(str(folder))
            finally:
                os.close(fd)


LINKS = {
    "link": "a",
    "up": "a/b/..",
    "out": "../..",
    "root": "/",
    "loop": "loop",
    "to-file": "a/file",
    "slashed": "a/",
    "wrong": "a/file/",
    "a/far": "../link/b/../file",
    "a/b/top": "../../up",
    "gone": "a/nothing",
}
OPENINGS = [
    os.O_PATH,
    os.O_PATH | os.O_NOFOLLOW,
    os.O_PATH | os.O_DIRECTORY,
    os.O_RDONLY | os.O_DIRECTORY,
    os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
    os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW,
]


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[int]:
    """The descriptor of a folder full of links."""
    folder = tmp_path / "volume"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/file").write_text("x")
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    with opened_root(folder, (0, 0)) as root:
        yield root.fd


def opened_by(way: Callable[[int, bytes, int], int], folder_fd: int, path: bytes, flags: int) -> object:
    """What is opened, or how that is refused."""
    try:
        fd = way(folder_fd, path, flags)
    except PathTraversal:
        return "refused"
    except OSError as error:
        return error.errno
    try:
        found = os.fstat(fd)
        return found.st_dev, found.st_ino, found.st_mode
    finally:
        os.close(fd)


@given(
    st.lists(st.sampled_from(["..", ".", "a", "b", "file", "", "nothing", *LINKS]), max_size=8).map("/".join),
    st.sampled_from(OPENINGS),
)
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_steps_lead_where_the_kernel_goes(linked: int, path: str, flags: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    by_kernel = opened_by(open_beneath, linked, os.fsencode(path), flags)
    assert opened_by(open_in_steps, linked, os.fsencode(path), flags) == by_kernel
    assert len(os.listdir("/proc/self/fd")) == before


def test_steps_hold_open_no_more_than_where_they_are(tmp_path: Path) -> None:
    """A container can make links that go to and fro thousands of times."""
    (tmp_path / "a").mkdir()
    for number in range(30):
        (tmp_path / f"{number}").symlink_to("a/../" * 800 + f"{number + 1}")
    (tmp_path / "30").mkdir()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with opened_root(tmp_path, (0, 0)) as root:
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 256, limits[1]))
        try:
            os.close(open_in_steps(root.fd, b"0", os.O_PATH | os.O_DIRECTORY))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
