"""A backup: what it holds, that it is whole, and where it may be restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.backup_file import Backup, read_backup, write_backup
from fleet.errors import Conflict, Invalid
from fleet.keys import key
from fleet.lifecycle import Action
from fleet.models import Port, PortWish
from fleet.repositories.backup import BackupRepository
from fleet.repositories.jobs import new_job
from fleet.repositories.nodes import NodeRepository
from fleet.repositories.tokens import TokenRepository
from tests.fleet.conftest import NODE, VOLUME, Record

MASTER = "lightd_0123456789abcdef"


@pytest.fixture
def filled(record: Record) -> Record:
    """A store with something of every kind."""
    record.ports.add([Port("10.0.0.1", 4000 + n, "udp", NODE, "", False) for n in range(3)])
    record.ready("a", PortWish("udp"))
    TokenRepository(record.redis).set_master(MASTER)
    NodeRepository(record.redis, 15).generation()
    return record


def saved(record: Record, path: Path) -> Backup:
    return write_backup(path, BackupRepository(record.redis).snapshot())


def test_everything_is_back_in_an_emptied_store(filled: Record, tmp_path: Path) -> None:
    tokens = TokenRepository(filled.redis)
    secret, issued = tokens.issue(3600, scopes=["read"], containers=["a"])
    container, ports, jobs = filled.containers.get("a"), filled.ports.page(), filled.jobs.of_container("a")
    history = filled.redis.xrange(key("history", "a"))
    saved(filled, tmp_path / "b")
    filled.redis.flushall()
    assert BackupRepository(filled.redis).restore(read_backup(tmp_path / "b"))

    assert filled.containers.get("a") == container
    assert (filled.ports.page(), filled.jobs.of_container("a")) == (ports, jobs)
    assert filled.ports.random_free("udp").ip == "10.0.0.1"
    assert filled.volumes.users(VOLUME) == ["a"]
    assert tokens.is_master(MASTER)
    principal = tokens.authenticate(secret)
    assert principal and principal.token == issued
    assert 0 < filled.redis.ttl(key("token_digest", issued.id)) <= 3600
    assert filled.redis.xrange(key("history", "a")) == history


def test_no_secret_of_a_token_is_in_it(filled: Record, tmp_path: Path) -> None:
    secret, _ = TokenRepository(filled.redis).issue(3600)
    saved(filled, tmp_path / "b")
    text = (tmp_path / "b").read_text()
    assert secret not in text and MASTER not in text
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


def test_the_store_has_another_id_afterwards_so_that_every_host_looks_first(filled: Record, tmp_path: Path) -> None:
    nodes = NodeRepository(filled.redis, 15)
    before = nodes.generation()
    saved(filled, tmp_path / "b")
    filled.redis.flushall()
    BackupRepository(filled.redis).restore(read_backup(tmp_path / "b"))
    assert nodes.generation() != before


def test_a_store_that_holds_something_is_left_alone(filled: Record, tmp_path: Path) -> None:
    saved(filled, tmp_path / "b")
    with pytest.raises(Conflict, match="not empty"):
        BackupRepository(filled.redis).restore(read_backup(tmp_path / "b"))


def test_a_new_store_with_a_host_and_a_token_counts_as_empty(filled: Record, tmp_path: Path) -> None:
    saved(filled, tmp_path / "b")
    filled.redis.flushall()
    TokenRepository(filled.redis).set_master(MASTER + "new")
    NodeRepository(filled.redis, 15).beat(NODE, "quick")
    assert BackupRepository(filled.redis).restore(read_backup(tmp_path / "b"))
    assert TokenRepository(filled.redis).is_master(MASTER), "the token of the backup is good again"


def test_restoring_again_changes_nothing(filled: Record, tmp_path: Path) -> None:
    saved(filled, tmp_path / "b")
    filled.redis.flushall()
    backups, content = BackupRepository(filled.redis), read_backup(tmp_path / "b")
    backups.restore(content)
    filled.ports.delete("10.0.0.1", filled.ports.random_free("udp").port, "udp")
    now = backups.snapshot()
    assert not backups.restore(content)
    assert backups.snapshot() == now


def test_a_job_that_was_open_has_failed_and_nobody_takes_it_up(filled: Record, tmp_path: Path) -> None:
    job = new_job(Action.START, NODE, "quick", internal_id="a")
    filled.containers.begin(filled.containers.get("a"), Action.START, job)
    saved(filled, tmp_path / "b")
    filled.redis.flushall()
    BackupRepository(filled.redis).restore(read_backup(tmp_path / "b"))
    found = filled.jobs.get(job.job_id)
    assert (found.state, found.error) == ("failed", "The store was restored from a backup meanwhile; ask again.")
    assert filled.jobs.unattended(NODE, -60) == []
    assert filled.redis.ttl(key("job", job.job_id)) > 0


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"something else", b'{"format": "other"}\n'])
def test_what_is_no_backup_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "b").write_bytes(damage)
    with pytest.raises(Invalid, match="no backup"):
        read_backup(tmp_path / "b")


def test_a_changed_byte_is_noticed(filled: Record, tmp_path: Path) -> None:
    saved(filled, tmp_path / "b")
    content = bytearray((tmp_path / "b").read_bytes())
    content[-10] ^= 1
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(Invalid, match="damaged"):
        read_backup(tmp_path / "b")


def test_a_backup_of_a_later_version_is_refused_by_its_number(filled: Record, tmp_path: Path) -> None:
    saved(filled, tmp_path / "b")
    text = (tmp_path / "b").read_text()
    (tmp_path / "b").write_text(text.replace('"version": 1', '"version": 2', 1))
    with pytest.raises(Invalid, match="version 2"):
        read_backup(tmp_path / "b")
