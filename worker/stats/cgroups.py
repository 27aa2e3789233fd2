"""What a container's control group has used, of either version of the kernel's interface.

Version 1 has a hierarchy for each controller, version 2 one for all; a host may mount both, and then that one counts
which has the processor's. Memory counts as `docker stats` does: without file pages that nobody used lately.
Sources: the kernel's admin guide, `cgroup-v1/` and `cgroup-v2.rst`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from worker.stats.kernel_file import KernelFiles

_MACHINE_MEMORY_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
_V1_CONTROLLERS = ("cpuacct", "memory", "pids", "blkio")
_V1_TRAFFIC = ("blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive")
"""Who counts depends on a disk's scheduler. Newer kernels count with `throttle` only where something is throttled."""

_NANOSECONDS_PER_MICROSECOND = 1000


class NotVisible(OSError):
    """This host's control groups, or those of this container, are not mounted where this process could see them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a control group uses now, and what it has used since it was made. Without a limit, all memory is it."""

    cpu_ns: int
    memory_bytes: int
    memory_limit_bytes: int
    pids: int
    block_read_bytes: int
    block_write_bytes: int


class ControlGroup(Protocol):
    """The control group of one container, whose files are open until `close`."""

    def read(self) -> Usage:
        """Its use now; raises OSError when it is gone."""

    def close(self) -> None:
        """Read it no more."""


class ControlGroupV1:
    """Version 1. `folders` are those of its controllers."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._files = KernelFiles(
            {
                "cpu": folders["cpuacct"] / "cpuacct.usage",
                "memory": folders["memory"] / "memory.usage_in_bytes",
                "memory.stat": folders["memory"] / "memory.stat",
                "pids": folders["pids"] / "pids.current",
            },
            perhaps={name: folders["blkio"] / name for name in _V1_TRAFFIC},
        )

    def read(self) -> Usage:
        """Its use now; raises OSError when it is gone."""
        files = self._files
        stat = files.read("memory.stat")
        read_bytes, write_bytes = self._read_traffic()
        return Usage(
            cpu_ns=int(files.read("cpu")),
            memory_bytes=_used(int(files.read("memory")), _number_after(stat, b"total_inactive_file")),
            memory_limit_bytes=_limit(_number_after(stat, b"hierarchical_memory_limit")),
            pids=int(files.read("pids")),
            block_read_bytes=read_bytes,
            block_write_bytes=write_bytes,
        )

    def close(self) -> None:
        """Read it no more."""
        self._files.close()

    def _read_traffic(self) -> tuple[int, int]:
        """Bytes read and written, by whoever counts them first; as the engine does."""
        for name in _V1_TRAFFIC:
            counted = _v1_traffic(self._files.read(name))
            if any(counted):
                return counted
        return 0, 0


class ControlGroupV2:
    """Version 2: everything in one folder. Of a controller that its host does not hand on, as some in LXC, all is 0."""

    def __init__(self, folder: Path) -> None:
        names = ("memory.current", "memory.stat", "memory.max", "pids.current", "io.stat")
        self._files = KernelFiles({"cpu.stat": folder / "cpu.stat"}, perhaps={name: folder / name for name in names})

    def read(self) -> Usage:
        """Its use now; raises OSError when it is gone."""
        files = self._files
        inactive_bytes = _number_after(files.read("memory.stat"), b"inactive_file")
        limit = files.read("memory.max").strip()
        read_bytes, write_bytes = _v2_traffic(files.read("io.stat"))
        return Usage(
            cpu_ns=_number_after(files.read("cpu.stat"), b"usage_usec") * _NANOSECONDS_PER_MICROSECOND,
            memory_bytes=_used(int(files.read("memory.current") or 0), inactive_bytes),
            memory_limit_bytes=_limit(0 if limit == b"max" else int(limit or 0)),
            pids=int(files.read("pids.current") or 0),
            block_read_bytes=read_bytes,
            block_write_bytes=write_bytes,
        )

    def close(self) -> None:
        """Read it no more."""
        self._files.close()


def control_group_of(pid: int, proc: Path = Path("/proc")) -> ControlGroup:
    """The control group that a process is in. Raises NotVisible, or another OSError when the process has ended."""
    lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    paths = {
        controller: path for _, names, path in (line.split(":", 2) for line in lines) for controller in names.split(",")
    }
    mounts = _mounted((proc / "self" / "mountinfo").read_text())
    if "cpuacct" not in paths:
        return ControlGroupV2(_folder(mounts, "", paths.get("", "/")))
    return ControlGroupV1({name: _folder(mounts, name, paths.get(name, "/")) for name in _V1_CONTROLLERS})


def _mounted(mountinfo: str) -> dict[str, tuple[str, Path]]:
    """For each controller of version 1, and for "" meaning version 2: the root of its mount, and where that is."""
    found: dict[str, tuple[str, Path]] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, mount_point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            found[""] = (root, Path(mount_point))
        elif kind == "cgroup":
            found.update(dict.fromkeys(options.split(","), (root, Path(mount_point))))
    return found


def _folder(mounts: Mapping[str, tuple[str, Path]], controller: str, path: str) -> Path:
    if controller not in mounts:
        raise NotVisible(f"no control groups of {controller or 'version 2'} are mounted")
    root, mount_point = mounts[controller]
    folder = mount_point / path.removeprefix(root).lstrip("/")
    if not folder.is_dir():
        raise NotVisible(f"{folder} cannot be seen from here")
    return folder


def _number_after(content: bytes, name: bytes) -> int:
    """The number on the line `name number`; 0 when there is no such line."""
    start = 0 if content.startswith(name + b" ") else content.find(b"\n" + name + b" ") + 1
    if start == 0 and not content.startswith(name + b" "):
        return 0
    return int(content[start + len(name) :].split(None, 1)[0])


def _used(usage_bytes: int, inactive_file_bytes: int) -> int:
    return usage_bytes - inactive_file_bytes if inactive_file_bytes < usage_bytes else usage_bytes


def _limit(limit_bytes: int) -> int:
    """The limit, or all memory of this machine when there is none, or a larger one."""
    return min(limit_bytes or _MACHINE_MEMORY_BYTES, _MACHINE_MEMORY_BYTES)


def _v1_traffic(content: bytes) -> tuple[int, int]:
    """Bytes read and written, from lines such as `8:0 Read 4096`."""
    read_bytes = write_bytes = 0
    for line in content.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] == b"Read":
            read_bytes += int(fields[2])
        elif len(fields) == 3 and fields[1] == b"Write":
            write_bytes += int(fields[2])
    return read_bytes, write_bytes


def _v2_traffic(content: bytes) -> tuple[int, int]:
    """Bytes read and written, from lines such as `8:0 rbytes=4096 wbytes=0 …`."""
    totals = {b"rbytes": 0, b"wbytes": 0}
    for field in content.split():
        name, _, number = field.partition(b"=")
        if name in totals:
            totals[name] += int(number)
    return totals[b"rbytes"], totals[b"wbytes"]
