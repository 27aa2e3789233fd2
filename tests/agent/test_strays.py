"""What the agent removes from the engine, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.models import Limits
from fleet.repositories.nodes import NodeRepository
from fleet.settings import Settings
from tests.fleet.conftest import NODE, Record, record
from worker.agent.strays import Strays
from worker.known_store import KnownStore
from worker.runtime.base import LABEL_DATA, LABEL_ID, LABEL_NODE, ContainerPlan
from worker.runtime.memory import MemoryRuntime

__all__ = ["record"]


@pytest.mark.parametrize(("data", "is_removed"), [("own", True), ("other", False)])
def test_only_containers_of_this_data_folder_are_strays(
    record: Record, tmp_path: Path, data: str, is_removed: bool
) -> None:
    runtime = MemoryRuntime()
    runtime.images.add("image")
    runtime.ensure_network("n")
    labels = {LABEL_ID: "a", LABEL_NODE: NODE, LABEL_DATA: str(tmp_path / data)}
    limits = Limits(1 << 29, 1.0, 100)
    plan = ContainerPlan("lightd-a", "image", (), "0:0", tmp_path, tmp_path, "n", limits, 1, 1, labels=labels)
    runtime.start(runtime.create(plan))

    store = KnownStore(NodeRepository(record.redis, 15), tmp_path / "own")
    store.accept()
    strays = Strays(Settings(data=tmp_path / "own", node=NODE), runtime, record.containers, store)
    strays.remove(runtime.every(NODE))

    assert (runtime.inspect("lightd-a") is None) is is_removed
