"""`./lightd logs`: the end of each process's log, and what is added to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from fleet.settings import Settings
from scripts.failure import Failure
from scripts.plan import log_folder

_TAIL_BYTES = 256 * 1024
_POLL_SECONDS = 0.2


def log_paths(settings: Settings, name: str | None) -> list[Path]:
    """The log of the process `name`, or all logs. Raises Failure when there is none."""
    folder = log_folder(settings.data)
    known = sorted(folder.glob("*.log"))
    if name is None and known:
        return known
    if name is not None and folder / f"{name}.log" in known:
        return [folder / f"{name}.log"]
    if not known:
        raise Failure(f"There are no logs in {folder} yet; `./lightd up` starts Lightd.")
    raise Failure(f"There is no log of {name}; there are {', '.join(path.stem for path in known)}.")


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a file; none when there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-count:] if count else []
    except FileNotFoundError:
        return []


def follow(path: Path) -> Iterator[list[str]]:
    """Lines added to a file from now on, in portions that may be empty; goes on in the next file after a rotation."""
    file = path.open("rb")
    file.seek(0, 2)
    rest = b""
    while True:
        data = file.read()
        if not data and _was_rotated(path, file.fileno()):
            file.close()
            file = path.open("rb")
            continue
        lines, newline, rest = (rest + data).rpartition(b"\n")
        yield (lines + newline).decode(errors="replace").splitlines()


def follow_all(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """`(process, line)` for every line added to any of the files, for ever."""
    followed = [(path.stem, follow(path)) for path in paths]
    while True:
        for name, portions in followed:
            for line in next(portions):
                yield name, line
        time.sleep(_POLL_SECONDS)


def _was_rotated(path: Path, descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_ino != path.stat().st_ino
    except FileNotFoundError:
        return False
