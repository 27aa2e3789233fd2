"""Archives that want out, or too much: refused whole, with nothing left behind."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from string import ascii_lowercase

import pytest
import zstandard

from fleet.errors import Invalid, LightdError, QuotaExceeded
from storage.archives import ArchiveFormat, compress, decompress
from storage.archives.zip_directory import ZipDirectory
from storage.beneath import Root
from storage.volumes import Volumes
from storage.writing import write_file
from tests.storage.conftest import VOLUME_ID
from tests.storage.swapping import SECRET, keep_calling, lay_trap, swapping

MEBIBYTE = 1024 * 1024


def tar_of(*members: tuple[str, dict[str, object], bytes]) -> bytes:
    """A tar of (name, header fields, content)."""
    parts = []
    for name, fields, content in members:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for key, value in fields.items():
            setattr(info, key, value)
        parts += [info.tobuf(tarfile.GNU_FORMAT), content, bytes(-len(content) % 512)]
    return b"".join([*parts, bytes(1024)])


def zip_of(*members: tuple[str, int, bytes]) -> bytes:
    """A zip of (name, Unix mode with type, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, mode, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(info, content)
    return buffer.getvalue()


def link(name: str, target: str) -> tuple[str, dict[str, object], bytes]:
    return name, {"type": tarfile.SYMTYPE, "linkname": target}, b""


def hard(name: str, target: str) -> tuple[str, dict[str, object], bytes]:
    return name, {"type": tarfile.LNKTYPE, "linkname": target}, b""


def file(name: str, content: bytes = b"owned") -> tuple[str, dict[str, object], bytes]:
    return name, {}, content


S_IFLNK, S_IFIFO, S_IFREG, S_IFCHR = 0o120777, 0o010644, 0o100644, 0o020666

HOSTILE: dict[str, bytes] = {
    "tar slip": tar_of(file("../slipped")),
    "deep tar slip": tar_of(file("a/b/../../../slipped")),
    "hidden tar slip": tar_of(file("a/.."), file("x")),
    "absolute tar": tar_of(file("/tmp/slipped")),
    "backslash tar slip": tar_of(file("..\\slipped")),
    "drive tar": tar_of(file("C:\\slipped")),
    "tar link out": tar_of(link("a", "../..")),
    "tar absolute link": tar_of(link("a", "/etc/passwd")),
    "tar link then file through it": tar_of(link("a", "b"), file("a/slipped")),
    "tar link out then file through it": tar_of(link("a", "/tmp"), file("a/slipped")),
    "tar file then link over it": tar_of(file("a"), link("a", "b")),
    "tar link over a folder": tar_of(file("a/x"), link("a", "b")),
    "tar links that climb together": tar_of(
        file("d/e/f/x"), link("d/e/f/up", "../.."), link("out", "d/e/f/up/../../secret.txt")
    ),
    "tar links in circles": tar_of(link("a", "b"), link("b", "a")),
    "tar link through a link": tar_of(link("a", "."), link("a/b", "x")),
    "tar hard link out": tar_of(hard("a", "../secret.txt")),
    "tar hard link absolute": tar_of(hard("a", "/etc/passwd")),
    "tar hard link to a link": tar_of(link("a", "b"), hard("c", "a")),
    "tar hard link through a link": tar_of(file("d/x"), link("l", "d"), hard("c", "l/../../secret.txt")),
    "tar hard link to nothing": tar_of(hard("a", "missing")),
    "tar duplicate": tar_of(file("a"), file("a")),
    "tar file in a file": tar_of(file("a"), file("a/b")),
    "tar device": tar_of(("a", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}, b"")),
    "tar block device": tar_of(("a", {"type": tarfile.BLKTYPE}, b"")),
    "tar fifo": tar_of(("a", {"type": tarfile.FIFOTYPE}, b"")),
    "tar setuid": tar_of(("a", {"mode": 0o4755}, b"x")),
    "tar setgid": tar_of(("a", {"mode": 0o2755}, b"x")),
    "tar long name": tar_of(file("n" * 256)),
    "tar cut in content": tar_of(file("a", b"x" * 5000))[:2000],
    "tar cut in header": tar_of(file("a"), file("b"))[:1200],
    "tar without its end": tar_of(file("a"))[:1024],
    "tar with a broken second header": tar_of(file("a"), file("b"))[:1024] + b"broken" * 400,
    "tar that lies about size": tar_of(("a", {"size": 10**12}, b"x")),
    "tar with a huge long name": tar_of(("././@LongLink", {"type": tarfile.GNUTYPE_LONGNAME, "size": 10**9}, b"")),
    "tar folder from no time": tar_of(("d", {"type": tarfile.DIRTYPE, "mtime": 2**80}, b"")),
    "tar file in place of the destination": tar_of(file(".")),
    "zip slip": zip_of(("../slipped", S_IFREG, b"x")),
    "zip absolute": zip_of(("/tmp/slipped", S_IFREG, b"x")),
    "zip link out": zip_of(("a", S_IFLNK, b"../..")),
    "zip absolute link": zip_of(("a", S_IFLNK, b"/etc/passwd")),
    "zip link then file": zip_of(("a", S_IFLNK, b"b"), ("a/slipped", S_IFREG, b"x")),
    "zip long link": zip_of(("a", S_IFLNK, b"x" * 5000)),
    "zip empty link": zip_of(("a", S_IFLNK, b"")),
    "zip fifo": zip_of(("a", S_IFIFO, b"")),
    "zip device": zip_of(("a", S_IFCHR, b"")),
    "zip setuid": zip_of(("a", 0o104755, b"x")),
    "zip cut off": zip_of(("a", S_IFREG, os.urandom(5000)))[:3000],
    "gzip cut off": gzip.compress(tar_of(file("a", os.urandom(9000))))[:5000],
    "gzip wrong checksum": gzip.compress(tar_of(file("a")))[:-8] + bytes(8),
    "bzip2 cut off": bz2.compress(tar_of(file("a", os.urandom(9000))))[:5000],
    "zstd cut off": zstandard.compress(tar_of(file("a", os.urandom(9000))))[:5000],
    "gzip of noise": gzip.compress(os.urandom(5000)),
    "zstd of nothing": zstandard.compress(b""),
    "nothing": b"",
    "one byte": b"P",
}


def zip_lying_about_size() -> bytes:
    made = bytearray(zip_of(("a", S_IFREG, b"x" * 10_000)))
    at = made.rfind(b"PK\x01\x02")
    struct.pack_into("<L", made, at + 24, 5)
    return bytes(made)


def zip_with_wrong_checksum() -> bytes:
    made = bytearray(zip_of(("a", S_IFREG, b"x" * 10_000)))
    at = made.rfind(b"PK\x01\x02")
    struct.pack_into("<L", made, at + 16, 5)
    return bytes(made)


def zip_twice_the_same() -> bytes:
    made = zip_of(("a", S_IFREG, b"x"), ("b", S_IFREG, b"x"))
    return made.replace(b"b", b"a")


def encrypted_zip() -> bytes:
    made = bytearray(zip_of(("a", S_IFREG, b"x")))
    made[6] |= 1
    made[made.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


def zip_that_takes_memory() -> bytes:
    """An LZMA member that wants a dictionary of 4 GB, which opening it would fill."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("a", b"x" * 10_000)
    packed = bytearray(buffer.getvalue())
    struct.pack_into("<L", packed, 30 + len("a") + 5, 0xFFFFFFFF)
    return bytes(packed)


def global_headers(count: int) -> bytes:
    return tarfile.TarInfo.create_pax_global_header({"comment": "v"}) * count


def large_global_header() -> bytes:
    return tarfile.TarInfo.create_pax_global_header({f"GNU.sparse.{key}": "v" * 4000 for key in ascii_lowercase})


def pax_tar(records: bytes, content: bytes = b"owned") -> bytes:
    """A file `a` behind a pax header of these records."""
    return tar_of(("header", {"type": tarfile.XHDTYPE}, records), file("a", content))


def pax_record(keyword: bytes, value: bytes) -> bytes:
    rest = b" " + keyword + b"=" + value + b"\n"
    length = next(length for length in range(len(rest), len(rest) + 9) if length == len(str(length)) + len(rest))
    return str(length).encode() + rest


def endless_sparse_map() -> bytes:
    """A sparse file whose map goes on through block after block."""
    info = tarfile.TarInfo("a")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header[:512])
    block = b"00000000001\x0000000000001\x00" * 21 + b"\1" + bytes(7)
    return gzip.compress(bytes(header) + block * 20_000, 1)


def zip64_pointing_nowhere() -> bytes:
    """A member whose header would begin far beyond anything a file can hold."""
    made = zip_of(("a", S_IFREG, b"x"))
    at = made.rfind(b"PK\x01\x02")
    entry = bytearray(made[at : made.rfind(b"PK\x05\x06")])
    struct.pack_into("<H", entry, 30, 12)
    struct.pack_into("<L", entry, 42, 0xFFFFFFFF)
    entry += struct.pack("<2HQ", 1, 8, 1 << 62)
    return made[:at] + bytes(entry) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), at, 0)


HOSTILE |= {
    "zip64 pointing nowhere": zip64_pointing_nowhere(),
    "zip that takes memory": zip_that_takes_memory(),
    "tar with headers for headers": global_headers(1000) + tar_of(file("a")),
    "tar with large headers for all": large_global_header() + tar_of(file("a")),
    "pax record of digits": pax_tar(b"1" * 50_000),
    "pax record without an end": pax_tar(b"99 path=b"),
    "pax record without a newline": pax_tar(b"8 path=bb"),
    "pax records in each other": pax_tar(b"2 " * 5000 + b"="),
    "pax record of no length": pax_tar(b"0 path=b\n"),
    "pax record before itself": pax_tar(b"-9 path=b\n"),
    "pax path out": pax_tar(pax_record(b"path", b"../a")),
    "pax path with a NUL": pax_tar(pax_record(b"path", b"a\0b")),
    "pax path for ever": pax_tar(pax_record(b"path", b"1" * 50_000)),
    "pax link out": tar_of(("header", {"type": tarfile.XHDTYPE}, pax_record(b"linkpath", b"/etc")), link("a", "b")),
    "pax size below zero": pax_tar(pax_record(b"size", b"-5")),
    "pax size beyond all": pax_tar(pax_record(b"size", b"9" * 15)),
    "pax time that is none": pax_tar(pax_record(b"mtime", b"nan")),
    "pax hole before itself": pax_tar(
        pax_record(b"GNU.sparse.size", b"9") + pax_record(b"GNU.sparse.map", b"5,2,3,2"), b"abcd"
    ),
    "pax holes for ever": pax_tar(
        pax_record(b"GNU.sparse.size", b"9") + pax_record(b"GNU.sparse.map", b"1" * 50_000), b""
    ),
    "tar with an endless map": endless_sparse_map(),
    "tar with a far too long path": tar_of(link("/".join(["d" * 250] * 20), "x")),
    "zip lying about size": zip_lying_about_size(),
    "zip wrong checksum": zip_with_wrong_checksum(),
    "zip duplicate": zip_twice_the_same(),
    "zip encrypted": encrypted_zip(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_whole(root: Root, folder: Path, name: str) -> None:
    write_file(root, b"archive", HOSTILE[name])
    with pytest.raises(Invalid):
        decompress(root, b"archive", b"out")
    assert os.listdir(folder) == ["archive"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["secret.txt", "volume"]
    assert not Path("/tmp/slipped").exists()


def test_a_pax_header_takes_no_longer_than_it_is_long(root: Root, folder: Path) -> None:
    """`tarfile` would be at work on these digits for an hour, and let nobody else in the process work."""
    records = pax_record(b"SCHILY.xattr.user.digits", b"1" * 2_000_000) + pax_record(b"path", b"other/name")
    write_file(root, b"archive", pax_tar(records))
    assert decompress(root, b"archive", b"out").files == 1
    assert (folder / "out/other/name").read_bytes() == b"owned"


def bomb_of_zeros(size: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    header = tarfile.TarInfo("a")
    header.size = size
    parts = [packer.compress(header.tobuf(tarfile.GNU_FORMAT))]
    parts += [packer.compress(bytes(MEBIBYTE)) for _ in range(size // MEBIBYTE)]
    return b"".join([*parts, packer.compress(bytes(1024)), packer.flush()])


def overlapping_zip() -> bytes:
    """Hundreds of members that are all the same packed bytes, under names of their own."""
    made = zip_of(("0000", S_IFREG, random.Random(1).randbytes(1000) * 1000))
    directory = made.rfind(b"PK\x01\x02")
    entry = made[directory : made.rfind(b"PK\x05\x06")]
    entries = b"".join(entry.replace(b"0000", b"%04d" % number) for number in range(900))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 900, 900, len(entries), directory, 0)
    return made[:directory] + entries + end


def zip_of_many(count: int, said: int, *, zip64: bool) -> bytes:
    """Empty members, and an end that says how many there are."""
    entry = struct.pack("<4s4B4H3L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0)
    entry += struct.pack("<5H2L", 6, 0, 0, 0, 0, S_IFREG << 16, 0)
    directory = b"".join(entry + b"%06d" % number for number in range(count))
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 33, 0, 0, 0, 6, 0) + b"000000"
    if not zip64:
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, said, said, len(directory), len(local), 0)
        return local + directory + end
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, said, said, len(directory), len(local))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(local) + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + directory + record + locator + end


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("said", [1, 1001])
def test_a_zip_of_too_many_entries_is_refused_before_any_is_made(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch, said: int, zip64: bool
) -> None:
    monkeypatch.setattr("storage.archives.zip_reader.MOST_ENTRIES", 1000)
    write_file(root, b"bomb", zip_of_many(1001, said, zip64=zip64))
    made: list[int] = []
    with pytest.raises(Invalid, match="entries"):
        decompress(root, b"bomb", b"out", lambda done, _total: made.append(done))
    assert made == [] and os.listdir(folder) == ["bomb"]
    write_file(root, b"fine", zip_of_many(1000, said, zip64=zip64))
    assert decompress(root, b"fine", b"out").files == 1000


def test_a_zips_directory_is_read_in_constant_memory(root: Root, folder: Path) -> None:
    write_file(root, b"large", zip_of_many(40_000, 40_000, zip64=False))
    fd = os.open(folder / "large", os.O_RDONLY)
    tracemalloc.start()
    try:
        assert sum(1 for _ in ZipDirectory(fd).entries()) == 40_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        os.close(fd)
    assert peak < MEBIBYTE


@pytest.mark.parametrize("offset", [0, struct.unpack("<L", b"PK\x05\x06")[0]], ids=["plain", "looks like an end"])
def test_a_zip_whose_directory_is_far_too_large_is_refused(root: Root, folder: Path, offset: int) -> None:
    """Also where the bytes that say so look like the end of a directory themselves."""
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 65 * MEBIBYTE, offset, 0)
    with (folder / "bomb").open("wb") as archive:
        archive.write(b"PK\x03\x04")
        archive.seek(200 * MEBIBYTE)
        archive.write(end)
    with pytest.raises(Invalid, match="too large"):
        decompress(root, b"bomb", b"out")


BOMBS: dict[str, Callable[[], bytes]] = {
    "zeros without end": lambda: bomb_of_zeros(600 * MEBIBYTE),
    "zeros after the end": lambda: gzip.compress(tar_of(file("a")) + bytes(600 * MEBIBYTE), 1),
    "text that repeats": lambda: gzip.compress(tar_of(file("a", b"bomb" * (20 * MEBIBYTE)))),
    "zip that repeats": lambda: zip_of(("a", S_IFREG, b"bomb" * (20 * MEBIBYTE))),
    "zip whose members overlap": overlapping_zip,
    "holes without end": lambda: pax_tar(
        pax_record(b"GNU.sparse.size", b"%d" % (1 << 40)) + pax_record(b"GNU.sparse.map", b"0,1"), b"x"
    ),
    "many empty files": lambda: gzip.compress(b"".join(_headers(500_001)) + bytes(1024), 1),
}


def test_a_member_is_unfolded_piece_by_piece(root: Root, folder: Path) -> None:
    """`zipfile` would make all of it out of a few hundred bytes at once."""
    size = 128 * MEBIBYTE
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as made:
        made.writestr("zeros", bytes(size))
    write_file(root, b"bomb", buffer.getvalue())
    tracemalloc.start()
    try:
        decompress(root, b"bomb", b"out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (folder / "out/zeros").stat().st_size == size
    assert peak < 16 * MEBIBYTE


def test_names_that_must_be_remembered_may_not_fill_memory(root: Root, folder: Path) -> None:
    name = "/".join(["d" * 250] * 16)
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    links = [packer.compress(tar_of(link(f"{number}/{name[:3900]}", name))[:-1024]) for number in range(9000)]
    write_file(root, b"bomb", b"".join([*links, packer.compress(bytes(1024)), packer.flush()]))
    with pytest.raises(Invalid, match="names"):
        decompress(root, b"bomb", b"out")
    assert os.listdir(folder) == ["bomb"]


def _headers(count: int) -> list[bytes]:
    return [tarfile.TarInfo(f"{number // 1000}/{number}").tobuf(tarfile.USTAR_FORMAT) for number in range(count)]


@pytest.mark.parametrize("name", [name for name in BOMBS if name != "many empty files"])
def test_a_bomb_is_refused_whole(volumes: Volumes, loop_folder: Path, name: str) -> None:
    with volumes.opened(VOLUME_ID) as root:
        write_file(root, b"bomb", BOMBS[name]())
        with pytest.raises((Invalid, QuotaExceeded)):
            decompress(root, b"bomb", b"out")
    assert os.listdir(loop_folder) == ["bomb"]


def test_a_bomb_in_an_archive_stays_packed_and_is_refused_when_it_is_opened(
    volumes: Volumes, loop_folder: Path
) -> None:
    bomb = gzip.compress(tar_of(file("bomb", BOMBS["text that repeats"]())))
    with volumes.opened(VOLUME_ID) as root:
        write_file(root, b"outer", zip_of(("inner", S_IFREG, bomb)))
        assert decompress(root, b"outer", b".").files == 1
        assert (loop_folder / "inner").read_bytes() == bomb
        assert decompress(root, b"inner", b".").files == 1
        with pytest.raises((Invalid, QuotaExceeded)):
            decompress(root, b"bomb", b"out")
    assert sorted(os.listdir(loop_folder)) == ["bomb", "inner", "outer"]


@pytest.mark.parametrize("packed", ["tar", "zip"])
def test_folders_that_are_only_named_in_paths_count_too(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch, packed: str
) -> None:
    monkeypatch.setattr("storage.archives.allowance.MOST_ENTRIES", 100)
    names = [f"{number}/" + "d/" * 50 + "file" for number in range(3)]
    tar, zipped = tar_of(*map(file, names)), zip_of(*((name, S_IFREG, b"x") for name in names))
    write_file(root, b"bomb", tar if packed == "tar" else zipped)
    with pytest.raises(Invalid, match="entries"):
        decompress(root, b"bomb", b"out")
    assert os.listdir(folder) == ["bomb"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_too_many_entries_are_refused(root: Root, folder: Path) -> None:
    write_file(root, b"bomb", BOMBS["many empty files"]())
    with pytest.raises(Invalid, match="entries"):
        decompress(root, b"bomb", b"out")
    assert os.listdir(folder) == ["bomb"]


def sparse_tar() -> bytes:
    """Files with holes, in the three ways of GNU's tar to write them down in pax headers."""
    size = pax_record(b"GNU.sparse.size", b"5000")
    parts = [pax_record(b"GNU.sparse.%s" % key, b"%d" % value) for key, value in ((b"offset", 512), (b"numbytes", 4))]
    version = pax_record(b"GNU.sparse.major", b"1") + pax_record(b"GNU.sparse.minor", b"0")
    last = version + pax_record(b"GNU.sparse.name", b"c") + pax_record(b"GNU.sparse.realsize", b"5000")
    ways = [
        (size + parts[0] + parts[1], "a", b"abcd"),
        (size + pax_record(b"GNU.sparse.map", b"512,4,1024,4"), "b", b"abcdefgh"),
        (last, "x", b"1\n512\n4\n".ljust(512, b"\0") + b"abcd"),
    ]
    members = [(("h", {"type": tarfile.XHDTYPE}, records), file(name, content)) for records, name, content in ways]
    return tar_of(*[member for pair in members for member in pair])


def test_files_with_holes_open_however_they_were_written_down(root: Root, folder: Path) -> None:
    write_file(root, b"archive", sparse_tar())
    assert decompress(root, b"archive", b"out").files == 3
    for name in "abc":
        content = (folder / "out" / name).read_bytes()
        assert len(content) == 5000 and content[512:516] == b"abcd"
    assert (folder / "out/b").read_bytes()[1024:1028] == b"efgh"


def with_right_checksums(tar: bytearray, headers: list[int]) -> bytes:
    """The tar with checksums that fit what its headers say by now: who looks at nothing else must still stand it."""
    for at in headers:
        if at + 512 <= len(tar):
            tar[at + 148 : at + 156] = b" " * 8
            tar[at + 148 : at + 156] = b"%06o\0 " % sum(tar[at : at + 512])
    return bytes(tar)


def changed_archive(chance: random.Random) -> bytes:
    """A good archive, with some bytes that are others; of most tars only what is packed is changed, not the packing."""
    links = tar_of(file("d/a", b"x" * 3000), link("l", "d"), hard("h", "d/a"), file("n" * 200))
    zipped = zip_of(("d/a", S_IFREG, b"x" * 3000), ("l", S_IFLNK, b"d"))
    pack = chance.choice([bytes, gzip.compress, bz2.compress, zstandard.compress])
    good = chance.choice([links, sparse_tar(), zipped, pack(links)])
    changed = bytearray(good)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] = chance.choice([chance.randrange(256), *b"0179\0 =/."])
    if chance.random() < 0.2:
        del changed[chance.randrange(len(changed)) :]
    if good[257:262] != b"ustar":
        return bytes(changed)
    return pack(
        with_right_checksums(changed, [at for at in range(0, len(good), 512) if good[at + 257 :][:5] == b"ustar"])
    )


@pytest.mark.parametrize("rounds", [500, pytest.param(8000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_changed_bytes_never_crash_hang_or_escape(root: Root, folder: Path, rounds: int) -> None:
    chance = random.Random(20261123)
    for _ in range(rounds):
        (folder / "archive").write_bytes(changed_archive(chance))
        with suppress(LightdError):
            decompress(root, b"archive", b"out")
        names = set(os.listdir(folder))
        assert names <= {"archive", "out"}
        if "out" in names:
            os.rename(folder / "out", folder.parent / "done")
            os.system(f"rm -rf {folder.parent / 'done'}")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["secret.txt", "volume"]


@pytest.mark.parametrize("seconds", [3, pytest.param(12, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
def test_no_archive_escapes_while_folders_are_swapped(root: Root, folder: Path, seconds: int) -> None:
    outside = lay_trap(folder)
    write_file(root, b"harmless", b"x")
    compress(root, ArchiveFormat.TAR_GZ, b"saved", [b"harmless"])
    turn = iter(range(10**9))

    def pack() -> None:
        name = b"packed-%d" % next(turn)
        with suppress(LightdError):
            compress(root, ArchiveFormat.TAR, name, [b"dir", b"up"])
        if (path := folder / name.decode()).exists():
            assert SECRET.encode() not in path.read_bytes()
            path.unlink()

    def unpack() -> None:
        with suppress(LightdError):
            decompress(root, b"saved", b"dir")

    with swapping(folder):
        counts = keep_calling({"pack": pack, "unpack": unpack}, seconds)
    assert min(counts.values()) > 0, counts
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == SECRET
