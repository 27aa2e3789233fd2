"""`./lightd logs`: the end of each process's log, and what is added to it."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
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


def follow(path: Path, count: int) -> Generator[list[str]]:
    """The last `count` whole lines of a file, then all that are added to it, in portions that may be empty.

    It goes on in the next file after a rotation.
    """
    file = path.open("rb")
    try:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        rest, is_first = b"", True
        while True:
            data = file.read()
            if not data and _was_rotated(path, file.fileno()):
                file.close()
                file = path.open("rb")
                continue
            lines, newline, rest = (rest + data).rpartition(b"\n")
            whole = (lines + newline).decode(errors="replace").splitlines()
            yield whole[max(0, len(whole) - count) :] if is_first else whole
            is_first = False
    finally:
        file.close()


def follow_all(paths: list[Path], count: int) -> Iterator[tuple[str, str]]:
    """`(process, line)` for the last `count` lines of each file and for every line added to any, for ever."""
    followed = [(path.stem, follow(path, count)) for path in paths]
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
