"""The host's own copy of its records, while workers write down in it what they remove, and while the store is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.lifecycle import Action, State
from fleet.models import Container
from fleet.repositories.jobs import new_job
from fleet.repositories.nodes import NodeRepository
from fleet.settings import Settings
from tests.fleet.conftest import NODE, Record, record
from worker.agent.copying import Copying
from worker.known_store import KnownStore
from worker.second_copy import SecondCopy

__all__ = ["record"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, node=NODE)


@pytest.fixture
def known_store(record: Record, settings: Settings) -> KnownStore:
    store = KnownStore(NodeRepository(record.redis, 15), settings.data)
    store.accept()
    return store


@pytest.fixture
def copying(record: Record, settings: Settings, known_store: KnownStore) -> Copying:
    return Copying(settings, record.containers, known_store)


def read_then(record: Record, monkeypatch: pytest.MonkeyPatch, deed: Callable[[], None]) -> None:
    """Have something done once, right after the agent has read the records."""
    of_node, deeds = record.containers.of_node, [deed]

    def read(node: str) -> list[Container]:
        found = of_node(node)
        if deeds:
            deeds.pop()()
        return found

    monkeypatch.setattr(record.containers, "of_node", read)


def begin(record: Record, action: Action, **changes: bool) -> None:
    job = new_job(action, NODE, "quick", internal_id="a")
    record.containers.begin(record.containers.get("a"), action, job, **changes)


def test_a_deletion_that_began_after_the_records_were_read_leaves_no_copy(
    record: Record, copying: Copying, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.ready("a")
    copying.keep()

    def delete() -> None:
        begin(record, Action.DELETE, deleting=True)
        SecondCopy(settings).forget("a")

    read_then(record, monkeypatch, delete)
    copying.keep()
    assert list(SecondCopy(settings).read()) == []


def test_what_a_reinstall_wrote_down_after_the_records_were_read_stays(
    record: Record, copying: Copying, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.ready("a")

    def reinstall() -> None:
        begin(record, Action.REINSTALL)
        SecondCopy(settings).note(record.containers.get("a"))

    read_then(record, monkeypatch, reinstall)
    copying.keep()
    assert [copy.state for copy in SecondCopy(settings).read()] == [State.INSTALLING]


def test_a_store_that_is_recovered_while_it_is_read_takes_no_copy_with_it(
    record: Record, copying: Copying, settings: Settings, known_store: KnownStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.ready("a")
    copying.keep()
    record.redis.flushall()
    read_then(record, monkeypatch, known_store.accept)
    copying.keep()
    assert [copy.internal_id for copy in SecondCopy(settings).read()] == ["a"]


def test_a_draft_of_a_worker_that_died_goes_with_its_container(
    record: Record, copying: Copying, settings: Settings, tmp_path: Path
) -> None:
    record.ready("a")
    copying.keep()
    folder = tmp_path / "containers" / ".records"
    (folder / "a.noted").write_text("half of")
    SecondCopy(settings).forget("a")
    assert list(folder.iterdir()) == []
