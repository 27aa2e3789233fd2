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
from worker.operations.locks import container_lock
from worker.operations.names import private_image, server_name
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


@pytest.fixture
def left(record: Record, tmp_path: Path) -> tuple[Strays, MemoryRuntime, Settings]:
    """A host that was away while its container `a` was deleted by force: server, private image, scripts."""
    settings = Settings(data=tmp_path / "own", node=NODE)
    runtime = MemoryRuntime(images={"image"}, networks={"n"})
    labels = {LABEL_ID: "a", LABEL_NODE: NODE, LABEL_DATA: str(settings.data)}
    limits = Limits(1 << 29, 1.0, 100)
    plan = ContainerPlan(server_name("a"), "image", (), "0:0", tmp_path, tmp_path, "n", limits, 1, 1, labels=labels)
    runtime.commit(runtime.create(plan), private_image("a"))
    folder = settings.data / "containers" / "a"
    folder.mkdir(parents=True)
    (folder / "entrypoint.sh").write_text("")
    store = KnownStore(NodeRepository(record.redis, 15), settings.data)
    store.accept()
    record.ready("a")
    return Strays(settings, runtime, record.containers, store), runtime, settings


def is_left(runtime: MemoryRuntime, settings: Settings) -> list[bool]:
    """Whether there are its server, its private image and its scripts."""
    scripts = settings.data / "containers" / "a"
    return [runtime.inspect(server_name("a")) is not None, runtime.has_image(private_image("a")), scripts.exists()]


def test_all_that_a_deleted_container_left_goes_when_its_host_returns(
    record: Record, left: tuple[Strays, MemoryRuntime, Settings]
) -> None:
    strays, runtime, settings = left
    strays.remove(runtime.every(NODE))
    assert is_left(runtime, settings) == [True, True, True], "it has a record"
    record.containers.forget("a")
    strays.remove(runtime.every(NODE))
    assert is_left(runtime, settings) == [False, False, False]


def test_nothing_is_taken_from_whoever_is_at_work_on_a_new_container_of_the_name(
    record: Record, left: tuple[Strays, MemoryRuntime, Settings]
) -> None:
    strays, runtime, settings = left
    record.containers.forget("a")
    with container_lock(settings, "a", "install of the next"):
        strays.remove(runtime.every(NODE))
    assert is_left(runtime, settings) == [False, True, True]


def test_in_an_emptied_store_nothing_is_left_over(record: Record, left: tuple[Strays, MemoryRuntime, Settings]) -> None:
    strays, runtime, settings = left
    record.redis.flushall()
    strays.remove(runtime.every(NODE))
    assert is_left(runtime, settings) == [True, True, True]


@pytest.mark.parametrize("find", ["among", "images", "folders"])
def test_a_store_that_is_recovered_while_it_is_looked_at_makes_nothing_a_stray(
    record: Record, left: tuple[Strays, MemoryRuntime, Settings], monkeypatch: pytest.MonkeyPatch, find: str
) -> None:
    strays, runtime, settings = left

    def names() -> list[str]:
        """Read before a recovery that has ended when they are used."""
        KnownStore(NodeRepository(record.redis, 15), settings.data).accept()
        return []

    record.redis.flushall()
    monkeypatch.setattr(record.containers, "names", names)
    assert not (strays.among(runtime.every(NODE)) if find == "among" else getattr(strays, find)())
