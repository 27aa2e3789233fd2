"""What a container may not do, tried from inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from docker.models.images import Image

from tests.support import cgroups
from tests.support.deadline import eventually
from tests.support.images import DEBIAN
from tests.worker.engine_bench import EngineBench

pytestmark = pytest.mark.engine


DEVICES = {
    "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
    "tty", "urandom", "zero",
}  # fmt: skip
"""What every container has in `/dev`."""

INSTALL_RIGHTS = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 10, 31))
"""CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE, SETFCAP by their kernel numbers."""

SHOW_RIGHTS = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status\n"
_MB = 1024 * 1024


def rights(output: str) -> dict[str, int]:
    """What SHOW_RIGHTS printed; sets of capabilities as numbers."""
    pairs = (line.split() for line in output.splitlines())
    return {pair[0]: int(pair[1], 16) for pair in pairs if len(pair) == 2 and pair[0].endswith(":")}


def test_a_server_is_nobody_special(engine_bench: EngineBench, busybox_image: Image) -> None:
    engine_id = engine_bench.start_server(
        f"id -u; id -g; id -G\n{SHOW_RIGHTS}"
        "chown 0:0 /home/container 2>/dev/null || echo not-owner\n"
        "mknod /tmp/disk b 8 0 2>/dev/null || echo no-device\n"
        "mount -t tmpfs tmpfs /tmp 2>/dev/null || echo no-mount\n"
        "unshare -U true 2>/dev/null || echo no-namespace\n"
        "kill -9 1; echo alive"
    )
    output = engine_bench.output(engine_id)
    assert output.split()[:3] == ["1000", "1000", "1000"]
    assert output.split()[-5:] == ["not-owner", "no-device", "no-mount", "no-namespace", "alive"]
    none = dict.fromkeys(("CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"), 0)
    assert rights(output) == none | {"NoNewPrivs:": 1, "Seccomp:": 2}


def test_a_server_writes_to_its_volume_and_to_sized_memory_and_nowhere_else(
    engine_bench: EngineBench, busybox_image: Image
) -> None:
    """Every folder and file there is, is tried, but for those of single processes and the read-only mounts of `/sys`.

    What is written to `/proc/pressure` is a question to the kernel, which keeps nothing of it.
    """
    engine_id = engine_bench.start_server(
        'awk \'$2 ~ /^.sys/ && $2 != "/sys/fs/cgroup" && $4 !~ /^ro/ {print "file", $2}\' /proc/mounts\n'
        "(echo /sys/fs/cgroup; find / -path /sys -prune -o -type d -print 2>/dev/null) |\n"
        "grep -vE '^/proc/[0-9]' | while read -r folder; do\n"
        '  (: > "$folder/.try") 2>/dev/null && echo "folder $folder" && rm -f "$folder/.try"\n'
        "done\n"
        "find / -path /sys -prune -o -type f -print 2>/dev/null |\n"
        "grep -vE '^/proc/([0-9]|pressure/)' | while read -r file; do\n"
        '  (: >> "$file") 2>/dev/null && echo "file $file"\n'
        "done\n"
        "for folder in /tmp /dev/shm; do\n"
        "  head -c 9000000 /dev/zero 2>/dev/null > $folder/big || echo $folder is sized\n"
        "  exec 3> $folder/open; rm -f $folder/big $folder/open\n"
        "  head -c 9000000 /dev/zero 2>/dev/null >&3 || echo $folder is sized for what has no name too\n"
        "  exec 3>&-\n"
        "done\n"
        "ulimit -c; ulimit -c unlimited 2>/dev/null || echo no-core"
    )
    lines = engine_bench.output(engine_id).splitlines()
    written = [line for line in lines if line.startswith(("folder ", "file "))]
    queues = {"folder /dev/mqueue"}  # of the kernel's own small memory, and not everywhere
    assert set(written) - queues == {"folder /home/container", "folder /tmp", "folder /dev/shm"}
    assert lines[len(written) :] == [
        "/tmp is sized",
        "/tmp is sized for what has no name too",
        "/dev/shm is sized",
        "/dev/shm is sized for what has no name too",
        "0",
        "no-core",
    ]


def test_a_container_has_no_device_and_no_socket_of_the_host(engine_bench: EngineBench, busybox_image: Image) -> None:
    command = "ls /dev; find / -type b 2>/dev/null; find / -type s 2>/dev/null; ls /var/run/docker.sock 2>/dev/null"
    server = engine_bench.output(engine_bench.start_server(command)).split()
    install = engine_bench.output(engine_bench.start_install(command)).split()
    assert set(server) <= DEVICES
    assert set(install) <= DEVICES


def test_the_kernel_holds_a_server_and_an_install_to_the_same_limits(
    engine_bench: EngineBench, busybox_image: Image
) -> None:
    for engine_id in (engine_bench.start_server("read line"), engine_bench.start_install("sleep 60")):
        seen = engine_bench.runtime.inspect(engine_id)
        assert seen is not None and seen.running
        assert (cgroups.memory_limit(seen.pid), cgroups.pids_limit(seen.pid)) == (256 * _MB, 64)
        assert cgroups.cores(seen.pid) == 1.0
        assert cgroups.swap_limit(seen.pid) == 0


def test_an_install_has_exactly_the_rights_of_a_package_manager(
    engine_bench: EngineBench, busybox_image: Image
) -> None:
    engine_id = engine_bench.start_install(
        f"{SHOW_RIGHTS}"
        "mknod /disk b 8 0 2>/dev/null || echo no-device\n"
        "mount -t tmpfs tmpfs /home 2>/dev/null || echo no-mount\n"
        "(: > /sys/kernel/uevent_helper) 2>/dev/null || echo read-only-sys\n"
        "(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo read-only-settings\n"
        "(: > /app/data/install.sh) 2>/dev/null || echo read-only-scripts\n"
        "chroot / true 2>/dev/null || echo no-chroot"
    )
    output = engine_bench.output(engine_id)
    found = rights(output)
    assert (found["CapEff:"], found["CapBnd:"]) == (INSTALL_RIGHTS, INSTALL_RIGHTS)
    assert (found["NoNewPrivs:"], found["Seccomp:"]) == (1, 2)
    refusals = ["no-device", "no-mount", "read-only-sys", "read-only-settings", "read-only-scripts", "no-chroot"]
    assert output.split()[-6:] == refusals


def test_what_a_server_prints_takes_no_more_than_its_rotated_logs(
    engine_bench: EngineBench, busybox_image: Image
) -> None:
    engine_bench.settings = replace(engine_bench.settings, log_mb=1)
    engine_id = engine_bench.start_server("head -c 12000000 /dev/zero | tr '\\000' x | fold -w 4000")
    assert engine_bench.exit_code(engine_id) == 0
    seen = engine_bench.runtime.inspect(engine_id)
    assert seen is not None
    logs = list(Path(seen.log_path).parent.glob("*-json.log*"))
    assert len(logs) == 3
    assert sum(log.stat().st_size for log in logs) < 3.2 * _MB


def test_what_an_install_keeps_open_without_a_name_counts_too(engine_bench: EngineBench, busybox_image: Image) -> None:
    engine_id = engine_bench.start_install(
        "exec 3> /hidden; rm /hidden; head -c 6000000 /dev/zero >&3; head -c 6000000 /dev/zero > file; read line"
    )
    eventually(
        lambda: 6_000_000 <= engine_bench.runtime.layer_bytes(engine_id) < 7_000_000,
        within_seconds=30,
        what="the open file without a name",
    )


@pytest.mark.parametrize(
    "script",
    [
        "head -c 6000000 /dev/zero > /etc/hosts",
        "head -c 6000000 /dev/zero > /etc/resolv.conf",
        "head -c 6000000 /dev/zero > /.dockerenv",
        "rm -f /etc/mtab; head -c 6000000 /dev/zero > /etc/mtab",
        "dd if=/dev/null of=/holes bs=1 seek=6000000 count=0",
        "i=0; while [ $i -lt 1500 ]; do : > /$i; i=$((i + 1)); done",
    ],
)
def test_whatever_an_install_puts_on_the_hosts_disk_counts(
    engine_bench: EngineBench, busybox_image: Image, script: str
) -> None:
    engine_id = engine_bench.start_install(script)
    assert engine_bench.exit_code(engine_id) == 0, engine_bench.output(engine_id)
    assert engine_bench.runtime.layer_bytes(engine_id) >= 6_000_000


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
