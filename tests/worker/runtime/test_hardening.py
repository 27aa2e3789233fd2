"""What a container may not do, tried from inside."""

from __future__ import annotations

import pytest
from docker.models.images import Image

from tests.support.images import DEBIAN
from tests.worker.engine_bench import EngineBench

pytestmark = pytest.mark.engine


def test_a_server_has_no_rights_and_nowhere_else_to_write(engine_bench: EngineBench, busybox_image: Image) -> None:
    engine_id = engine_bench.start_server(
        "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status\n"
        "touch /root/x /var/x /etc/x /x 2>/dev/null || echo read-only\n"
        "echo fits > /tmp/x && echo tmp\n"
        "head -c 9000000 /dev/zero > /tmp/big 2>/dev/null || echo full\n"
        "chown 0:0 /home/container 2>/dev/null || echo not-owner\n"
        "kill -9 1; echo alive"
    )
    lines = engine_bench.output(engine_id).split()
    assert lines == [
        *("CapBnd:", "0" * 16, "CapEff:", "0" * 16, "NoNewPrivs:", "1")[2:4],
        *("CapBnd:", "0" * 16, "NoNewPrivs:", "1"),
        "read-only",
        "tmp",
        "full",
        "not-owner",
        "alive",
    ]


def test_a_server_cannot_make_more_processes_than_its_limit(engine_bench: EngineBench, busybox_image: Image) -> None:
    engine_id = engine_bench.start_server("i=0; while [ $i -lt 200 ]; do sleep 5 & i=$((i+1)); done; echo $i")
    assert engine_bench.exit_code(engine_id) != 0
    assert "fork" in engine_bench.output(engine_id)


def test_more_memory_than_the_limit_ends_the_process(engine_bench: EngineBench, busybox_image: Image) -> None:
    engine_id = engine_bench.start_server("head -c 1000000000 /dev/zero | tail > /dev/null; exit $?")
    ended = engine_bench.runtime.wait(engine_id, 60)
    assert ended is not None and ended.oom_killed and ended.exit_code == 137


@pytest.mark.slow
def test_an_install_script_installs_packages(engine_bench: EngineBench, debian_image: Image) -> None:
    engine_id = engine_bench.start_install(
        "#!/bin/bash\nset -e\nid -u\npwd\napt-get update -q\n"
        "apt-get install -qy --no-install-recommends netcat-openbsd\n"
        "nc -h 2>&1 | head -1\necho made > /home/container/file\n",
        DEBIAN,
    )
    output = engine_bench.output(engine_id)
    assert output.splitlines()[:2] == ["0", "/home/container"], output
    assert "OpenBSD netcat" in output
    assert engine_bench.exit_code(engine_id) == 0
    assert engine_bench.runtime.layer_bytes(engine_id) > 1_000_000
    assert (engine_bench.volume / "file").read_text() == "made\n"


def test_an_install_that_only_writes_to_the_volume_changes_no_layer(
    engine_bench: EngineBench, debian_image: Image
) -> None:
    engine_id = engine_bench.start_install("echo made > file", DEBIAN)
    assert engine_bench.exit_code(engine_id) == 0
    assert engine_bench.runtime.layer_bytes(engine_id) == 0


@pytest.mark.parametrize("change", ["rm /etc/motd /bin/ls", "ln -s /bin/sh /opt/x", "mkdir /opt/y", "touch /opt/z"])
def test_a_change_without_content_counts_too(engine_bench: EngineBench, debian_image: Image, change: str) -> None:
    engine_id = engine_bench.start_install(change, DEBIAN)
    engine_bench.exit_code(engine_id)
    assert engine_bench.runtime.layer_bytes(engine_id) > 0
