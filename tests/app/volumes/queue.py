"""A long queue and its worker within the tests' process: jobs are begun as the API enqueues them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.console import Console
from fleet.models import Job
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.settings import Settings
from fleet.stats import StatsStore
from fleet.store import connect
from storage.volumes import Volumes
from worker.operations.host import Host
from worker.operations.run import Runner
from worker.runtime.memory import MemoryRuntime


@dataclass
class Queue:
    """`append` is what the API calls to enqueue; while `held`, jobs wait until `run` is called."""

    settings: Settings
    held: bool = False
    instead: Callable[[Job], None] | None = None
    threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stores = connect(self.settings)
        self.host = Host(
            settings=self.settings,
            containers=ContainerRepository(self.stores.record),
            jobs=JobRepository(self.stores.record, self.stores.blocking),
            console=Console(self.stores.stream_bytes),
            stats=StatsStore(self.stores.stream_bytes),
            runtime=MemoryRuntime(images=set(), networks=set()),
            volumes=Volumes(self.settings),
            relay=lambda *_: b"",
        )

    def append(self, job: Job) -> None:
        """Have a worker of its own take the job, or do `instead`."""
        if self.instead:
            self.instead(job)
        elif not self.held:
            self.run(job.job_id)

    def run(self, job_id: str) -> None:
        """Deliver a job, once more if need be."""
        thread = threading.Thread(target=Runner(self.host).run, args=(job_id,), daemon=True)
        thread.start()
        self.threads.append(thread)

    def close(self) -> None:
        """Wait for all that was begun."""
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()
        for client in (self.stores.record, self.stores.blocking, self.stores.stream, self.stores.stream_bytes):
            client.close()
            client.connection_pool.disconnect()
