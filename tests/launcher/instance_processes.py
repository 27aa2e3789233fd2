"""The processes of a running instance, found by the folder of its data."""

from __future__ import annotations

from pathlib import Path

from tests.support.stack import Stack


def processes_of(stack: Stack) -> dict[int, str]:
    """Ids and command lines of all processes that were started for this instance."""
    mark = f"LIGHTD_DATA={stack.data}".encode()
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                command = path.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(path.parent.name)] = command.strip()
        except OSError:  # it ended while we looked
            continue
    return {pid: command for pid, command in found.items() if command}


def pss_bytes(pids: list[int]) -> int:
    """Memory of these processes together, shared pages counted in proportion."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
