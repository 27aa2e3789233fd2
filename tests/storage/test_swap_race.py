"""A container swaps folders for links while we work: nothing outside is ever read, written, copied or listed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fleet.errors import LightdError
from storage.beneath import _ATTEMPTS, Root
from storage.copying import copy
from storage.folders import make_folder
from storage.listing import list_detailed
from storage.reading import read_text
from storage.renaming import change_mode, delete, rename
from storage.searching import search
from storage.writing import write_file
from tests.storage.conftest import OWNER
from tests.storage.swapping import NAIVE, SECRET, keep_calling, lay_trap, swapping
from worker.operations.handover import hand_over


def refused_is_fine(call: Callable[[], object]) -> Callable[[], object]:
    def quiet() -> object:
        with suppress(LightdError):
            return call()
        return None

    return quiet


def assert_no_secret_in(copied: Path) -> None:
    """Links may have been copied as links; what counts is content."""
    if copied.is_symlink():
        return
    for path in copied.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert path.read_text() != SECRET


@pytest.mark.parametrize("naive", NAIVE)
def test_the_race_is_real_a_naive_check_falls_for_it(folder: Path, naive: str) -> None:
    outside = lay_trap(folder)
    deadline = time.monotonic() + 30
    with swapping(folder):
        while time.monotonic() < deadline:
            with suppress(OSError, shutil.Error):
                if NAIVE[naive](folder, outside):
                    return
    pytest.fail("The naive way never escaped, so this harness proves nothing.")


@pytest.mark.parametrize("attempts", [_ATTEMPTS, 0], ids=["by the kernel", "in steps"])
@pytest.mark.parametrize("seconds", [3, pytest.param(12, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
def test_no_call_on_files_ever_escapes(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, attempts: int
) -> None:
    monkeypatch.setattr("storage.beneath._ATTEMPTS", attempts)
    outside = lay_trap(folder)
    before = {path: path.stat() for path in (outside, outside / "file")}

    def read() -> None:
        for path in (b"dir/file", b"up/file", b"dir/sub/file"):
            with suppress(LightdError):
                assert read_text(root, path) != SECRET

    def copy_and_look() -> None:
        with suppress(LightdError):
            delete(root, [b"copied"])
        with suppress(LightdError):
            copy(root, b"dir", b"copied")
        assert_no_secret_in(folder / "copied")

    def list_all() -> None:
        for path in (b"dir", b"up"):
            with suppress(LightdError):
                assert all(entry.size != len(SECRET) or entry.type == "symlink" for entry in list_detailed(root, path))

    def find() -> None:
        with suppress(LightdError):
            hits, _ = search(root, b".", "*", 1000)
            assert all(hit.size != len(SECRET) or hit.type == "symlink" for hit in hits)

    def move() -> None:
        with suppress(LightdError):
            rename(root, b"dir/file", b"moved")
        with suppress(LightdError):
            rename(root, b"moved", b"dir/file")

    calls: dict[str, Callable[[], object]] = {
        "read": read,
        "write": refused_is_fine(lambda: write_file(root, b"dir/new", b"written")),
        "overwrite": refused_is_fine(lambda: write_file(root, b"up/file", b"harmless")),
        "folder": refused_is_fine(lambda: make_folder(root, b"dir/made/deep")),
        "mode": refused_is_fine(lambda: change_mode(root, b"dir/file", "640")),
        "delete": refused_is_fine(lambda: delete(root, [b"dir/new", b"dir/made"])),
        "copy": copy_and_look,
        "list": list_all,
        "search": find,
        "move": move,
        "hand over": refused_is_fine(lambda: hand_over(folder, OWNER, lambda: None)),
    }
    with swapping(folder):
        counts = keep_calling(calls, seconds)
    assert min(counts.values()) > 0, counts
    assert sorted(path.name for path in outside.iterdir()) == ["file"]
    assert (outside / "file").read_text() == SECRET
    for path, old in before.items():
        now = path.stat()
        assert (now.st_mode, now.st_uid, now.st_mtime_ns) == (old.st_mode, old.st_uid, old.st_mtime_ns)


def test_programs_that_rename_all_the_time_keep_nobody_from_a_path_that_goes_up(
    root: Root, folder: Path, tmp_path: Path
) -> None:
    """The kernel begins such a path anew when anything was renamed meanwhile, on whatever disk."""
    write_file(root, b"a/link-30", b"x")
    for number in range(30):
        (folder / f"a/link-{number}").symlink_to(f"../a/link-{number + 1}")
    with ExitStack() as storm:
        for number in range(4):
            other = tmp_path / f"{number}" / "volume"
            other.mkdir(parents=True)
            lay_trap(other)
            storm.enter_context(swapping(other))
        for _ in range(2_000):
            assert read_text(root, b"a/link-0") == "x"
