"""The agent as a whole: its parts, and the threads that keep them going."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fleet.console import Console
from fleet.models import Job
from fleet.orders import Orders
from fleet.repositories.containers import ContainerRepository
from fleet.repositories.jobs import JobRepository
from fleet.repositories.nodes import NodeRepository
from fleet.repositories.volumes import VolumeRepository
from fleet.settings import Settings
from fleet.stats import StatsStore
from fleet.store import Stores
from storage.volumes import Volumes
from worker.agent.alignment import Alignment
from worker.agent.consoles import Consoles
from worker.agent.copying import Copying
from worker.agent.disk_guard import DiskGuard
from worker.agent.duty import keep_doing
from worker.agent.events import EngineEvent, EngineEvents
from worker.agent.exits import Exits
from worker.agent.heartbeat import ANNOUNCE_SECONDS, BEAT_SECONDS, Heartbeat
from worker.agent.inbox import Inbox
from worker.agent.inputs import Inputs
from worker.agent.kills import Kills
from worker.agent.leftovers import Leftovers
from worker.agent.pruning import Pruning
from worker.agent.reconcile import Reconciler
from worker.agent.restarts import Restarts
from worker.agent.sampler import Sampler
from worker.agent.space import LOOK_SECONDS, Space
from worker.agent.starts import Starts
from worker.agent.store_watch import StoreWatch
from worker.agent.strays import Strays
from worker.agent.sweeper import Sweeper
from worker.agent.upkeep import UPKEEP_SECONDS, Upkeep
from worker.firewall import firewall_of
from worker.known_store import known_store_of
from worker.runtime.base import ROLE_SERVER, Runtime

_NETWORK_SECONDS = 20.0
_LEFTOVER_SECONDS = 2.0
_COPY_SECONDS = 10.0
_TERMINAL_SECONDS = 10.0
_RESTART_SECONDS = 0.5
_IMAGE_SECONDS = 300.0


class Agent:
    """Everything that a host does without being asked, and what cannot wait for a queue."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        runtime: Runtime,
        dispatch: Callable[[Job], None],
        beat: Callable[[str, str], None],
    ) -> None:
        node = settings.node
        self._settings = settings
        self._runtime = runtime
        self._containers = ContainerRepository(stores.record)
        jobs = JobRepository(stores.record, stores.blocking)
        nodes = NodeRepository(stores.record, settings.node_timeout_seconds)
        volumes = VolumeRepository(stores.record)
        orders = Orders(stores.record, stores.blocking)
        self._store = store = known_store_of(settings, runtime, self._containers, volumes, nodes)

        console = Console(stores.stream_bytes, settings.console_history_kb)
        self.consoles = Consoles(console, settings.console_lines_per_second)
        self.starts = Starts(self._containers)
        self.inputs = Inputs(settings, runtime, orders, self._containers)
        exits = Exits(node, self._containers, jobs, self.consoles, self.starts, self.inputs, dispatch)
        disks = Volumes(settings)
        self.disk_guard = DiskGuard(settings, self._containers, disks, self.consoles.followed)
        kills = Kills(settings, runtime, self._containers, jobs, exits)
        self.space = Space(self._containers, disks, self.consoles.followed, lambda: self.disk_guard.engaged, kills.end)
        self.sampler = Sampler(StatsStore(stores.stream_bytes), self.space.used_bytes)
        self._alignment = Alignment(
            settings, runtime, self._containers, jobs, self.consoles, self.starts, exits, self.sampler
        )
        strays = Strays(settings, runtime, self._containers, store)
        self.reconciler = Reconciler(settings, runtime, self._containers, self._alignment, strays, store)
        self.store_watch = StoreWatch(store, self.consoles, self._alignment, self.reconciler.ask)
        self.events = EngineEvents(settings.engine, node, self._react, self.reconciler.ask)
        self.inbox = Inbox(node, orders, kills, self.inputs, store)
        locks = settings.run_folder / "locks"
        self.sweeper = Sweeper(node, jobs, stores.record, dispatch, self.inbox.obey, locks, store)
        self.heartbeat = Heartbeat(settings, runtime, nodes, beat, store)
        self.copying = Copying(settings, self._containers, store)
        self.leftovers = Leftovers(node, volumes, disks, store)
        self.upkeep = Upkeep(node, volumes, disks, store)
        self.restarts = Restarts(node, runtime, self._containers, dispatch, store)
        self.firewall = firewall_of(settings)
        self.pruning = Pruning(settings, runtime, self._containers, store)

    def run(self, stop: threading.Event) -> None:
        """Do everything until `stop` is set; returns at once then, while threads may still end a last step."""
        duties: list[tuple[str, Callable[[], object], float]] = [
            ("consoles", lambda: self.consoles.run(stop), 0),
            ("start patterns", lambda: self.starts.run(stop), 0),
            ("orders", self.inbox.take_next, 0),
            ("engine events", self.events.read, 0),
            ("comparison", self.reconciler.wait_and_compare, 0),
            ("sweeper", self.sweeper.sweep, 1),
            ("store", self.store_watch.look, 1),
            ("restarts", self.restarts.start_due, _RESTART_SECONDS),
            ("heartbeat", self.heartbeat.announce, ANNOUNCE_SECONDS),
            ("queues", self.heartbeat.beat, BEAT_SECONDS),
            ("network", self.ensure_network, _NETWORK_SECONDS),
            ("second copy", self.copying.keep, _COPY_SECONDS),
            ("leftovers", self.leftovers.remove, _LEFTOVER_SECONDS),
            ("volumes", self.upkeep.look, UPKEEP_SECONDS),
            ("space", self.space.look, LOOK_SECONDS),
            ("stats", self.sampler.sample_next, 0),
            ("terminals", self.inputs.close_idle, _TERMINAL_SECONDS),
        ]
        if self._settings.image_prune_hours:
            duties.append(("images", self.pruning.prune, _IMAGE_SECONDS))
        if self._settings.volume_allocation == "sparse":
            duties.append(("host disk", lambda: self.disk_guard.run(stop), 0))
        for name, step, every_seconds in duties:
            arguments = (name, step, stop, every_seconds)
            threading.Thread(target=keep_doing, args=arguments, name=name, daemon=True).start()
        stop.wait()
        self.events.close()

    def ensure_network(self) -> None:
        """Have the containers' network and its firewall in place."""
        self._runtime.ensure_network(self._settings.network)
        if self._settings.firewall:
            self.firewall.ensure()

    def _react(self, event: EngineEvent) -> None:
        if event.role != ROLE_SERVER:
            return
        if event.action == "destroy":
            self.consoles.end(event.engine_id)
            self.starts.forget(event.engine_id)
        elif self._store.is_known():
            self._alignment.look(event.container_id, event.engine_id)
