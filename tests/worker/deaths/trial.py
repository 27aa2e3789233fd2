"""One container on a real engine, a job on it, and what is there when the job has ended."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from dataclasses import asdict, replace
from typing import Any

from fleet.lifecycle import ALIVE, Action, InstallState, State
from fleet.models import Container, Job, Limits, Port, PortWish, Spec, Volume
from fleet.repositories.jobs import new_job
from fleet.repositories.ports import PortRepository
from storage.volumes import Volumes, volume_path
from tests.agent.bench import Bench
from tests.support.deadline import eventually
from tests.support.images import BUSYBOX
from tests.support.ports import free_port
from tests.worker.deaths.mortal import Fate
from worker.console.ended_run import ended_run
from worker.operations.names import private_image, server_name
from worker.runtime.base import NEVER_RUN

_ADDRESS = "127.0.0.1"
_LIMITS = Limits(32 << 20, 0.5, 32)
_SCRIPT = "#!/bin/sh\nmkdir -p /opt\necho made > /opt/made\n"
_END_SECONDS = 15
_WORKERS = 6


class Trial:
    """A container of its own for one death; `close` removes all of it."""

    def __init__(self, bench: Bench, **spec: Any) -> None:
        self._bench = bench
        self.name = f"d{secrets.token_hex(4)}"
        self.died = False
        self.first, self.second = free_port(), free_port()
        self._pool = PortRepository(bench.stores.record)
        self._pool.add([Port(_ADDRESS, number, "tcp", "", "", False) for number in (self.first, self.second)])
        self._volume_id = str(uuid.uuid4())
        Volumes(bench.settings).create(self._volume_id, 16)
        path = str(volume_path(bench.settings, self._volume_id))
        now = int(time.time())
        bench.volumes.save(Volume(self._volume_id, bench.node, path, 16, "directory", "ready", now, now))
        self._spec = replace(Spec(BUSYBOX, "exec sleep 600", _LIMITS, install_script=_SCRIPT), **spec)

    def create(self) -> Job:
        """Ask for it, with its first port."""
        job = new_job(Action.INSTALL, self._bench.node, "long", internal_id=self.name)
        now = int(time.time())
        container = Container(
            self.name, self._bench.node, self._volume_id, self._spec, (), State.INSTALLING, InstallState.INSTALLING,
            None, job.job_id, now, now,
        )  # fmt: skip
        self._bench.containers.create(container, [self._wish(self.first)], job)
        return job

    def ready(self) -> None:
        """Have it installed."""
        assert self.work(self.create()).state == "done"

    def running(self) -> None:
        """Have it installed and started."""
        self.ready()
        assert self.work(self.ask(Action.START)).state == "done"

    def ask(self, action: Action) -> Job:
        """Ask for an action as the API does."""
        changes = {Action.DELETE: {"deleting": True}, Action.REINSTALL: {"next_spec": self._spec}}.get(action, {})
        return self._bench.begin(self.name, action, "agent" if action is Action.KILL else "quick", **changes)

    def work_once(self, job: Job) -> Job:
        """Give the job to a worker, which does its part."""
        return self._bench.run(job)

    def rebind(self) -> Job:
        """Ask for the second port."""
        job = new_job(Action.REBIND, self._bench.node, "quick", internal_id=self.name)
        wishes = [self._wish(self.second)]
        assert self._bench.containers.begin(self.record, Action.REBIND, job, wishes=wishes) == job.job_id
        return job

    def limit(self) -> Job:
        """Ask for another limit."""
        job = new_job("resources", self._bench.node, "quick", internal_id=self.name, arguments={"pids": 40})
        self._bench.containers.open_limits_job(job)
        return job

    def vanish(self) -> None:
        """Somebody removes it from the engine."""
        self._bench.runtime.remove(server_name(self.name))

    @property
    def record(self) -> Container:
        """Its record."""
        return self._bench.containers.get(self.name)

    def work(self, job: Job, die_after_step: int | None = None) -> Job:
        """Give the job to workers until it has ended, one of which dies; does the agent's part too."""
        self.died, fate = False, Fate(die_after_step)
        for _ in range(_WORKERS):
            self.died |= fate.meet(self._bench.settings, job.job_id)
            self._see_its_end(job)
            if not self._bench.jobs.get(job.job_id).is_open:
                break
        return self._bench.jobs.get(job.job_id)

    def _see_its_end(self, job: Job) -> None:
        """What the agent does: note the end of a run, which a job may wait for."""
        runtime = self._bench.runtime
        if self._bench.jobs.get(job.job_id).waits:
            what = f"the end of {self.name}"
            eventually(lambda: not self._runs(), within_seconds=_END_SECONDS, what=what)
        found = runtime.inspect(server_name(self.name))
        if found is None or found.running or not self._bench.containers.exists(self.name):
            return
        record = self.record
        if record.state in ALIVE and found.run > (record.ended_run or NEVER_RUN):
            run = ended_run(found, self._bench.containers.history.last_end(self.name))
            self._bench.containers.exited(self.name, self._bench.node, found.engine_id, run)

    def _runs(self) -> bool:
        found = self._bench.runtime.inspect(server_name(self.name))
        return found is not None and found.running

    def outcome(self, job: Job) -> str:
        """All that is there afterwards, without what is another one each time, as text."""
        ended = self._bench.jobs.get(job.job_id)
        told = {
            "job": [ended.state, ended.error],
            "record": self._shown_record(),
            "engine": [self._shown_engine(name) for name in self._engine_names()],
            "private image": self._bench.runtime.has_image(private_image(self.name)),
            "scripts": sorted(path.name for path in (self._bench.settings.data / "containers").glob(f"{self.name}/*")),
            "holders": [self._pool.get(_ADDRESS, port, "tcp").internal_id for port in (self.first, self.second)],
            "open jobs": self._bench.jobs.open_count(self._bench.node),
        }
        text = json.dumps(told, sort_keys=True, indent=1)
        for own, common in ((self.name, "NAME"), (str(self.first), "1111"), (str(self.second), "2222")):
            text = text.replace(own, common)
        return text

    def _shown_record(self) -> dict[str, Any] | None:
        if not self._bench.containers.exists(self.name):
            return None
        shown = asdict(self.record)
        found = self._bench.runtime.inspect(server_name(self.name))
        shown["container_id"] = found is not None and found.engine_id == shown["container_id"]
        shown["run"] = found is not None and found.run == shown["run"]
        for changing in ("job_id", "volume_id", "created_at", "updated_at", "ended_run", "revision"):
            shown.pop(changing, None)
        return shown

    def _engine_names(self) -> list[str]:
        every = self._bench.runtime.every(self._bench.node)
        return sorted(found.name for found in every if found.container_id == self.name)

    def _shown_engine(self, name: str) -> dict[str, Any]:
        found = self._bench.engine.api.inspect_container(name)
        config = found["HostConfig"]
        kept = (
            "PortBindings",
            "Memory",
            "PidsLimit",
            "NanoCpus",
            "CpuQuota",
            "CapDrop",
            "ReadonlyRootfs",
            "NetworkMode",
        )
        return {"name": name, "runs": found["State"]["Running"], "image": found["Config"]["Image"]} | {
            what: config.get(what) for what in kept
        }

    def _wish(self, number: int) -> PortWish:
        return PortWish("tcp", container_port=80, ip=_ADDRESS, port=number)

    def close(self) -> None:
        """Remove everything."""
        for name in self._engine_names():
            self._bench.runtime.remove(name)
        self._bench.runtime.remove_image(private_image(self.name))
        Volumes(self._bench.settings).delete(self._volume_id)
