"""Calls under an `Idempotency-Key` whose API process is killed before it answers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
import requests

from tests.support.answers import accepted, refused
from tests.support.deadline import eventually
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Hold a process still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def kill_with_children(stack: Stack, name: str) -> None:
    """End a process and those that it started, at once, and wait until it runs again."""
    parent = stack.pid(name)
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for pid in (parent, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    stack.wait_restarted(name, parent, 30)
    stack.wait_ready()


def test_an_archive_whose_call_was_cut_off_is_packed_once_and_told_by_its_job(stack: Stack, servers: Servers) -> None:
    volume = servers.volume()
    route, headers = f"/volumes/{volume['volume_id']}/compress", {"Idempotency-Key": "pack it once"}
    accepted(stack.api("POST", f"/volumes/{volume['volume_id']}/files", json={"path": "a", "content": "b"}))
    cut_off: list[bool] = []

    def pack() -> requests.Response:
        return stack.api("POST", route, json={"output_name": "once"}, headers=headers)

    def first() -> None:
        try:
            pack()
        except requests.ConnectionError:
            cut_off.append(True)

    with stopped(stack.pid("long")):
        call = threading.Thread(target=first, daemon=True)
        call.start()
        eventually(lambda: calls_at_work(stack), within_seconds=20, what="the first call")
        assert refused(pack(), 409)["code"] == "idempotency_in_progress"
        kill_with_children(stack, "api")
        call.join(60)
        assert cut_off == [True]
        again = eventually(lambda: answered(pack()), within_seconds=30, what="the end of the first call's lease")
    job = stack.wait_for_job(accepted(again, 202)["job_id"], 60)
    assert (job["state"], job["result"]["archive_path"]) == ("done", "once.tar.gz")
    assert accepted(pack(), 202)["job_id"] == job["job_id"]
    names = [item["name"] for item in accepted(stack.api("GET", f"/volumes/{volume['volume_id']}/files"))["files"]]
    assert sorted(names) == ["a", "once.tar.gz"]


def calls_at_work(stack: Stack) -> list[str]:
    """Signs of life of calls under some key."""
    with redis.Redis(unix_socket_path=str(stack.data / "run/store.sock"), decode_responses=True) as store:
        found: list[str] = store.keys("lightd:idempotency_lease:*")
    return found


def answered(answer: requests.Response) -> requests.Response | None:
    """The answer, unless it says that the first call is still at work."""
    return None if answer.status_code == 409 else answer
