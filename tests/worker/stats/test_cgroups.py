"""Both versions of control groups, from file contents as kernels write them.

The engine's numbers on this machine are compared elsewhere, for the version that it has; here both are tried.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from worker.stats.cgroups import NotVisible, Usage, control_group_of

PID = 4711
ENGINE_ID = "b99dca02a3ee9e42ebda86010666b770cc9ac43e20f893a9dab5b4f81e548eb8"

V2_FILES = {
    "cpu.stat": "usage_usec 5082061\nuser_usec 4000000\nsystem_usec 1082061\nnr_periods 12\nnr_throttled 3\n",
    "memory.current": "31457280\n",
    "memory.max": "67108864\n",
    "memory.stat": (
        "anon 12582912\nfile 16777216\nkernel_stack 49152\nshmem 0\nfile_mapped 4096\n"
        "inactive_anon 12570624\nactive_anon 12288\ninactive_file 8388608\nactive_file 8388608\n"
        "workingset_refault_file 5\n"
    ),
    "pids.current": "7\n",
    "io.stat": (
        "259:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=77 dios=1\n"
        "7:3 rbytes=100 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n7:4 \n"
    ),
}
V2_USAGE = Usage(
    cpu_ns=5_082_061_000,
    memory_bytes=31457280 - 8388608,
    memory_limit_bytes=64 * 2**20,
    pids=7,
    block_read_bytes=4196,
    block_write_bytes=8192,
)

V1_FILES = {
    "cpuacct/cpuacct.usage": "5082061100\n",
    "memory/memory.usage_in_bytes": "31457280\n",
    "memory/memory.stat": (
        "cache 16777216\nrss 12582912\ninactive_file 1\nhierarchical_memory_limit 67108864\n"
        "hierarchical_memsw_limit 67108864\ntotal_cache 16777216\ntotal_inactive_file 8388608\n"
        "total_active_file 8388608\n"
    ),
    "pids/pids.current": "7\n",
    "blkio/blkio.bfq.io_service_bytes_recursive": "Total 0\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": (
        "259:0 Read 4096\n259:0 Write 8192\n259:0 Sync 12288\n259:0 Async 0\n259:0 Discard 77\n259:0 Total 12365\n"
        "7:3 Read 100\n7:3 Write 0\n7:3 Total 100\nTotal 12465\n"
    ),
}


@dataclass(frozen=True)
class Host:
    """A process in a control group, as its host's files tell."""

    folder: Path

    @property
    def proc(self) -> Path:
        return self.folder / "proc"

    def write(self, path: str, content: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def mount(self, *lines: str) -> None:
        before = "31 23 0:28 / /sys rw shared:7 - sysfs sysfs rw\n"
        self.write("proc/self/mountinfo", before + "".join(f"{line}\n" for line in lines))

    def usage(self) -> Usage:
        with closing(control_group_of(PID, self.proc)) as group:
            return group.read()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def v2(host: Host) -> Host:
    """A host with systemd and version 2."""
    slice_path = f"/system.slice/docker-{ENGINE_ID}.scope"
    host.mount(f"35 24 0:30 / {host.folder}/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate")
    host.write(f"proc/{PID}/cgroup", f"0::{slice_path}\n")
    for name, content in V2_FILES.items():
        host.write(f"cgroup{slice_path}/{name}", content)
    return host


@pytest.fixture
def v1(host: Host) -> Host:
    """A host with version 1 and, as usual, an empty hierarchy of version 2 beside it."""
    controllers = ("cpu,cpuacct", "memory", "pids", "blkio")
    mounts = [f"3 2 0:3 / {host.folder}/{name} rw - cgroup cgroup rw,{name}" for name in controllers]
    host.mount(*mounts, f"4 2 0:4 / {host.folder}/unified rw - cgroup2 cgroup2 rw")
    lines = [f"{number}:{name}:/docker/{ENGINE_ID}\n" for number, name in enumerate(controllers, 1)]
    host.write(f"proc/{PID}/cgroup", "".join([*lines, f"8:name=systemd:/docker/{ENGINE_ID}\n", "0::/\n"]))
    for path, content in V1_FILES.items():
        controller, _, name = path.partition("/")
        mounted = "cpu,cpuacct" if controller == "cpuacct" else controller
        host.write(f"{mounted}/docker/{ENGINE_ID}/{name}", content)
    return host


def test_version_2_is_read(v2: Host) -> None:
    assert v2.usage() == V2_USAGE


def test_version_1_is_read(v1: Host) -> None:
    assert v1.usage() == Usage(**{**_fields(V2_USAGE), "cpu_ns": 5_082_061_100})


def test_a_disk_whose_scheduler_counts_itself_is_read_as_the_engine_does(v1: Host) -> None:
    v1.write(f"blkio/docker/{ENGINE_ID}/blkio.bfq.io_service_bytes_recursive", "8:0 Read 5\n8:0 Write 6\nTotal 11\n")
    usage = v1.usage()
    assert (usage.block_read_bytes, usage.block_write_bytes) == (5, 6)


@pytest.mark.parametrize("limit", ["max\n", f"{2**60}\n"])
def test_no_limit_means_the_machines_memory(v2: Host, limit: str) -> None:
    v2.write(f"cgroup/system.slice/docker-{ENGINE_ID}.scope/memory.max", limit)
    machine = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert v2.usage().memory_limit_bytes == machine


def test_what_a_host_does_not_count_is_nought_and_the_rest_is_read(v2: Host) -> None:
    for name in V2_FILES.keys() - {"cpu.stat"}:
        (v2.folder / f"cgroup/system.slice/docker-{ENGINE_ID}.scope/{name}").unlink()
    usage = v2.usage()
    assert usage.cpu_ns == V2_USAGE.cpu_ns
    assert (usage.memory_bytes, usage.pids, usage.block_read_bytes, usage.block_write_bytes) == (0, 0, 0, 0)


def test_a_host_of_version_1_that_does_not_count_memory_is_not_taken_for_version_2(v1: Host) -> None:
    """The group of version 2 would be that of the whole host."""
    lines = (v1.proc / str(PID) / "cgroup").read_text().splitlines(keepends=True)
    v1.write(f"proc/{PID}/cgroup", "".join(line for line in lines if ":memory:" not in line))
    v1.mount(*[line for line in (v1.proc / "self/mountinfo").read_text().splitlines()[1:] if "rw,memory" not in line])
    v1.write("unified/cpu.stat", V2_FILES["cpu.stat"])
    with pytest.raises(NotVisible, match="memory"):
        v1.usage()


def test_a_group_below_a_root_that_is_mounted_itself_is_found(v2: Host) -> None:
    """In a container with the host's groups mounted, paths may begin at another root."""
    slice_path = f"/system.slice/docker-{ENGINE_ID}.scope"
    v2.mount(f"35 24 0:30 /kubepods {v2.folder}/cgroup rw - cgroup2 cgroup2 rw")
    v2.write(f"proc/{PID}/cgroup", f"0::/kubepods{slice_path}\n")
    assert v2.usage() == V2_USAGE


def test_a_group_that_cannot_be_seen_is_an_error(v2: Host) -> None:
    v2.write(f"proc/{PID}/cgroup", "0::/elsewhere\n")
    with pytest.raises(NotVisible, match="elsewhere"):
        v2.usage()


def test_a_process_that_is_gone_is_an_error(v2: Host) -> None:
    with pytest.raises(FileNotFoundError):
        control_group_of(PID + 1, v2.proc)


def test_memory_that_is_all_unused_file_pages_counts_as_it_is(v2: Host) -> None:
    """The kernel's two figures are not of the same moment: one may be larger than the other."""
    v2.write(f"cgroup/system.slice/docker-{ENGINE_ID}.scope/memory.current", "4096\n")
    assert v2.usage().memory_bytes == 4096


def _fields(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name in Usage.__slots__}
