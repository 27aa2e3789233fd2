"""Reading text, renaming, deleting, permissions, searching."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import AlreadyExists, Conflict, Invalid, NotFound, PathTraversal, Unavailable
from storage.beneath import Root
from storage.copying import copy
from storage.folders import make_folder
from storage.paths import ROOT
from storage.reading import LARGEST_TEXT_BYTES, read_text
from storage.renaming import change_mode, delete, rename
from storage.searching import search
from storage.writing import write_file
from tests.storage.escapes import LINKS_OUT


def test_text_is_read_as_it_is(root: Root) -> None:
    write_file(root, b"a.txt", "ünï\r\n".encode())
    assert read_text(root, b"a.txt") == "ünï\r\n"


@pytest.mark.parametrize("content", [b"\0", b"\xff", b"a\0b", b"x" * (LARGEST_TEXT_BYTES + 1)])
def test_binary_and_too_large_files_are_not_read_as_text(root: Root, content: bytes) -> None:
    write_file(root, b"a", content)
    with pytest.raises(Conflict):
        read_text(root, b"a")


def test_folders_and_fifos_are_not_read(root: Root, folder: Path) -> None:
    make_folder(root, b"a")
    os.mkfifo(folder / "pipe")
    for path in (b"a", b"pipe"):
        with pytest.raises(Conflict):
            read_text(root, path)
    with pytest.raises(NotFound):
        read_text(root, b"missing")


def test_a_file_that_a_program_has_leased_is_not_waited_for(root: Root, folder: Path) -> None:
    """The kernel lets whoever opens it wait for 45 s, and a program may take one lease after the other."""
    write_file(root, b"leased", b"x")
    told = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with (folder / "leased").open("r+b") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            with pytest.raises(Unavailable, match="lease"):
                read_text(root, b"leased")
            with pytest.raises(Unavailable, match="lease"):
                copy(root, b"leased", b"copied")
            write_file(root, b"leased", b"y")
    finally:
        signal.signal(signal.SIGIO, told)
    assert read_text(root, b"leased") == "y" and os.listdir(folder) == ["leased"]


@pytest.mark.parametrize("target", LINKS_OUT)
def test_no_name_is_touched_through_a_link_out(root: Root, folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target)
    write_file(root, b"a", b"x")
    for call in (
        lambda: read_text(root, b"link/secret.txt"),
        lambda: rename(root, b"link/secret.txt", b"stolen"),
        lambda: rename(root, b"a", b"link/a"),
        lambda: delete(root, [b"link/secret.txt"]),
        lambda: change_mode(root, b"link/secret.txt", "777"),
        lambda: change_mode(root, b"link", "777"),
        lambda: search(root, b"link", "*", 10),
    ):
        with pytest.raises(PathTraversal):
            call()
    assert sorted(os.listdir(folder)) == ["a", "link"]


def test_a_rename_makes_parents_and_never_replaces(root: Root, folder: Path) -> None:
    write_file(root, b"a", b"1")
    write_file(root, b"b", b"2")
    rename(root, b"a", b"new/deep/c")
    assert (folder / "new/deep/c").read_bytes() == b"1"
    with pytest.raises(AlreadyExists):
        rename(root, b"b", b"new")
    with pytest.raises(NotFound):
        rename(root, b"missing", b"other/x")
    assert sorted(os.listdir(folder)) == ["b", "new"]
    with pytest.raises(Invalid):
        rename(root, b"new", b"new/deep/new")


def test_deleting_takes_folders_and_links_but_not_what_links_point_to(root: Root, folder: Path) -> None:
    write_file(root, b"a/b/c", b"")
    write_file(root, b"kept", b"")
    (folder / "link").symlink_to("kept")
    (folder / "out").symlink_to("/etc")
    assert delete(root, [b"a", b"a/b", b"link", b"out", b"a"]) == 3
    assert os.listdir(folder) == ["kept"]


def test_nothing_is_deleted_when_one_path_is_missing(root: Root, folder: Path) -> None:
    write_file(root, b"a", b"")
    with pytest.raises(NotFound):
        delete(root, [b"a", b"missing"])
    assert os.listdir(folder) == ["a"]


@pytest.mark.parametrize(
    ("levels", "files"), [(200, 500), pytest.param(1000, 10_000, marks=pytest.mark.long)], ids=["some", "many"]
)
def test_deep_folders_and_many_files_are_deleted(root: Root, folder: Path, levels: int, files: int) -> None:
    make_folder(root, b"t/" + b"/".join([b"x"] * levels))
    for number in range(files):
        (folder / "t" / str(number)).touch()
    delete(root, [b"t"])
    assert os.listdir(folder) == []


def test_permissions_are_set(root: Root, folder: Path) -> None:
    write_file(root, b"a", b"")
    (folder / "link").symlink_to("a")
    change_mode(root, b"link", "0750")
    assert (folder / "a").stat().st_mode & 0o7777 == 0o750


@pytest.mark.parametrize("mode", ["", "8", "4755", "1777", "0o644", "-rwx", "64 ", "+x", "99999999", "६४४"])
def test_odd_permissions_are_refused(root: Root, mode: str) -> None:
    write_file(root, b"a", b"")
    with pytest.raises(Invalid):
        change_mode(root, b"a", mode)


def test_a_search_goes_by_name_or_by_path(root: Root, folder: Path) -> None:
    for path in (b"logs/latest.log", b"logs/old/1.log", b"x.LOG", b"new\nline.log"):
        write_file(root, path, b"12")
    (folder / "loop.log").symlink_to(".")

    def found(pattern: str, path: bytes = ROOT) -> list[str]:
        return [hit.path for hit in search(root, path, pattern, 100)[0]]

    assert found("*.log") == ["logs/latest.log", "logs/old/1.log", "loop.log", "new\nline.log"]
    assert found("*.log", b"logs") == ["logs/latest.log", "logs/old/1.log"]
    assert found("logs/*/1.log") == ["logs/old/1.log"]
    assert found("[") == []
    assert search(root, ROOT, "*", 2)[1] is True
    assert [tuple(hit) for hit in search(root, ROOT, "l*", 2)[0]] == [
        ("logs", "directory", 0),
        ("logs/latest.log", "file", 2),
    ]


def test_a_search_goes_by_characters(root: Root) -> None:
    for name in ("é.txt", "e.txt", "日本.txt", "\udcff.txt", "è.log"):
        write_file(root, name.encode("utf-8", "surrogateescape"), b"")

    def found(pattern: str) -> list[str]:
        return sorted(hit.path for hit in search(root, ROOT, pattern, 100)[0])

    assert found("?.txt") == sorted(["é.txt", "e.txt", "\udcff.txt"])
    assert found("??.txt") == ["日本.txt"]
    assert found("[à-ü].*") == sorted(["é.txt", "è.log"])
    assert found("[!a-z].txt") == sorted(["é.txt", "\udcff.txt"])
    assert found("[é-\udcff].txt") == sorted(["é.txt", "\udcff.txt"])


@given(pattern=st.text("[]!^-abé\udc80&|~\\*?/.\n", min_size=1, max_size=20))
@settings(max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_search_is_done_or_refused_whatever_the_pattern_is(root: Root, pattern: str) -> None:
    write_file(root, "é[a".encode(), b"")
    with suppress(Invalid):
        search(root, ROOT, pattern, 10)


@pytest.mark.parametrize("pattern", ["*a" * 120 + "b", "*?" * 120 + "b", "*" + "a" * 200 + "b", "*[!b]" * 50 + "b"])
def test_a_hostile_search_pattern_is_quick(root: Root, pattern: str) -> None:
    write_file(root, b"a" * 250, b"")
    assert search(root, ROOT, pattern, 10) == ([], False)


def test_an_empty_or_overlong_search_pattern_is_refused(root: Root) -> None:
    for pattern in ("", "x" * 256):
        with pytest.raises(Invalid):
            search(root, ROOT, pattern, 10)
