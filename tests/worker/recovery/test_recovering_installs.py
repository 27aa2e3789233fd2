"""The store is emptied while a worker dies in the middle of a reinstall or a deletion, and copies are old."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fleet.lifecycle import Action, State
from tests.worker.operations.conftest import NODE, Site, site
from tests.worker.operations.test_crashes import Death
from tests.worker.operations.test_rebind_crashes import Reaper
from tests.worker.recovery.test_recovering import Emptied, emptied
from worker.operations.names import private_image, server_name
from worker.runtime.memory import MemoryRuntime
from worker.second_copy import SecondCopy

__all__ = ["emptied", "site"]

CALLS = ["image_id", "create", "start", "remove", "remove_image", "commit"]
SCRIPT = "#!/bin/sh\ntouch /opt/made"


@pytest.mark.parametrize("script", [None, SCRIPT])
@pytest.mark.parametrize("action", [Action.REINSTALL, Action.DELETE])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_comes_back_is_what_the_engine_has_wherever_a_worker_died(
    emptied: Emptied, monkeypatch: pytest.MonkeyPatch, action: Action, script: str | None, after: bool
) -> None:
    site, reaper = emptied.site, Reaper(monkeypatch, after, CALLS)
    number, died = 0, True
    while died:
        number += 1
        name = f"c{number}"
        site.install_behaves(name, layer_bytes=1)
        site.ready(name, install_script=script)
        SecondCopy(emptied.settings).keep(site.host.containers.of_node(NODE))
        job = site.ask(name, action)
        reaper.arm(number)
        try:
            site.run(job)
            died = False
        except Death:
            died = True
        reaper.armed = False
        site.redis.flushall()
        assert emptied.recover() == [], number
        has_server = site.runtime.inspect(server_name(name)) is not None
        if not site.host.containers.exists(name):  # an image without a record is for the agent to remove
            assert (action, has_server) == (Action.DELETE, False), number
            continue
        record, has_image = site.container(name), site.runtime.has_image(private_image(name))
        assert (record.state is State.READY) is has_server, number
        assert record.own_image is has_image, number
        if record.state is State.READY:
            assert site.run(site.ask(name, Action.START)).state == "done", number
    assert number > (4 if action is Action.REINSTALL and script else 1)


class Emptier:
    """Empties the store before or after the engine call of this number, once; the worker goes on."""

    def __init__(self, emptied: Emptied, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
        self.left, self._after, self._redis = 0, after, emptied.site.redis
        for name in CALLS:
            monkeypatch.setattr(MemoryRuntime, name, self._counted(getattr(MemoryRuntime, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self._after:
                self._redis.flushall()
            answer = call(*arguments)
            if self.left == 0 and self._after:
                self._redis.flushall()
            return answer

        return counted


@pytest.mark.parametrize("script", [None, SCRIPT])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_container_whose_first_install_had_begun_comes_back_wherever_that_was(
    emptied: Emptied, monkeypatch: pytest.MonkeyPatch, script: str | None, after: bool
) -> None:
    """The agent has not written it down yet, and the worker undoes what it has made."""
    site, emptier = emptied.site, Emptier(emptied, monkeypatch, after)
    number, was_emptied = 0, True
    while was_emptied:
        number += 1
        name = f"c{number}"
        site.install_behaves(name, layer_bytes=1)
        job = site.create(name, install_script=script)
        emptier.left = number
        site.runner.run(job.job_id)
        was_emptied = emptier.left <= 0
        emptier.left = 0
        if was_emptied:
            assert emptied.recover() == [], number
        record = site.container(name)
        assert (record.state is State.READY) is (site.runtime.inspect(server_name(name)) is not None), number
        assert record.own_image is site.runtime.has_image(private_image(name)), number
    assert number > (4 if script else 1)


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_reinstall_that_cannot_be_written_down_is_done_or_undone_all_the_same(site: Site, exit_code: int) -> None:
    """As on a full disk."""
    site.install_behaves("a")
    site.ready("a", install_script=SCRIPT)
    site.install_behaves("a", exit_code=exit_code)
    (site.host.settings.data / "containers" / ".records" / "a.noted").mkdir()
    job = site.run(site.ask("a", Action.REINSTALL))
    assert job.state == ("failed" if exit_code else "done")
    assert "Internal error" not in (job.error or "")
    assert (site.runtime.inspect(server_name("a")) is None) is bool(exit_code)
