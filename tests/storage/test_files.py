"""Writing, listing, making folders and copying in one volume."""

from __future__ import annotations

import os
import socket
import stat
import threading
import tracemalloc
from pathlib import Path

import pytest

from fleet.errors import AlreadyExists, Conflict, Invalid, NotFound, PathTraversal, QuotaExceeded
from storage import listing, staging, walking
from storage.beneath import Root
from storage.copying import copy
from storage.folders import make_folder
from storage.listing import list_detailed, list_folder
from storage.paths import ROOT, checked_path
from storage.renaming import delete
from storage.room import Count
from storage.searching import search
from storage.staging import staged, sweep_staging
from storage.writing import write_file, write_stream
from tests.storage.conftest import OWNER
from tests.storage.escapes import HARMLESS, LINKS_OUT


def owner_of(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def names(root: Root, path: bytes = ROOT) -> list[str]:
    return [entry.name for entry in list_folder(root, path)]


def test_writing_makes_the_parents_and_hands_all_of_it_to_the_containers_user(root: Root, folder: Path) -> None:
    write_file(root, b"plugins/deep/config.yml", b"a: 1\n")
    assert (folder / "plugins/deep/config.yml").read_bytes() == b"a: 1\n"
    for made in ("plugins", "plugins/deep", "plugins/deep/config.yml"):
        assert owner_of(folder / made) == OWNER
    assert stat.S_IMODE((folder / "plugins").stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "plugins/deep/config.yml").stat().st_mode) == 0o644


def test_the_umask_of_the_process_does_not_matter(root: Root, folder: Path) -> None:
    old = os.umask(0o177)
    try:
        write_file(root, b"a/b", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "a/b").stat().st_mode) == 0o644


def test_overwriting_keeps_the_permissions_but_no_setuid(root: Root, folder: Path) -> None:
    write_file(root, b"run.sh", b"old")
    (folder / "run.sh").chmod(0o4755)
    write_file(root, b"run.sh", b"new")
    assert (folder / "run.sh").read_bytes() == b"new"
    assert stat.S_IMODE((folder / "run.sh").stat().st_mode) == 0o755


def test_overwriting_can_be_forbidden(root: Root, folder: Path) -> None:
    write_file(root, b"a.txt", b"old", overwrite=False)
    with pytest.raises(AlreadyExists, match=r"File already exists at path: a\.txt"):
        write_file(root, b"a.txt", b"new", overwrite=False)
    assert (folder / "a.txt").read_bytes() == b"old"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(root: Root, folder: Path) -> None:
    write_file(root, b"a.txt", b"old")

    def broken() -> object:
        yield b"half"
        raise EOFError("the client went away")

    with pytest.raises(EOFError):
        write_stream(root, b"a.txt", broken())  # type: ignore[arg-type]
    assert (folder / "a.txt").read_bytes() == b"old"
    assert os.listdir(folder) == ["a.txt"]


def test_it_also_works_where_files_cannot_be_unnamed(root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # answered with EISDIR, as by a file system without them
    write_file(root, b"a", b"1", overwrite=False)
    write_file(root, b"a", b"2")
    with pytest.raises(AlreadyExists):
        write_file(root, b"a", b"3", overwrite=False)
    with pytest.raises(QuotaExceeded):
        write_file(Root(root.fd, OWNER, Count(2).room()), b"a", b"too much")
    assert os.listdir(folder) == ["a"] and (folder / "a").read_bytes() == b"2"


def test_a_reader_never_sees_half_a_file(root: Root, folder: Path) -> None:
    versions = [bytes([digit]) * 300_000 for digit in range(48, 58)]
    write_file(root, b"a", versions[0])
    done = threading.Event()

    def write_many() -> None:
        for turn in range(100):
            write_file(root, b"a", versions[turn % 10])
        done.set()

    writer = threading.Thread(target=write_many, daemon=True)
    writer.start()
    while not done.is_set():
        assert (folder / "a").read_bytes() in versions
    writer.join()


def test_writing_goes_through_a_link_inside_the_volume(root: Root, folder: Path) -> None:
    write_file(root, b"shared/config.yml", b"old")
    (folder / "config.yml").symlink_to("shared/config.yml")
    (folder / "alias").symlink_to("shared")
    write_file(root, b"config.yml", b"new")
    write_file(root, b"alias/other", b"too")
    assert (folder / "config.yml").is_symlink()
    assert (folder / "shared/config.yml").read_bytes() == b"new"
    assert (folder / "shared/other").read_bytes() == b"too"
    (folder / "shared/back").symlink_to("../shared")
    write_file(root, b"alias/back/new/deep/file", b"deep")
    assert (folder / "shared/new/deep/file").read_bytes() == b"deep"


@pytest.mark.parametrize("target", LINKS_OUT)
@pytest.mark.parametrize("tail", [b"", b"/x", b"/secret.txt"])
def test_nothing_works_through_a_link_out_of_the_volume(root: Root, folder: Path, target: str, tail: bytes) -> None:
    (folder / "link").symlink_to(target)
    write_file(root, b"real", b"real")
    for call in (
        lambda: write_file(root, b"link" + tail, b"owned"),
        lambda: copy(root, b"link" + tail, b"copied"),
        lambda: copy(root, b"real", b"link" + (tail or b"/x")),
        lambda: make_folder(root, b"link" + (tail or b"/x")),
        lambda: list_folder(root, b"link" + tail),
    ):
        with pytest.raises(PathTraversal):
            call()
    assert (folder.parent / "secret.txt").read_text() == "secret"
    assert sorted(os.listdir(folder)) == ["link", "real"]


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_fifos_and_sockets_are_never_opened(root: Root, folder: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(folder / "odd")
    else:
        os.mknod(folder / "odd", 0o644 | stat.S_IFSOCK)
    with pytest.raises(Conflict):
        write_file(root, b"odd", b"x")
    with pytest.raises(Invalid):
        copy(root, b"odd", b"copied")
    assert [(entry.type, entry.mimetype) for entry in list_detailed(root, ROOT)] == [("file", f"inode/{kind}")]


def test_a_device_is_never_opened(root: Root, folder: Path) -> None:
    os.mknod(folder / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    with pytest.raises(Invalid):
        copy(root, b"zero", b"copied")
    assert list_detailed(root, ROOT)[0].mimetype == "inode/chardevice"


def test_a_folder_in_the_way_of_a_file_is_a_conflict(root: Root) -> None:
    make_folder(root, b"a")
    write_file(root, b"b", b"")
    with pytest.raises(Conflict):
        write_file(root, b"a", b"x")
    with pytest.raises(Conflict):
        write_file(root, b"b/c", b"x")
    with pytest.raises(Conflict):
        make_folder(root, b"b")
    make_folder(root, b"a")


def test_a_listing_has_folders_first_and_then_goes_by_name(root: Root, folder: Path) -> None:
    for name in (b"b.txt", b"a.txt"):
        write_file(root, name, b"12345")
    make_folder(root, b"z")
    make_folder(root, b"c")
    (folder / "link").symlink_to("z")
    assert [tuple(entry) for entry in list_folder(root, ROOT)] == [
        ("c", "directory", 0),
        ("z", "directory", 0),
        ("a.txt", "file", 5),
        ("b.txt", "file", 5),
        ("link", "symlink", 1),
    ]


def test_a_detailed_listing_tells_mode_time_and_type_by_content(root: Root, folder: Path) -> None:
    write_file(root, b"server.jar", b"PK\x03\x04....")
    write_file(root, b"picture.txt", b"\x89PNG\r\n\x1a\n")
    write_file(root, b"config.json", b'{"a": 1}')
    write_file(root, b"noise", b"\x00\x01\x02")
    os.utime(folder / "noise", (5, 5))
    found = {entry.name: entry for entry in list_detailed(root, ROOT)}
    assert {name: entry.mimetype for name, entry in found.items()} == {
        "server.jar": "application/java-archive",
        "picture.txt": "image/png",
        "config.json": "application/json",
        "noise": "application/octet-stream",
    }
    assert (found["noise"].mode, found["noise"].modified_at) == ("644", 5)


@pytest.mark.long
def test_a_folder_of_a_hundred_thousand_entries_is_listed_copied_and_deleted(root: Root, folder: Path) -> None:
    (folder / "many").mkdir()
    for number in range(100_000):
        os.mknod(folder / f"many/{number:06}")
    copy(root, b"many", b"copied")
    for path in (b"many", b"copied"):
        assert names(root, path) == [f"{number:06}" for number in range(100_000)]
    assert len(list_detailed(root, b"many")) == 100_000
    delete(root, [b"many", b"copied"])
    assert os.listdir(folder) == []


def test_a_folder_of_very_many_entries_is_walked_through_in_little_memory(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "_SORTED_AT_ONCE", 500)
    (folder / "many/inner").mkdir(parents=True)
    (folder / "many/inner/found").touch()
    for number in range(5000):
        os.mknod(folder / f"many/{number:0200}")
    tracemalloc.start()
    try:
        hits, more = search(root, ROOT, "*found", 10)
        _, highest_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ([hit.path for hit in hits], more) == (["many/inner/found"], False)
    assert highest_bytes < 600_000, "all names together take twice as much"


def test_every_entry_of_a_large_folder_is_met_once(root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "_SORTED_AT_ONCE", 10)
    expected = sorted(f"many/{number:02}" for number in range(35))
    for path in expected:
        write_file(root, path.encode(), b"x")
    copy(root, b"many", b"copied")
    assert sorted(hit.path for hit in search(root, b"many", "*", 100)[0]) == expected
    assert names(root, b"copied") == [path.removeprefix("many/") for path in expected]


def test_a_folder_of_too_many_entries_is_not_listed(root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_ENTRIES", 3)
    for number in range(3):
        write_file(root, b"many/%d" % number, b"x")
    assert len(list_folder(root, b"many")) == len(list_detailed(root, b"many")) == 3
    write_file(root, b"many/more", b"x")
    for listed in (list_folder, list_detailed):
        with pytest.raises(Conflict, match="more than 3 entries") as refused:
            listed(root, b"many")
        assert refused.value.code == "folder_too_large"


def test_listing_what_is_not_a_folder_says_so(root: Root) -> None:
    write_file(root, b"a", b"")
    with pytest.raises(Conflict):
        list_folder(root, b"a")
    with pytest.raises(NotFound):
        list_folder(root, b"missing")


@pytest.mark.parametrize("text", HARMLESS)
def test_odd_names_can_be_written_listed_and_copied(root: Root, text: str) -> None:
    path = checked_path(text)
    write_file(root, path, b"x")
    copy(root, path, b"copied")
    assert sorted(names(root)) == sorted([text, "copied"])


def test_a_copied_folder_keeps_modes_times_links_and_holes(root: Root, folder: Path) -> None:
    write_file(root, b"a/bin/run", b"#!")
    (folder / "a/bin/run").chmod(0o755)
    os.utime(folder / "a/bin/run", (7, 7))
    (folder / "a/out").symlink_to("/etc/passwd")
    (folder / "a/empty").mkdir()
    os.mkfifo(folder / "a/pipe")
    with (folder / "a/sparse").open("wb") as sparse:
        sparse.seek(50 << 20)
        sparse.write(b"end")
    copy(root, b"a", b"new/b")
    copied = folder / "new/b"
    assert copied.joinpath("bin/run").stat().st_mode & 0o777 == 0o755
    assert copied.joinpath("bin/run").stat().st_mtime == 7
    assert os.readlink(copied / "out") == "/etc/passwd"
    assert copied.joinpath("empty").is_dir()
    assert not copied.joinpath("pipe").exists()
    assert copied.joinpath("sparse").stat().st_size == (50 << 20) + 3
    assert copied.joinpath("sparse").stat().st_blocks * 512 < 1 << 20
    assert {owner_of(copied / name) for name in ("", "bin", "bin/run", "out", "sparse")} == {OWNER}


def test_a_copy_onto_something_or_into_itself_is_refused(root: Root) -> None:
    write_file(root, b"a/x", b"1")
    write_file(root, b"b", b"2")
    for destination in (b"b", b"a"):
        with pytest.raises(AlreadyExists):
            copy(root, b"a", destination)
    for destination in (b"a/c", b"a/x/y"):
        with pytest.raises(Invalid):
            copy(root, b"a", destination)
    with pytest.raises(NotFound):
        copy(root, b"missing", b"c")
    assert names(root) == ["a", "b"]


def test_a_copy_that_does_not_fit_leaves_nothing(folder: Path, root: Root) -> None:
    for number in range(5):
        write_file(root, b"a/%d" % number, b"x" * 1000)
    small = Root(root.fd, OWNER, Count(3000).room())
    with pytest.raises(QuotaExceeded):
        copy(small, b"a", b"b")
    assert os.listdir(folder) == ["a"]


def test_a_hundred_levels_and_a_thousand_levels(root: Root, folder: Path) -> None:
    deep = b"/".join([b"d"] * 100) + b"/file"
    write_file(root, deep, b"x")
    copy(root, b"d", b"e")
    assert (folder / deep.replace(b"d", b"e", 1).decode()).read_bytes() == b"x"
    make_folder(root, b"/".join([b"t"] * 1000))
    with pytest.raises(Invalid):
        copy(root, b"t", b"u")
    assert sorted(os.listdir(folder)) == ["d", "e", "t"]


def test_what_a_killed_process_was_putting_together_is_swept(root: Root, folder: Path) -> None:
    leftover = folder / ".lightd-0123456789abcdef"
    (leftover / "a/b/c").mkdir(parents=True)
    (leftover / "a/file").write_text("x")
    (folder / ".lightd-mine").mkdir()
    (folder / ".lightd-aaaaaaaaaaaaaaaa").symlink_to("/etc")
    os.mkfifo(folder / ".lightd-bbbbbbbbbbbbbbbb")
    assert names(root) == [".lightd-mine"]
    assert sweep_staging(root) == 3
    assert os.listdir(folder) == [".lightd-mine"]


def test_what_a_living_process_puts_together_is_not_swept(root: Root, folder: Path) -> None:
    with staged(root) as stage_fd:
        os.mkdir("kept", dir_fd=stage_fd)
        assert sweep_staging(root) == 0
        assert os.listdir(stage_fd) == ["kept"]
    assert os.listdir(folder) == []


def test_what_cannot_be_taken_apart_says_why_and_is_left_to_the_next_sweep(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(root, b"a/file", b"x")
    with monkeypatch.context() as patched:
        patched.setattr(staging, "_LONGEST_SECONDS", 0)
        with pytest.raises(Conflict, match="stop the container first"):
            delete(root, [b"a"])
    assert names(root) == []
    assert sweep_staging(root) == 1
    assert os.listdir(folder) == []


def test_a_sweep_that_meets_what_was_just_begun_does_no_harm(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a folder that is not locked yet, nor of a file where files cannot be unnamed."""
    make, open_one, sweeps = os.mkdir, os.open, []

    def swept_at_once(name: bytes) -> None:
        if isinstance(name, bytes) and name.startswith(b".lightd-") and len(sweeps) < 2:
            sweeps.append(sweep_staging(root))

    def mkdir(name: bytes, mode: int, *, dir_fd: int) -> None:
        make(name, mode, dir_fd=dir_fd)
        swept_at_once(name)

    def opened(name: bytes, flags: int, *mode: int, dir_fd: int | None = None) -> int:
        fd = open_one(name, flags, *mode, dir_fd=dir_fd)
        if flags & os.O_CREAT:
            swept_at_once(name)
        return fd

    write_file(root, b"a/b", b"x")
    with monkeypatch.context() as patched:
        patched.setattr(os, "mkdir", mkdir)
        copy(root, b"a", b"copied")
        assert sweeps == [1, 1] and (folder / "copied/b").read_bytes() == b"x"
        sweeps.clear()
        patched.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_RDWR)
        patched.setattr(os, "open", opened)
        write_file(root, b"a/b", b"new")
        assert sweeps == [1, 1] and (folder / "a/b").read_bytes() == b"new"
    assert sorted(os.listdir(folder)) == ["a", "copied"]


def test_a_hard_link_to_a_file_is_replaced_not_written_through(root: Root, folder: Path) -> None:
    write_file(root, b"a", b"old")
    os.link(folder / "a", folder / "b")
    write_file(root, b"a", b"new")
    assert (folder / "b").read_bytes() == b"old"


def test_a_socket_of_a_running_server_does_not_stop_a_copy(root: Root, folder: Path) -> None:
    write_file(root, b"run/pid", b"1")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "run/s"))
        copy(root, b"run", b"copied")
    assert names(root, b"copied") == ["pid"]
