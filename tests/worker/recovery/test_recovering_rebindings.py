"""The store is emptied while a worker dies in the middle of a rebinding: which ports the container has then."""

from __future__ import annotations

import pytest

from fleet.lifecycle import ALIVE, Action
from fleet.models import Port, PortWish
from fleet.repositories.ports import PortRepository
from tests.worker.operations.conftest import GAME_PORT, NODE, site
from tests.worker.operations.rebinding import NEW_PORT, in_engine, plans, run_through
from tests.worker.operations.test_crashes import Death
from tests.worker.operations.test_rebind_crashes import Reaper
from tests.worker.recovery.test_recovering import Emptied, emptied
from worker.runtime.base import ContainerPlan
from worker.second_copy import SecondCopy

__all__ = ["emptied", "plans", "site"]


def dies(emptied: Emptied, wish: PortWish) -> bool:
    """Ask for other ports; answers whether the worker died over them."""
    try:
        run_through(emptied.site, emptied.site.rebind("a", wish))
    except Death:
        return True
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_ports_come_back_as_the_engine_has_them_wherever_a_rebinding_died(
    emptied: Emptied, plans: dict[str, ContainerPlan], monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    site, reaper = emptied.site, Reaper(monkeypatch, after)
    site.running("a", GAME_PORT)
    number, died = 0, True
    while died:
        number += 1
        if site.container("a").state not in ALIVE:
            site.run(site.ask("a", Action.START))
        (bound,) = site.container("a").ports
        wish = NEW_PORT if bound.port == GAME_PORT.port else GAME_PORT
        PortRepository(site.redis).add([Port("0.0.0.0", wish.port or 0, "tcp", "", "", False)])
        reaper.arm(number)
        died = dies(emptied, wish)
        reaper.armed = False
        SecondCopy(emptied.settings).keep(site.host.containers.of_node(NODE))
        site.redis.flushall()
        assert emptied.recover() == [], number
        record, found = site.container("a"), in_engine(site)
        assert record.ports == plans[found.engine_id].ports, number
        assert record.container_id == found.engine_id
        assert (record.state in ALIVE) is found.running
    assert number > 10
