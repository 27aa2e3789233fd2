"""A job's way through its host's queue, with a real broker and a real worker process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.errors import Unavailable
from fleet.keys import key
from fleet.repositories.jobs import JobRepository, new_job
from fleet.settings import Settings
from tests.support.deadline import eventually
from tests.support.own_store import OwnStore
from worker.tasks.broker import broker_url, create_celery, queue_name
from worker.tasks.dispatch import Dispatcher

CHECKOUT = Path(__file__).parents[3]
NODE = "n1"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[OwnStore]:
    """The store that holds the queues; it keeps them while it is ended."""
    broker = OwnStore(tmp_path / "store", durable=True)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def dispatcher(broker: OwnStore) -> Iterator[Dispatcher]:
    app = create_celery(Settings(redis_url=broker.url, node=NODE))
    yield Dispatcher(app)
    app.close()


@pytest.fixture
def worker(broker: OwnStore, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process for the quick queue, as `./lightd up` starts it."""
    environment = {**os.environ, "LIGHTD_REDIS_URL": broker.url, "LIGHTD_NODE": NODE, "LIGHTD_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--pool", "threads", "-c", "2"]
    queue = ["-Q", queue_name(NODE, "quick"), "--without-gossip", "--without-mingle", "--without-heartbeat"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen([*command, *queue], cwd=CHECKOUT, env=environment, stdout=log, stderr=log)
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    print((tmp_path / "worker.log").read_text())


def test_addresses_of_stores_are_spelled_as_the_broker_wants_them() -> None:
    assert broker_url("unix:///run/store.sock") == "redis+socket:///run/store.sock"
    assert broker_url("unix:///run/store.sock?db=2") == "redis+socket:///run/store.sock?virtual_host=2"
    assert broker_url("valkey://h:1/0") == "redis://h:1/0"
    assert broker_url("valkeys://h:1/0") == "rediss://h:1/0"
    assert broker_url("redis://:secret@h:1/0") == "redis://:secret@h:1/0"


def test_a_job_goes_to_the_queue_of_its_host(broker: OwnStore, dispatcher: Dispatcher) -> None:
    job = new_job("start", NODE, "quick", internal_id="a")
    dispatcher.dispatch(job)
    assert broker.client.llen("node.n1.quick") == 1
    assert broker.client.keys("*") == ["node.n1.quick"]


def test_a_job_of_the_agent_needs_no_queue(broker: OwnStore, dispatcher: Dispatcher) -> None:
    dispatcher.dispatch(new_job("kill", NODE, "agent", internal_id="a"))
    assert broker.client.keys("*") == []


def test_without_a_broker_dispatching_fails_at_once_and_works_again_later(
    broker: OwnStore, dispatcher: Dispatcher
) -> None:
    job = new_job("start", NODE, "quick", internal_id="a")
    dispatcher.dispatch(job)
    broker.stop()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        dispatcher.dispatch(job)
    assert time.monotonic() - began < 20
    broker.start()
    dispatcher.dispatch(job)
    assert broker.client.llen("node.n1.quick") == 2


def test_api_processes_do_not_load_the_engine_client() -> None:
    code = "import sys, celery_app; print([m for m in ('docker', 'worker.operations', 'storage') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_worker_proves_that_it_consumes_and_finds_a_restarted_broker_within_five_seconds(
    broker: OwnStore, dispatcher: Dispatcher, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    beat = key("beat", NODE, "quick")
    dispatcher.beat(NODE, "quick")
    eventually(lambda: broker.client.exists(beat), within_seconds=20, what="a consumed beat")
    broker.stop()
    eventually(
        lambda: (tmp_path / "worker.log").read_text().count("Cannot connect") >= 5,
        within_seconds=20,
        what="an outage",
    )
    broker.start()
    broker.client.delete(beat)
    dispatcher.beat(NODE, "quick")
    eventually(lambda: broker.client.exists(beat), within_seconds=5, what="a beat after the restart")
    assert worker.poll() is None


@pytest.mark.slow
def test_a_worker_ends_quietly_what_it_cannot_do(
    broker: OwnStore, dispatcher: Dispatcher, worker: subprocess.Popen[bytes]
) -> None:
    job = new_job("start", NODE, "quick", internal_id="nobody")
    with broker.client as client:
        client.hset(key("job", job.job_id), mapping={"job_id": job.job_id, "kind": "start", "node": NODE})
        client.hset(
            key("job", job.job_id), mapping={"queue": "quick", "state": "queued", "created_at": 1, "attempt": 0}
        )
        client.hset(key("job", job.job_id), "internal_id", "nobody")
    dispatcher.dispatch(job)
    dispatcher.dispatch(new_job("start", NODE, "quick", internal_id="unknown"))
    jobs = JobRepository(broker.client, broker.client)
    eventually(lambda: not jobs.get(job.job_id).is_open, within_seconds=20, what="the job's end")
    assert worker.poll() is None
