"""Version 2 of control groups on a real host: the kernel's files of a container that stood still, and the engine's
answer of the same moment.

Recorded with Linux 6.1 and engine 20.10, where `test_engine_numbers` agreed too, for machines that have version 1.
"""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

from tests.worker.stats.test_engine_numbers import block_bytes, memory_as_docker_stats_shows_it
from worker.stats.cgroups import Usage, control_group_of

RECORDED = Path(__file__).parent / "recorded_version_2"
PID = 4711


def test_what_is_read_of_version_2_is_what_the_engine_says(tmp_path: Path) -> None:
    engine = json.loads((RECORDED / "engine_answer.json").read_text())
    process_cgroup = (RECORDED / "process_cgroup").read_text()
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    for folder in (proc / "self", proc / str(PID)):
        folder.mkdir(parents=True)
    (proc / "self/mountinfo").write_text(f"33 23 0:30 / {root} rw,relatime - cgroup2 none rw\n")
    (proc / str(PID) / "cgroup").write_text(process_cgroup)
    shutil.copytree(RECORDED / "group", root / process_cgroup.strip().removeprefix("0::/"))
    with closing(control_group_of(PID, proc)) as group:
        assert group.read() == Usage(
            cpu_ns=engine["cpu_stats"]["cpu_usage"]["total_usage"],
            memory_bytes=memory_as_docker_stats_shows_it(engine),
            memory_limit_bytes=engine["memory_stats"]["limit"],
            pids=engine["pids_stats"]["current"],
            block_read_bytes=block_bytes(engine, "read"),
            block_write_bytes=block_bytes(engine, "write"),
        )
