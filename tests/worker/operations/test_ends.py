"""The end of each run is kept once, with its cause; the history tells what happened to a container, and who asked."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import pytest
import structlog

from fleet.keys import key
from fleet.lifecycle import Action, State
from fleet.models import PortWish
from fleet.repositories.history import Happening
from fleet.runs import Run, RunEnd
from tests.worker.operations.conftest import GAME_PORT, NODE, Site
from worker.operations.names import server_name


def end(site: Site, name: str, exit_code: int | None, *, ran_seconds: float = 2, **more: Any) -> bool:
    """Have the record's run end as told; whether that was news."""
    container = site.container(name)
    assert container.run and container.container_id
    site.runtime.signal(server_name(name), "SIGKILL")
    ended = f"{int(container.run) + int(ran_seconds * 1e9):020d}"
    run = Run(container.run, exit_code, ended=ended, **more)
    return site.host.containers.exited(name, NODE, container.container_id, run)[0]


def last_end(site: Site, name: str) -> RunEnd:
    found = site.host.containers.history.last_end(name)
    assert found is not None
    return found


def happened(site: Site, name: str) -> list[Happening]:
    """Oldest first."""
    return site.host.containers.history.page(name, limit=1000)[0][::-1]


def events(site: Site, name: str) -> list[str]:
    return [found.event for found in happened(site, name)]


def test_everything_that_is_known_about_an_end_is_kept(site: Site) -> None:
    run = site.running("a").run
    assert run is not None
    end(site, "a", 139, ran_seconds=12.5, output="out of luck\n")
    found = last_end(site, "a")
    assert found.recorded_at <= time.time() + 1
    assert found == RunEnd(
        started_at=round(int(run) / 1e9, 3),
        ended_at=round(int(run) / 1e9 + 12.5, 3),
        ran_seconds=12.5,
        cause="crash",
        recorded_at=found.recorded_at,
        exit_code=139,
        signal="SIGSEGV",
        output="out of luck\n",
    )


def test_an_end_that_is_reported_again_and_again_is_kept_once(site: Site) -> None:
    site.running("a", restart_policy="always")
    container = site.container("a")
    assert end(site, "a", 3)
    assert not end(site, "a", 3)
    assert container.run and container.container_id
    assert not site.host.containers.exited("a", NODE, container.container_id, Run(container.run))[0]
    assert len(site.host.containers.history.ends("a")) == 1
    assert events(site, "a").count("crash") == 1
    assert events(site, "a").count("restart_due") == 1


@pytest.mark.parametrize(
    ("exit_code", "facts", "cause", "signal"),
    [
        (0, {}, "end", None),
        (3, {}, "crash", None),
        (137, {"oom_killed": True}, "limit", "SIGKILL"),
        (255, {}, "crash", None),
        (None, {}, "unknown", None),
    ],
)
def test_an_end_that_nobody_asked_for_has_its_cause(
    site: Site, exit_code: int | None, facts: dict[str, Any], cause: str, signal: str | None
) -> None:
    site.running("a")
    end(site, "a", exit_code, **facts)
    assert (last_end(site, "a").cause, last_end(site, "a").signal) == (cause, signal)


@pytest.mark.parametrize("action", [Action.STOP, Action.RESTART, Action.KILL, Action.DELETE])
def test_an_end_that_was_asked_for_names_the_action(site: Site, action: Action) -> None:
    site.running("a", restart_policy="always")
    site.ask("a", action)
    end(site, "a", 137)
    assert last_end(site, "a").cause == action
    assert "crash" not in events(site, "a")
    assert site.container("a").restart_at is None


def test_a_kill_of_a_rebinding_is_not_followed_by_a_start(site: Site) -> None:
    site.running("a", restart_policy="always")
    site.rebind("a", GAME_PORT)
    site.ask("a", Action.KILL)
    end(site, "a", 137)
    assert last_end(site, "a").cause == "kill"
    assert site.container("a").restart_at is None


def test_a_process_that_a_restart_has_begun_may_crash(site: Site) -> None:
    site.ready("a")
    site.run(site.ask("a", Action.RESTART))
    end(site, "a", 1)
    assert last_end(site, "a").cause == "crash"


def test_a_process_that_ends_before_its_start_is_written_has_crashed(site: Site) -> None:
    site.ready("a")
    site.ask("a", Action.START)
    site.process_behaves("a", seconds=0, exit_code=7)
    site.runtime.start(server_name("a"))
    site.see_exit("a")
    assert (last_end(site, "a").cause, last_end(site, "a").exit_code) == ("crash", 7)


def test_a_process_that_was_only_presumed_leaves_no_end(site: Site) -> None:
    container = site.running("a")
    assert container.container_id
    site.host.containers.exited("a", NODE, container.container_id, Run(f"{time.time_ns():020d}", presumed=True))
    assert site.host.containers.history.ends("a") == []
    assert site.container("a").state is State.READY


def test_the_last_twenty_ends_are_kept_newest_first(site: Site) -> None:
    site.ready("a")
    for code in range(1, 25):
        site.run(site.ask("a", Action.START))
        end(site, "a", code)
    assert [found.exit_code for found in site.host.containers.history.ends("a")] == list(range(24, 4, -1))


def test_watchers_are_told_how_it_crashed_and_what_comes_next(site: Site) -> None:
    site.running("a")
    end(site, "a", 137, ran_seconds=75, oom_killed=True)
    assert site.told("a")[-3:] == [
        "Container crashed (exit code 137, SIGKILL, out of memory) after 75 s; it is not started again by itself.",
        "exit",
        "Container stopped",
    ]
    site.running("b", restart_policy="on-crash", restart_tries=2)
    end(site, "b", 1)
    assert site.told("b")[-3] == "Container crashed (exit code 1) after 2.0 s; it starts again in 1 s (try 1 of 2)."
    site.running("c", restart_policy="always")
    end(site, "c", 0)
    assert site.told("c")[-3] == "Container ended; it starts again in 1 s (try 1)."
    site.running("d")
    end(site, "d", 0)
    assert not [text for text in site.told("d") if "ended" in text or "crashed" in text]


def test_a_life_is_told_in_order(site: Site) -> None:
    with structlog.contextvars.bound_contextvars(asked_by="token-7", request_id="r-1"):
        site.ready("a", GAME_PORT)
        start = site.ask("a", Action.START)
    site.run(start)
    end(site, "a", 4, output="not in the history\n")
    assert events(site, "a") == [
        "state", "ports", "job_asked", "state", "job_ended",
        "job_asked", "state", "state", "job_ended",
        "crash", "state",
    ]  # fmt: skip
    found = happened(site, "a")
    assert found[0].data == {"to": "installing"}
    assert found[1].data == {"ports": [{"ip": "0.0.0.0", "port": 25565, "protocol": "tcp", "container_port": 25565}]}
    asked = {"job_id": start.job_id, "kind": "start", "asked_by": "token-7", "request_id": "r-1"}
    assert found[5].data == asked
    assert found[6].data == {"from": "ready", "to": "starting"}
    assert found[8].data == {"job_id": start.job_id, "kind": "start", "state": "done"}
    assert found[9].data["exit_code"] == 4 and "output" not in found[9].data
    assert all(before.at <= after.at for before, after in pairwise(found))
    assert abs(found[-1].at - time.time()) < 60


def test_a_failed_install_gives_its_reason_and_its_ports_back(site: Site) -> None:
    site.install_behaves("a", exit_code=1)
    site.run(site.create("a", GAME_PORT, install_script="false"))
    assert events(site, "a")[-3:] == ["ports", "state", "job_ended"]
    ports, state, ended = happened(site, "a")[-3:]
    assert ports.data == {"ports": []}
    assert state.data == {"from": "installing", "to": "failed"}
    assert ended.data["state"] == "failed" and "exit code 1" in ended.data["error"]


def test_a_history_can_be_read_in_pages(site: Site) -> None:
    site.ready("a", PortWish("tcp", container_port=80))
    whole = happened(site, "a")[::-1]
    first, after = site.host.containers.history.page("a", limit=2)
    assert after is not None
    rest, end_of_it = site.host.containers.history.page("a", after, limit=100)
    assert first + rest == whole and len(first) == 2
    assert end_of_it is None
    assert site.host.containers.history.page("a", "nonsense") == ([], None)


def test_a_history_is_capped(site: Site) -> None:
    site.ready("a")
    with site.redis.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.xadd(key("history", "a"), {"event": "x", "data": json.dumps({"number": number})})
        pipe.execute()
    site.run(site.ask("a", Action.START))
    assert site.redis.xlen(key("history", "a")) < 700


def test_nothing_of_it_outlives_the_container(site: Site) -> None:
    site.running("a", restart_policy="always")
    end(site, "a", 1)
    assert site.redis.zcard(key("restarts", NODE)) == 1
    assert site.run(site.ask("a", Action.DELETE)).state == "done"
    assert site.redis.zcard(key("restarts", NODE)) == 0
    assert not [name for name in site.redis.keys("*") if name.endswith(":a")]
