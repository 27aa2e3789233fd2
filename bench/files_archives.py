"""`python -m bench.files_archives`: archives of 270 MB of log text in 200 files, and of Python's own source code.

Ours and the usual tool run in turn in the same folder: only the ratio counts. Needs tar, zip, unzip, bzip2, zstd.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.figures import show
from storage.archives import ArchiveFormat, compress, decompress
from storage.beneath import Root, opened_root

FILES = 200
FILE_BYTES = 1_350_000
ROUNDS = 3
NO_SOURCE = {"__pycache__", "site-packages", "dist-packages", "lib-dynload"}

TOOLS = {
    ArchiveFormat.TAR_GZ: ("tar czf tool {name}", "tar xzf ../tool", "5 times as fast, at most 20 % larger; 1.5 times"),
    ArchiveFormat.ZIP: ("zip -qr tool.zip {name} && mv tool.zip tool", "unzip -q ../tool", "4 times as fast"),
    ArchiveFormat.TAR_ZST: ("tar --zstd -cf tool {name}", "tar --zstd -xf ../tool", "faster than our tar.gz"),
    ArchiveFormat.TAR_BZ2: ("tar cjf tool {name}", "tar xjf ../tool", "as fast per core, on all cores"),
}


def main() -> None:
    """Print one row for each format and direction."""
    with tempfile.TemporaryDirectory(prefix="lightd-bench-") as name:
        folder = Path(name)
        write_text(folder / "text")
        with opened_root(folder, (os.getuid(), os.getgid())) as root:
            for archive_format in TOOLS:
                measure(root, folder, archive_format, "text")
            shutil.copytree(sysconfig.get_path("stdlib"), folder / "source", ignore=lambda *_: NO_SOURCE)
            measure(root, folder, ArchiveFormat.TAR_GZ, "source")


def measure(root: Root, folder: Path, archive_format: ArchiveFormat, name: str) -> None:
    """Pack and unpack with both, several times in turn."""
    pack, unpack, limit = TOOLS[archive_format]
    seconds: dict[str, list[float]] = {"pack": [], "tool packs": [], "unpack": [], "tool unpacks": []}
    for _ in range(ROUNDS):
        for leftover in ("ours", "tool"):
            (folder / leftover).unlink(missing_ok=True)
        seconds["pack"].append(timed(lambda: compress(root, archive_format, b"ours", [name.encode()])))
        seconds["tool packs"].append(timed(lambda: shell(pack.format(name=name), folder)))
        seconds["unpack"].append(timed(lambda: decompress(root, b"ours", b"out")))
        shutil.rmtree(folder / "out")
        (folder / "out").mkdir()
        seconds["tool unpacks"].append(timed(lambda: shell(unpack, folder / "out")))
        shutil.rmtree(folder / "out")
    ours, tool = median(seconds["pack"]), median(seconds["tool packs"])
    size = (folder / "ours").stat().st_size / (folder / "tool").stat().st_size
    show(
        f"{archive_format} pack {name}", f"{ours:.2f} s, {tool / ours:.1f} times as fast, {size:.2f} of the size", limit
    )
    ours, tool = median(seconds["unpack"]), median(seconds["tool unpacks"])
    show(f"{archive_format} unpack {name}", f"{ours:.2f} s, {tool / ours:.1f} times as fast")


def write_text(folder: Path) -> None:
    """Lines as a server logs them, from a fixed seed."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(4000)]
    folder.mkdir()
    for number in range(FILES):
        with (folder / f"{number}.log").open("w") as file:
            while file.tell() < FILE_BYTES:
                clock = f"[{chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}]"
                lines = (" ".join(chance.choices(words, k=12)) for _ in range(50))
                file.writelines(f"{clock} [Server thread/INFO]: {line}\n" for line in lines)


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def shell(command: str, folder: Path) -> None:
    subprocess.run(command, shell=True, cwd=folder, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
