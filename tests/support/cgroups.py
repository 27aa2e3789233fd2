"""What the kernel holds a process to, read from its control groups (version 1 or 2)."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def memory_limit(pid: int) -> int:
    """In bytes."""
    return int(_read(pid, "memory", "memory.limit_in_bytes", "memory.max"))


def swap_limit(pid: int) -> int:
    """In bytes, beside the memory."""
    if _is_second_version():
        return int(_read(pid, "", "", "memory.swap.max"))
    return int(_read(pid, "memory", "memory.memsw.limit_in_bytes", "")) - memory_limit(pid)


def cores(pid: int) -> float:
    """How many processors may be busy."""
    if _is_second_version():
        quota, period = _read(pid, "", "", "cpu.max").split()
    else:
        quota, period = (_read(pid, "cpu", f"cpu.cfs_{name}_us", "") for name in ("quota", "period"))
    return int(quota) / int(period)


def pids_limit(pid: int) -> int:
    """Processes and threads."""
    return int(_read(pid, "pids", "pids.max", "pids.max"))


def _is_second_version() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _read(pid: int, controller: str, first: str, second: str) -> str:
    """A file of the group that the process is in: `first` by version 1's name, `second` by version 2's."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if _is_second_version() and not controllers:
            return (_ROOT / group.lstrip("/") / second).read_text().strip()
        if not _is_second_version() and controller in controllers.split(","):
            return (_ROOT / controller / group.lstrip("/") / first).read_text().strip()
    raise AssertionError(f"process {pid} is in no group of {controller}")
