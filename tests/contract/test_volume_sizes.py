"""How large volumes are, who shares them, and what is kept apart on them."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.volumes.locks import is_locked
from storage.volumes.mounts import may_resize_mounted
from tests.support.answers import Answer, accepted, refused
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

MIB = 1024**2
OBEY = """echo Ready
while read -r line; do
  sh -c "$line" && echo "did $line" || echo "failed $line"
done"""


@pytest.fixture
def volume(servers: Servers) -> str:
    return str(servers.volume(size_mb=32)["volume_id"])


def do(stack: Stack, servers: Servers, container: str, command: str) -> bool:
    """Have a container run a command; whether it went well."""
    accepted(stack.api("POST", f"/containers/{container}/command", json={"command": command}))

    def outcome() -> str | None:
        lines = servers.logs(container).replace("\r", "").splitlines()
        return next((line for line in lines if line in (f"did {command}", f"failed {command}")), None)

    return str(eventually(outcome, within_seconds=30, what=f"the end of {command}")).startswith("did")


def resize(stack: Stack, volume: str, size_mb: int) -> Answer:
    return accepted(stack.api("POST", f"/volumes/{volume}/resize", json={"size": size_mb}))


def test_a_quota_says_how_much_can_be_written(stack: Stack, volume: str) -> None:
    empty = accepted(stack.api("GET", f"/volumes/{volume}/quota"))
    assert set(empty) == {"size_mb", "used_mb", "available_mb", "percentage_used"}
    assert empty["size_mb"] == 32 and empty["used_mb"] < 1 and empty["percentage_used"] < 4
    accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=a", data=bytes(8 * MIB)))
    used = accepted(stack.api("GET", f"/volumes/{volume}/quota"))
    assert used["used_mb"] - empty["used_mb"] == pytest.approx(8, abs=0.1)
    assert empty["available_mb"] - used["available_mb"] == pytest.approx(8, abs=0.1)
    rest = int((used["available_mb"] - 0.5) * MIB)
    accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=b", data=bytes(rest)))
    assert accepted(stack.api("GET", f"/volumes/{volume}/quota"))["percentage_used"] > 97


def test_what_a_container_has_filled_is_deleted_through_the_api(stack: Stack, servers: Servers, volume: str) -> None:
    container = servers.run(OBEY, volume_id=volume)
    assert do(stack, servers, container, "mkdir -p logs/old && echo x > logs/old/1")
    assert not do(stack, servers, container, "cat /dev/zero > logs/big")
    assert do(stack, servers, container, "i=0; while mkdir logs/$i; do i=$((i+1)); done")
    assert not do(stack, servers, container, "mkdir one-more")
    body = {"path": "a", "content": "x" * 100_000}
    assert refused(stack.api("POST", f"/volumes/{volume}/files", json=body), 413)["code"] == "quota_exceeded"
    assert accepted(stack.api("POST", f"/volumes/{volume}/delete", json={"paths": ["logs"]}))["deleted_count"] == 1
    assert accepted(stack.api("GET", f"/volumes/{volume}/files"))["files"] == []
    accepted(stack.api("POST", f"/volumes/{volume}/files", json=body))
    assert do(stack, servers, container, "test -s a && mkdir one-more-now")


def test_a_volume_grows_under_a_running_container_and_shrinks_only_without(
    stack: Stack, servers: Servers, volume: str
) -> None:
    container = servers.run(OBEY, volume_id=volume)
    assert not do(stack, servers, container, "dd if=/dev/zero of=big bs=1M count=40")
    if may_resize_mounted():
        assert resize(stack, volume, 64)["size_mb"] == 64
    else:
        answer = stack.api("POST", f"/volumes/{volume}/resize", json={"size": 64})
        assert "CAP_SYS_RESOURCE" in refused(answer, 409)["error"]
        servers.act(container, "kill")
        stack.wait_for_state(container, "ready")
        resize_at_rest(stack, volume, 64)
        servers.act(container, "start")
        stack.wait_for_state(container, "running")
    assert do(stack, servers, container, "dd if=/dev/zero of=big bs=1M count=41")
    smaller = stack.api("POST", f"/volumes/{volume}/resize", json={"size": 32})
    assert refused(smaller, 409)["code"] == "volume_in_use"
    servers.act(container, "kill")
    stack.wait_for_state(container, "ready")
    eventually(lambda: shrink(stack, volume, 32) == "does_not_fit", within_seconds=30, what="the refusal to shrink")
    accepted(stack.api("POST", f"/volumes/{volume}/delete", json={"paths": ["big"]}))
    resize_at_rest(stack, volume, 32)
    assert accepted(stack.api("GET", f"/volumes/{volume}"))["quota_mb"] == 32


def shrink(stack: Stack, volume: str, size_mb: int) -> str | None:
    """The code with which it is refused."""
    answer = stack.api("POST", f"/volumes/{volume}/resize", json={"size": size_mb})
    return None if answer.ok else str(refused(answer, 409)["code"])


def resize_at_rest(stack: Stack, volume: str, size_mb: int) -> None:
    """Containers that start at that moment, of other tests, may hold a copy of the mount for an instant."""
    eventually(lambda: shrink(stack, volume, size_mb) is None, within_seconds=30, what=f"a size of {size_mb} MB")


def test_containers_share_a_volume_which_stays_until_the_last_is_gone(
    stack: Stack, servers: Servers, volume: str
) -> None:
    writer, reader = (servers.run(OBEY, volume_id=volume) for _ in range(2))
    assert do(stack, servers, writer, "echo hello > world")
    assert do(stack, servers, reader, "grep hello world")
    servers.act(writer, "kill")
    stack.wait_for_state(writer, "ready")
    answer = stack.api("POST", f"/volumes/{volume}/resize", json={"size": 16})
    assert reader in refused(answer, 409)["error"]
    accepted(stack.api("DELETE", f"/containers/{writer}"))
    assert reader in refused(stack.api("DELETE", f"/volumes/{volume}"), 409)["error"]
    assert do(stack, servers, reader, "test -f world")
    accepted(stack.api("DELETE", f"/containers/{reader}"))
    assert stack.api("DELETE", f"/volumes/{volume}").status_code == 204


def test_a_volume_is_not_resized_packed_again_or_deleted_while_it_is_packed(stack: Stack, servers: Servers) -> None:
    volume = servers.volume(size_mb=128)["volume_id"]
    accepted(stack.api("PUT", f"/volumes/{volume}/upload?path=noise", data=os.urandom(32 * MIB)))
    lock = stack.data / f"run/locks/volume-{volume}.lock"
    asked = {"format": "tar.bz2", "output_name": "backup"}
    with ThreadPoolExecutor(1) as pool:
        packing = pool.submit(lambda: stack.api("POST", f"/volumes/{volume}/compress", json=asked))
        eventually(lambda: is_locked(lock), within_seconds=20, what="the begin of the job")
        worker = stack.kill("long", signal.SIGSTOP)
        try:
            resized = stack.api("POST", f"/volumes/{volume}/resize", json={"size": 200})
            deleted = stack.api("DELETE", f"/volumes/{volume}")
            again = stack.api("POST", f"/volumes/{volume}/compress", json={**asked, "output_name": "another"})
            accepted(stack.api("POST", f"/volumes/{volume}/files", json={"path": "meanwhile", "content": "x"}))
        finally:
            os.kill(worker, signal.SIGCONT)
        answer = packing.result()
    for refusal in (resized, deleted, again):
        assert refused(refusal, 409)["code"] == "volume_busy"
    job = re.search(r"busy with job (\w+)", deleted.json()["error"])
    assert job and stack.wait_for_job(job[1], 120)["state"] == "done", answer.text
    resize_at_rest(stack, volume, 200)
    names = [file["name"] for file in accepted(stack.api("GET", f"/volumes/{volume}/files"))["files"]]
    assert names == ["backup.tar.bz2", "meanwhile", "noise"]
