"""Archives there and back, with our own reader and the usual tools."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from fleet.errors import AlreadyExists, Conflict, Invalid, NotFound, PathTraversal, QuotaExceeded
from storage.archives import ArchiveFormat, compress, decompress, stream_archive
from storage.archives.tar_writer import TarWriter
from storage.beneath import Root
from storage.copying import copy
from storage.folders import make_folder
from storage.paths import ROOT
from storage.renaming import delete
from storage.volumes import Volumes
from storage.walking import DEEPEST_FOLDER
from storage.writing import write_file
from tests.storage.conftest import OWNER, VOLUME_ID
from tests.storage.escapes import HARMLESS
from tests.storage.killed import killed


class CancelledError(Exception):
    """What a job's progress report raises when it shall end."""


FORMATS = list(ArchiveFormat)
MEBIBYTE = 1024 * 1024


def lay_out(folder: Path) -> None:
    """A tree with everything that must survive."""
    (folder / "world/region").mkdir(parents=True)
    (folder / "world/region/r.0.0.mca").write_bytes(os.urandom(300_000))
    (folder / "world/level.dat").write_bytes(b"level" * 1000)
    (folder / "world/run.sh").write_text("#!/bin/sh\n")
    (folder / "world/run.sh").chmod(0o750)
    (folder / "world/empty").mkdir(mode=0o700)
    (folder / "world/zero").touch()
    (folder / "world/current").symlink_to("region/r.0.0.mca")
    (folder / "world/nowhere").symlink_to("missing")
    (folder / "world" / ("n" * 255)).write_text("long")
    for path in [*folder.rglob("*")]:
        os.utime(path, (1_000_000_001, 1_000_000_001), follow_symlinks=False)
        os.lchown(path, *OWNER)


def described_tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """What must be the same after a round trip."""
    described: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(folder))
        if path.is_symlink():
            described[name] = ("link", os.readlink(path), status.st_uid)
        else:
            content = path.read_bytes() if path.is_file() else None
            described[name] = (stat.filemode(status.st_mode), status.st_uid, int(status.st_mtime), content)
    return described


@pytest.mark.parametrize("archive_format", FORMATS)
def test_everything_survives_a_round_trip(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    lay_out(folder)
    size = compress(root, archive_format, b"saved", [b"world"])
    assert size == (folder / "saved").stat().st_size
    assert (folder / "saved").stat().st_uid == OWNER[0]
    unpacked = decompress(root, b"saved", b"restored/here")
    assert unpacked.files == 5
    assert described_tree(folder / "restored/here/world") == described_tree(folder / "world")
    assert sorted(os.listdir(folder)) == ["restored", "saved", "world"]


def test_without_root_folders_that_are_closed_to_writers_are_copied_and_unpacked_too(root: Root, folder: Path) -> None:
    write_file(root, b"world/closed/in/file", b"x")
    for path in (folder / "world/closed/in", folder / "world/closed"):
        path.chmod(0o555)

    def work() -> None:
        os.setgroups([])
        os.setgid(OWNER[1])
        os.setuid(OWNER[0])
        compress(root, ArchiveFormat.TAR, b"saved", [b"world"])
        for _ in range(2):  # into nothing, and onto what is there
            decompress(root, b"saved", b"out")
        copy(root, b"world/closed", b"out/copied")

    assert not killed(work)
    assert (folder / "out/world/closed/in/file").read_text() == (folder / "out/copied/in/file").read_text() == "x"
    assert sorted(os.listdir(folder)) == ["out", "saved", "world"]


@pytest.mark.parametrize("archive_format", FORMATS)
def test_the_whole_volume_is_archived_without_the_archive_itself(
    root: Root, folder: Path, archive_format: ArchiveFormat
) -> None:
    lay_out(folder)
    before = described_tree(folder)
    compress(root, archive_format, b"backup", [])
    shutil.rmtree(folder / "world")
    decompress(root, b"backup", ROOT)
    (folder / "backup").unlink()
    assert described_tree(folder) == before


@pytest.mark.parametrize("archive_format", [ArchiveFormat.ZIP, ArchiveFormat.TAR])
def test_what_is_named_twice_is_archived_once(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    for path in (b"a/b/c", b"a-b", b"a.txt"):
        write_file(root, path, b"x")
    compress(root, archive_format, b"saved", [b"a/b/c", b"a.txt", b"a", b"a-b", b"a/b", b"a.txt"])
    if archive_format is ArchiveFormat.ZIP:
        with zipfile.ZipFile(folder / "saved") as zipped:
            names = [name.rstrip("/") for name in zipped.namelist()]
    else:
        with tarfile.open(folder / "saved") as tarred:
            names = tarred.getnames()
    assert names == ["a", "a/b", "a/b/c", "a-b", "a.txt"]


@pytest.mark.parametrize("archive_format", FORMATS)
def test_an_empty_volume_is_an_archive_too(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    compress(root, archive_format, b"empty", [])
    assert decompress(root, b"empty", b"out").files == 0


@pytest.mark.parametrize("archive_format", FORMATS)
def test_what_is_not_too_deep_to_be_packed_is_not_too_deep_to_be_opened(
    root: Root, folder: Path, archive_format: ArchiveFormat
) -> None:
    deepest = b"/".join([b"d"] * DEEPEST_FOLDER)
    write_file(root, deepest + b"/file", b"x")
    for paths in ([], [b"d"], [b"d/d/d"], [deepest]):
        compress(root, archive_format, b"a", paths)
        assert decompress(root, b"a", b"out").files == 1
        delete(root, [b"a", b"out"])
    make_folder(root, deepest + b"/d")
    for paths in ([], [b"d"], [b"d/d/d"], [deepest]):
        with pytest.raises(Invalid, match="deep"):
            compress(root, archive_format, b"a", paths)


@pytest.mark.parametrize("archive_format", FORMATS)
def test_odd_names_survive_an_archive(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    for name in [*HARMLESS, "C:\\Users\\log", "\\\\server", "d:"]:
        (folder / name).write_bytes(b"x")
    (folder / "C:").mkdir()
    (folder / "C:/log").write_bytes(b"x")
    expected = sorted(os.listdir(folder))
    compress(root, archive_format, b"a", [])
    decompress(root, b"a", b"out")
    assert sorted(os.listdir(folder / "out")) == expected
    assert (folder / "out/C:/log").exists()


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_name_with_which_no_archive_could_be_opened_is_left_out(
    root: Root, folder: Path, archive_format: ArchiveFormat
) -> None:
    """A program in the container can give it to a file, and must not make backups useless by that."""
    (folder / "a\\..\\b").mkdir()
    (folder / "a\\..\\b/file").write_bytes(b"x")
    (folder / "..\\x").write_bytes(b"x")
    (folder / "..x\\y").write_bytes(b"x")
    compress(root, archive_format, b"a", [])
    decompress(root, b"a", b"out")
    assert os.listdir(folder / "out") == ["..x\\y"]


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_sparse_file_stays_sparse(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    with (folder / "sparse").open("wb") as file:
        file.seek(40 * MEBIBYTE)
        file.write(b"end")
    compress(root, archive_format, b"a", [b"sparse"])
    decompress(root, b"a", b"out")
    assert (folder / "out/sparse").read_bytes() == (folder / "sparse").read_bytes()
    assert (folder / "out/sparse").stat().st_blocks * 512 < 2 * MEBIBYTE


@pytest.mark.parametrize("archive_format", FORMATS)
def test_holes_many_times_as_large_as_their_volume_are_not_packed(
    volumes: Volumes, loop_folder: Path, archive_format: ArchiveFormat
) -> None:
    """A container makes them for nothing; reading them would keep a worker busy for days."""
    with (loop_folder / "holes").open("wb") as file:
        file.truncate(10 << 40)
    with volumes.opened(VOLUME_ID) as root:
        with pytest.raises(Conflict) as refused:
            compress(root, archive_format, b"a", [], lambda _done, _total: None)
        assert refused.value.code == "too_many_holes"
        with pytest.raises(Conflict):
            list(stream_archive(root, archive_format, ROOT))
    assert os.listdir(loop_folder) == ["holes"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "archive_format", [ArchiveFormat.ZIP, pytest.param(ArchiveFormat.TAR_GZ, marks=pytest.mark.long)]
)
def test_a_file_of_more_than_4_gb_survives(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    with (folder / "large").open("wb") as file:
        file.write(b"start")
        file.seek((4 << 30) + 5)
        file.write(b"end")
    compress(root, archive_format, b"a", [b"large"])
    (folder / "large").rename(folder / "old")
    decompress(root, b"a", b"out")
    with (folder / "out/large").open("rb") as file:
        assert file.read(5) == b"start"
        file.seek((4 << 30) + 5)
        assert file.read() == b"end"
    if archive_format is ArchiveFormat.ZIP:
        with zipfile.ZipFile(folder / "a") as opened:
            assert opened.getinfo("large").file_size == (4 << 30) + 8


@pytest.mark.parametrize("archive_format", FORMATS)
def test_our_archives_open_with_the_usual_tools(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    lay_out(folder)
    compress(root, archive_format, b"a", [b"world"])
    (folder / "out").mkdir()
    if archive_format is ArchiveFormat.ZIP:
        subprocess.run(["unzip", "-q", "../a"], cwd=folder / "out", check=True)
        with zipfile.ZipFile(folder / "a") as opened:
            assert opened.testzip() is None
    else:
        option = {"tar": "", "tar.gz": "z", "tar.bz2": "j", "tar.zst": "--zstd"}[archive_format]
        flags = ["--zstd", "-xf"] if option == "--zstd" else [f"-x{option}f"]
        subprocess.run(["tar", *flags, "../a"], cwd=folder / "out", check=True)
    if archive_format is ArchiveFormat.ZIP:  # unzip gives everything to who calls it
        subprocess.run(["chown", "-hR", "1000:1000", "out"], cwd=folder, check=True)
    assert described_tree(folder / "out/world") == described_tree(folder / "world")


@pytest.mark.parametrize(
    "tool", ["tar", "tar.gz", "tar.bz2", "tar.zst", "tar --sparse", "pax", "zip", "zip -0", "7z", "shutil"]
)
def test_archives_of_the_usual_tools_open(root: Root, folder: Path, tool: str) -> None:
    lay_out(folder)
    if tool == "tar --sparse":
        with (folder / "world/sparse").open("wb") as file:
            file.seek(MEBIBYTE)
            file.write(b"middle")
            file.truncate(3 * MEBIBYTE)
        os.utime(folder / "world/sparse", (1_000_000_001, 1_000_000_001))
        os.chown(folder / "world/sparse", *OWNER)
        os.utime(folder / "world", (1_000_000_001, 1_000_000_001))
    commands = {
        "tar": ["tar", "cf", "a", "world"],
        "tar.gz": ["tar", "czf", "a", "world"],
        "tar.bz2": ["tar", "cjf", "a", "world"],
        "tar.zst": ["tar", "--zstd", "-cf", "a", "world"],
        "tar --sparse": ["tar", "--sparse", "-cf", "a", "world"],
        "pax": ["tar", "--format=pax", "-cf", "a", "world"],
        "zip": ["zip", "-qry", "a.zip", "world"],
        "zip -0": ["zip", "-0qry", "a.zip", "world"],
        "7z": ["7z", "a", "-bd", "-snl", "-tzip", "a.zip", "world"],
    }
    if tool == "shutil":
        shutil.make_archive(str(folder / "a"), "gztar", folder, "world")
    else:
        subprocess.run(commands[tool], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    archive = next(name for name in os.listdir(folder) if name.startswith("a"))
    decompress(root, archive.encode(), b"out")
    expected = described_tree(folder / "world")
    found = described_tree(folder / "out/world")
    if tool == "7z":  # keeps neither the owner's nor the folders' details
        assert {name: row[-1] for name, row in found.items()} == {name: row[-1] for name, row in expected.items()}
    else:
        assert found == expected


@pytest.mark.parametrize(("method", "number"), [("LZMA", zipfile.ZIP_LZMA), ("BZip2", zipfile.ZIP_BZIP2)])
@pytest.mark.parametrize("tool", ["7z", "python"])
def test_zips_of_lzma_and_bzip2_open(root: Root, folder: Path, tool: str, method: str, number: int) -> None:
    world = folder / "world"
    write_file(root, "world/plügins/naïve name.txt".encode(), b"[12:00:00] hello\n" * 200_000)
    write_file(root, b"world/run.sh", b"#!/bin/sh\n" * 1000)
    write_file(root, b"world/noise", os.urandom(300_000))
    (world / "run.sh").chmod(0o750)
    (world / "noise").chmod(0o600)
    if tool == "7z":
        command = ["7z", "a", "-bd", "-tzip", f"-mm={method}", "a.zip", "world"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    else:
        with zipfile.ZipFile(folder / "a.zip", "w", number) as packed:
            for path in sorted(world.rglob("*")):
                packed.write(path, path.relative_to(folder))
    with zipfile.ZipFile(folder / "a.zip") as packed:
        assert packed.getinfo("world/run.sh").compress_type == number
    decompress(root, b"a.zip", b"out")

    def seen(folder: Path) -> dict[str, tuple[object, ...]]:
        return {name: (row[0], row[-1]) for name, row in described_tree(folder).items()}

    assert seen(folder / "out/world") == seen(world)


def test_a_zip_behind_something_else_opens(root: Root, folder: Path) -> None:
    """Its directory counts from where it begins itself, as in one that unpacks itself."""
    write_file(root, b"old", b"o" * 5000)
    write_file(root, b"new", b"x" * 1000)
    compress(root, ArchiveFormat.ZIP, b"first", [b"old"])
    compress(root, ArchiveFormat.ZIP, b"second", [b"new"])
    write_file(root, b"both", (folder / "first").read_bytes() + (folder / "second").read_bytes())
    assert decompress(root, b"both", b"out").files == 1
    assert (folder / "out/new").read_bytes() == b"x" * 1000


def test_a_zip_made_on_windows_opens(root: Root, folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w") as made:
        for name in ("plugins\\config.yml", "plugins\\Xber\\a.txt"):
            info = zipfile.ZipInfo(name)
            info.create_system = 0
            made.writestr(info, "x")
    # Code page 437 has the umlaut at 0x81; zipfile itself would write UTF-8.
    (folder / "a.zip").write_bytes((folder / "a.zip").read_bytes().replace(b"Xber", b"\x81ber"))
    decompress(root, b"a.zip", b"out")
    assert (folder / "out/plugins/config.yml").read_text() == "x"
    assert (folder / "out/plugins/über/a.txt").read_text() == "x"


def test_hard_links_in_a_tar_open(root: Root, folder: Path) -> None:
    (folder / "one").write_text("x")
    os.link(folder / "one", folder / "two")
    subprocess.run(["tar", "cf", "a", "one", "two"], cwd=folder, check=True)
    decompress(root, b"a", b"out")
    assert (folder / "out/one").read_text() == (folder / "out/two").read_text() == "x"


def test_the_format_is_told_by_content_not_by_name(root: Root, folder: Path) -> None:
    lay_out(folder)
    compress(root, ArchiveFormat.TAR_ZST, b"photo.zip", [b"world"])
    decompress(root, b"photo.zip", b"out")
    assert (folder / "out/world/level.dat").exists()
    write_file(root, b"text", b"hello, this is no archive" * 100)
    with pytest.raises(Invalid):
        decompress(root, b"text", b"other")


def test_files_are_replaced_and_folders_merged(root: Root, folder: Path) -> None:
    write_file(root, b"world/a", b"new")
    compress(root, ArchiveFormat.TAR_GZ, b"saved", [b"world"])
    write_file(root, b"world/a", b"old")
    write_file(root, b"world/b", b"kept")
    (folder / "world/a").unlink()
    (folder / "world/a").symlink_to("b")
    decompress(root, b"saved", ROOT)
    assert (folder / "world/a").read_text() == "new" and not (folder / "world/a").is_symlink()
    assert (folder / "world/b").read_text() == "kept"


def test_a_conflict_moves_nothing(root: Root, folder: Path) -> None:
    write_file(root, b"world/a/x", b"new")
    write_file(root, b"world/z", b"new")
    compress(root, ArchiveFormat.ZIP, b"saved", [b"world"])
    shutil.rmtree(folder / "world")
    write_file(root, b"world/z", b"old")
    write_file(root, b"world/a", b"a file where a folder must go")
    with pytest.raises(Conflict):
        decompress(root, b"saved", ROOT)
    assert (folder / "world/z").read_text() == "old"
    assert sorted(os.listdir(folder)) == ["saved", "world"]


def test_an_archive_goes_to_a_free_path_and_of_paths_that_exist(root: Root, folder: Path) -> None:
    write_file(root, b"a", b"x")
    with pytest.raises(AlreadyExists):
        compress(root, ArchiveFormat.ZIP, b"a", [])
    with pytest.raises(NotFound):
        compress(root, ArchiveFormat.ZIP, b"b", [b"missing"])
    (folder / "link").symlink_to("/etc")
    for call in (
        lambda: compress(root, ArchiveFormat.ZIP, b"link/b", []),
        lambda: compress(root, ArchiveFormat.ZIP, b"b", [b"link/passwd"]),
        lambda: decompress(root, b"link/passwd", b"out"),
        lambda: decompress(root, b"a", b"link/out"),
    ):
        with pytest.raises((PathTraversal, Invalid)):
            call()
    assert sorted(os.listdir(folder)) == ["a", "link"]


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_cancelled_or_failing_archive_leaves_nothing(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    lay_out(folder)

    def cancel(done: int, total: int) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        compress(root, archive_format, b"a", [], cancel)
    assert os.listdir(folder) == ["world"]
    compress(root, archive_format, b"a", [])
    with pytest.raises(CancelledError):
        decompress(root, b"a", b"out", cancel)
    assert sorted(os.listdir(folder)) == ["a", "world"]


@pytest.mark.parametrize("archive_format", FORMATS)
def test_one_large_file_is_cancelled_in_its_middle(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    (folder / "large").write_bytes(os.urandom(4 * MEBIBYTE))
    compress(root, archive_format, b"a", [b"large"])
    for call in (
        lambda report: compress(root, archive_format, b"b", [b"large"], report),
        lambda report: decompress(root, b"a", b"out", report),
    ):
        told: list[int] = []

        def cancel(done: int, _total: int, told: list[int] = told) -> None:
            told.append(done)
            if len(told) == 3:
                raise CancelledError

        with pytest.raises(CancelledError):
            call(cancel)
    assert sorted(os.listdir(folder)) == ["a", "large"]


def test_progress_ends_at_the_whole(root: Root, folder: Path) -> None:
    lay_out(folder)
    told: list[tuple[int, int]] = []
    compress(root, ArchiveFormat.TAR_GZ, b"a", [], lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 300_000
    assert told == sorted(told)


def test_an_archive_that_does_not_fit_leaves_nothing(volumes: Volumes, loop_folder: Path) -> None:
    (loop_folder / "noise").write_bytes(os.urandom(14 * MEBIBYTE))
    with volumes.opened(VOLUME_ID) as root:
        with pytest.raises(QuotaExceeded):
            compress(root, ArchiveFormat.TAR_GZ, b"a", [])
        assert os.listdir(loop_folder) == ["noise"]
        (loop_folder / "noise").write_bytes(os.urandom(9 * MEBIBYTE))
        compress(root, ArchiveFormat.ZIP, b"a", [b"noise"])
        with pytest.raises(QuotaExceeded):
            decompress(root, b"a", b"out")
    assert sorted(os.listdir(loop_folder)) == ["a", "noise"]


@pytest.mark.parametrize("archive_format", [ArchiveFormat.ZIP, ArchiveFormat.TAR_GZ])
def test_a_folder_is_streamed(root: Root, folder: Path, archive_format: ArchiveFormat) -> None:
    lay_out(folder)
    content = b"".join(stream_archive(root, archive_format, b"world"))
    (folder / "streamed").write_bytes(content)
    decompress(root, b"streamed", b"out")
    assert described_tree(folder / "out/world") == described_tree(folder / "world")
    abandoned = stream_archive(root, archive_format, ROOT)
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]
    with pytest.raises(NotFound):
        stream_archive(root, archive_format, b"missing")


def test_a_stream_that_fails_for_a_reason_nobody_foresaw_does_not_end_as_if_it_were_whole(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError

    write_file(root, b"a", b"x")
    monkeypatch.setattr(TarWriter, "finish", fail)
    with pytest.raises(ZeroDivisionError):
        list(stream_archive(root, ArchiveFormat.TAR_GZ, ROOT))


@pytest.mark.parametrize("archive_format", FORMATS)
def test_no_link_of_a_container_keeps_an_archive_of_its_volume_from_being_opened(
    root: Root, folder: Path, archive_format: ArchiveFormat
) -> None:
    """Links that lead out would have it refused, so they are left out."""
    write_file(root, b"world/deep/file", b"x")
    links = {"a": "/etc", "b": "../out", "world/c": "../../out", "world/d": "/home/container/world", "e": "e"}
    good = {
        "world/up": "../other",
        "world/deep/link": "file",
        "world/deep/far": "../../world/deep",
        "missing": "world/x",
    }
    for name, target in (links | {"f": "world/g", "world/g": "../f", "h": "a/passwd"} | good).items():
        (folder / name).symlink_to(target)
    compress(root, archive_format, b"saved", [])
    decompress(root, b"saved", b"out")
    found = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*") if path.is_symlink()}
    assert found == set(good)
    assert all(os.readlink(folder / "out" / name) == target for name, target in good.items())


def test_fifos_and_sockets_are_left_out(root: Root, folder: Path) -> None:
    write_file(root, b"world/a", b"x")
    os.mkfifo(folder / "world/pipe")
    compress(root, ArchiveFormat.TAR, b"saved", [])
    with tarfile.open(folder / "saved") as made:
        assert made.getnames() == ["world", "world/a"]
