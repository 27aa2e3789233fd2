"""The store is emptied while a worker dies in the middle of a reinstall or a deletion, and copies are old."""

from __future__ import annotations

import pytest

from fleet.lifecycle import Action, State
from tests.worker.operations.conftest import NODE, site
from tests.worker.operations.test_crashes import Death
from tests.worker.operations.test_rebind_crashes import Reaper
from tests.worker.recovery.test_recovering import Emptied, emptied
from worker.operations.names import private_image, server_name
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
