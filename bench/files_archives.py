"""`python -m bench.files_archives`: archives of 270 MB of log text in 200 files, and of Python's own source code.

Ours and the usual tool run in turn in the same folder: only the ratio counts, of the time that passes and of the
processor time that is used meanwhile. Needs tar, zip, unzip, bzip2, zstd.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from bench.figures import show
from storage.archives import ArchiveFormat, compress, decompress
from storage.beneath import Root, opened_root

FILES = 200
FILE_BYTES = 1_350_000
ROUNDS = 3
NO_SOURCE = {"__pycache__", "site-packages", "dist-packages", "lib-dynload"}

Took = tuple[float, float]
"""Seconds by the clock, and of processor time."""

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
    seconds: dict[str, list[Took]] = {"pack": [], "tool packs": [], "unpack": [], "tool unpacks": []}
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
    size = (folder / "ours").stat().st_size / (folder / "tool").stat().st_size
    packing = compared(seconds["pack"], seconds["tool packs"])
    show(f"{archive_format} pack {name}", f"{packing}, {size:.2f} of the size", limit)
    show(f"{archive_format} unpack {name}", compared(seconds["unpack"], seconds["tool unpacks"]))


def compared(ours: Sequence[Took], tool: Sequence[Took]) -> str:
    """How fast ours is against the tool, by the clock and for each second of a processor."""
    taken, tool_taken = median(took[0] for took in ours), median(took[0] for took in tool)
    used, tool_used = median(took[1] for took in ours), median(took[1] for took in tool)
    return f"{taken:.2f} s, {tool_taken / taken:.1f} times as fast, {tool_used / used:.2f} times per core"


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


def timed(work: Callable[[], object]) -> Took:
    started, used = time.monotonic(), processor_seconds()
    work()
    return time.monotonic() - started, processor_seconds() - used


def processor_seconds() -> float:
    """What this process and the commands that it waited for have used."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def shell(command: str, folder: Path) -> None:
    subprocess.run(command, shell=True, cwd=folder, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
