"""A worker dies at every single call of the engine, before and after it; the job is taken up and ends as it should."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fleet.errors import LightdError
from fleet.lifecycle import ALIVE, Action, State
from fleet.models import Job, PortWish
from tests.worker.operations.conftest import GAME_PORT, Site
from tests.worker.operations.rebinding import (
    NEW_PORT,
    assert_bound,
    holder,
    in_engine,
    more_ports,
    occupy,
    plans,
)
from tests.worker.operations.test_crashes import Death
from worker.operations.names import server_name
from worker.runtime.base import ContainerPlan
from worker.runtime.memory import MemoryRuntime

__all__ = ["more_ports", "plans"]

CALLS = ["inspect", "image_id", "create", "start", "signal", "wait", "remove", "rename"]
ATTEMPTS = 6


class Reaper:
    """Ends the worker at the engine call of this number, once; counts all calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: bool, of: Sequence[str] = CALLS) -> None:
        self.number, self.calls, self.armed, self._after = 0, 0, False, after
        for name in of:
            monkeypatch.setattr(MemoryRuntime, name, self._deadly(getattr(MemoryRuntime, name)))

    def arm(self, number: int) -> None:
        """Let the call of this number be the worker's last."""
        self.number, self.calls, self.armed = number, 0, True

    def _deadly(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if not self.armed:
                return real(*arguments)
            self.calls += 1
            if self.calls != self.number:
                return real(*arguments)
            self.armed = False
            if self._after:
                with contextlib.suppress(LightdError):  # the worker does not hear of it any more
                    real(*arguments)
            raise Death

        return call


def drive(site: Site, job: Job, reaper: Reaper, agent_is_quick: bool) -> bool:
    """Give the job to workers until it ends, as sweeper and agent do; answers whether one of them died."""
    died = False
    for _ in range(ATTEMPTS):
        try:
            site.runner.run(job.job_id)
        except Death:
            died = True
        was_armed, reaper.armed = reaper.armed, False
        seen, record = site.runtime.inspect(server_name("a")), site.container("a")
        if site.job(job).waits and seen and seen.running:
            site.runtime.signal(seen.engine_id, "SIGKILL")
            seen = site.runtime.inspect(server_name("a"))
        ended = seen and not seen.running and record.state in ALIVE and seen.run > (record.ended_run or "")
        if ended and (agent_is_quick or site.job(job).waits):
            site.see_exit("a")
        reaper.armed = was_armed
        if not site.job(job).is_open:
            return died
    pytest.fail(f"the job does not end: {site.job(job)}")


@pytest.mark.parametrize("agent_is_quick", [True, False], ids=["agent sees the end at once", "agent is slow"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("runs", [False, True], ids=["stopped", "running"])
def test_a_rebinding_goes_on_wherever_its_worker_died(
    site: Site,
    plans: dict[str, ContainerPlan],
    monkeypatch: pytest.MonkeyPatch,
    runs: bool,
    after: bool,
    agent_is_quick: bool,
) -> None:
    (site.running if runs else site.ready)("a", GAME_PORT)
    reaper = Reaper(monkeypatch, after)
    wishes = [(NEW_PORT, 25600, 25565), (GAME_PORT, 25565, 25600)]
    number, died = 0, True
    while died:
        wish, now, free = wishes[number % 2]
        number += 1
        job = site.rebind("a", wish)
        reaper.arm(number)
        died = drive(site, job, reaper, agent_is_quick)
        reaper.armed = False
        assert site.job(job).state == "done", (number, site.job(job))
        assert_bound(site, plans, now, free)
        assert site.container("a").state is (State.RUNNING if runs else State.READY), number
        assert in_engine(site).running is runs, number
    assert number > (15 if runs else 10)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_rebinding_that_the_engine_refuses_is_undone_wherever_its_worker_died(
    site: Site, plans: dict[str, ContainerPlan], monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    site.running("a", GAME_PORT)
    reaper = Reaper(monkeypatch, after)
    number, died = 0, True
    while died:
        number += 1
        job = site.run(site.rebind("a", NEW_PORT))
        assert job.waits
        occupy(site, plans, 25600)
        site.runtime.signal(in_engine(site).engine_id, "SIGTERM")
        site.see_exit("a")
        reaper.arm(number)
        died = drive(site, job, reaper, agent_is_quick=True)
        reaper.armed = False
        ended = site.job(job)
        assert (ended.state, ended.error) == ("failed", "Port 0.0.0.0:25600 is in use by something else on the host.")
        assert_bound(site, plans, 25565, 25600)
        assert in_engine(site).running and site.container("a").state is State.RUNNING, number
        site.runtime.remove("stranger")
    assert number > 15


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_container_whose_rebinding_died_can_be_deleted_whole(
    site: Site, plans: dict[str, ContainerPlan], monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    reaper = Reaper(monkeypatch, after)
    number, died = 0, True
    while died:
        number += 1
        site.ready("a", GAME_PORT)
        job = site.rebind("a", NEW_PORT, PortWish("tcp", container_port=1))
        reaper.arm(number)
        try:
            site.runner.run(job.job_id)
            died = False
        except Death:
            died = True
        reaper.armed = False
        assert site.run(site.ask("a", Action.DELETE)).state == "done"
        assert site.runtime.every("n1") == []
        assert [holder(site, port) for port in (25565, 25600, 25601)] == ["", "", ""]
    assert number > 10
