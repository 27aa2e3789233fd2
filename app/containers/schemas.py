"""Containers as JSON."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, post_load, validate

from app.containers.fields import ConsoleLine, ImageName, InternalId, MountMap, Pattern, SignalName
from app.containers.ports import WantedPort, require_distinct
from app.containers.restart_policy import RestartPolicy, RestartPolicyObject
from app.fields import Real, Text, TextMap, Whole
from app.paging import PageQuery
from fleet.lifecycle import InstallState, State

SMALLEST_MEMORY_BYTES = 6 * 1024 * 1024
"""What the engine takes at least."""

_LARGEST_BYTES = 2**50
_MOST_PIDS = 4_194_304
_LONGEST_STARTUP_BYTES = 32 * 1024
_LONGEST_SCRIPT_BYTES = 1024 * 1024
_LONGEST_ENV_BYTES = 64 * 1024
_LONGEST_INSTALL_SECONDS = 24 * 3600
_MOST_PORTS = 256
_SECONDS = {"description": "In seconds."}
_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_LABEL_NAME = r"(?!lightd\.)[A-Za-z0-9][A-Za-z0-9_./-]{0,127}"


class Limits(Schema):
    """What a container may use. What is left out is a setting of the operator."""

    memory = Whole(low=SMALLEST_MEMORY_BYTES, high=_LARGEST_BYTES, metadata={"description": "In bytes."})
    cpu = Real(low=0.01, high=4096, metadata={"description": "In cores; fractions are allowed."})
    swap = Whole(low=0, high=_LARGEST_BYTES, metadata={"description": "In bytes, beside the memory."})
    pids = Whole(low=1, high=_MOST_PIDS, metadata={"description": "Processes and threads."})
    io_weight = Whole(low=10, high=1000, allow_none=True)


class NewContainer(Schema):
    """What a client asks a container to be."""

    internal_id = InternalId(required=True)
    image = ImageName(required=True)
    volume_id = Text(required=True)
    startup_command = Text(required=True, max_bytes=_LONGEST_STARTUP_BYTES, empty=False)
    start_pattern = Pattern(load_default=None, max_bytes=4000)
    ports = fields.List(
        fields.Nested(WantedPort), load_default=list, validate=[validate.Length(max=_MOST_PORTS), require_distinct]
    )
    limits = fields.Nested(Limits, load_default=dict)
    mount = MountMap(load_default=dict)
    install_script = Text(load_default=None, allow_none=True, max_bytes=_LONGEST_SCRIPT_BYTES)
    install_timeout = Whole(
        low=1, high=_LONGEST_INSTALL_SECONDS, load_default=None, metadata={"description": "Seconds."}
    )
    env = TextMap(names=_ENV_NAME, max_entries=1000, max_bytes=_LONGEST_ENV_BYTES, load_default=dict)
    stop_command = ConsoleLine(load_default=None, max_bytes=8000)
    stop_signal = SignalName(load_default="SIGTERM")
    stop_timeout = Whole(low=0, high=3600, load_default=None, metadata={"description": "Seconds until SIGKILL."})
    pull_policy = fields.String(load_default="if-missing", validate=validate.OneOf(["if-missing", "always"]))
    labels = TextMap(names=_LABEL_NAME, max_entries=64, max_bytes=1000, load_default=dict)
    restart_policy = RestartPolicy(load_default=lambda: {"policy": "no", "max_tries": None})

    @post_load
    def _no_empty_script(self, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**values, "install_script": values["install_script"] or None}


class Reinstall(Schema):
    """What is new at a reinstall; what is left out stays."""

    image = ImageName()
    install_script = Text(allow_none=True, max_bytes=_LONGEST_SCRIPT_BYTES)

    @post_load
    def _no_empty_script(self, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**values, "install_script": values["install_script"] or None} if "install_script" in values else values


class Rebinding(Schema):
    """The ports that a container has from now on, instead of those it had."""

    ports = fields.List(
        fields.Nested(WantedPort), required=True, validate=[validate.Length(max=_MOST_PORTS), require_distinct]
    )


class Changes(Schema):
    """What is new; what is left out stays, and null is what it is when nobody says anything."""

    startup_command = Text(max_bytes=_LONGEST_STARTUP_BYTES, empty=False)
    start_pattern = Pattern(allow_none=True, max_bytes=4000)
    env = TextMap(names=_ENV_NAME, max_entries=1000, max_bytes=_LONGEST_ENV_BYTES, allow_none=True)
    labels = TextMap(names=_LABEL_NAME, max_entries=64, max_bytes=1000, allow_none=True)
    stop_command = ConsoleLine(allow_none=True, max_bytes=8000)
    stop_signal = SignalName(allow_none=True)
    stop_timeout = Whole(low=0, high=3600, allow_none=True, metadata={"description": "Seconds until SIGKILL."})
    install_timeout = Whole(low=1, high=_LONGEST_INSTALL_SECONDS, allow_none=True, metadata=_SECONDS)
    pull_policy = fields.String(allow_none=True, validate=validate.OneOf(["if-missing", "always"]))
    restart_policy = RestartPolicy(allow_none=True)


class Command(Schema):
    """One line for a container's terminal."""

    command = Text(required=True, max_bytes=8000)


class ContainerQuery(PageQuery):
    """Which containers to list."""

    state = fields.String(load_default=None, validate=validate.OneOf([state.value for state in State]))
    node = fields.String(load_default=None)
    label = fields.String(load_default=None, metadata={"description": "`name` or `name=value`."})


class LogsQuery(Schema):
    """Which part of the output."""

    lines = fields.Integer(load_default=100, validate=validate.Range(0, 10_000))
    since = fields.Integer(
        load_default=None,
        validate=validate.Range(0, 2**53),
        metadata={"description": "A `seq` of the WebSocket: all output after it, as far as history reaches."},
    )
    install = fields.Boolean(load_default=False, metadata={"description": "The last install's output instead."})


class StatsQuery(Schema):
    """Whether to tell of the past too."""

    minutes = fields.Integer(
        load_default=None,
        validate=validate.Range(1, 1440),
        metadata={"description": "A series of so many minutes: a point a second up to 10, else a point a minute."},
    )


class StatsSeries(Schema):
    """What a container used over time: lists of equal length, oldest first; nothing where it did not run."""

    step = fields.Integer(metadata={"description": "Seconds from point to point."})
    at = fields.List(fields.Integer(), metadata={"description": "Unix seconds at which each step began."})
    cpu_usage = fields.List(fields.Float())
    memory_usage = fields.List(fields.Integer())
    network_rx_per_second = fields.List(fields.Integer(), metadata={"description": "Bytes."})
    network_tx_per_second = fields.List(fields.Integer())
    block_read_per_second = fields.List(fields.Integer())
    block_write_per_second = fields.List(fields.Integer())
    pids = fields.List(fields.Integer())
    disk_used = fields.List(fields.Integer(allow_none=True))


class ContainerStats(Schema):
    """What a container uses, or used last; all null when it never ran."""

    internal_id = fields.String()
    state = fields.String(metadata={"enum": [state.value for state in State]})
    node_state = fields.String(metadata={"enum": ["online", "offline"]})
    cpu_usage = fields.Float(allow_none=True, metadata={"description": "Percent, 100 per core."})
    memory_usage = fields.Integer(allow_none=True, metadata={"description": "Bytes, as `docker stats` counts them."})
    memory_limit = fields.Integer(allow_none=True)
    network_rx = fields.Integer(allow_none=True, metadata={"description": "Bytes since the start of the run."})
    network_tx = fields.Integer(allow_none=True)
    block_read = fields.Integer(allow_none=True)
    block_write = fields.Integer(allow_none=True)
    uptime = fields.Integer(allow_none=True, metadata={"description": "Seconds; null unless it runs."})
    pids = fields.Integer(allow_none=True)
    disk_used = fields.Integer(allow_none=True, metadata={"description": "Bytes that its volume holds."})
    series = fields.Nested(StatsSeries)


class CreationStarted(Schema):
    """The container is being installed."""

    message = fields.String()
    internal_id = fields.String()
    state = fields.String()
    job_id = fields.String()


class CommandSent(Schema):
    """The line was written to the terminal."""

    message = fields.String()
    internal_id = fields.String()


class ActionStarted(Schema):
    """The action is under way; its job tells how far."""

    message = fields.String()
    internal_id = fields.String()
    job_id = fields.String()


class DeletionQuery(Schema):
    """How to delete."""

    force = fields.Boolean(
        load_default=False,
        metadata={"description": "Also while its host is offline; the host cleans up when it returns."},
    )


class Deletion(Schema):
    """The container is gone, or its deletion still runs."""

    message = fields.String()
    job_id = fields.String()
    state = fields.String()


class Repair(ActionStarted):
    """What was found and mended, or that this takes longer."""

    state = fields.String()
    repaired = fields.List(fields.String(), metadata={"description": "What was done, in sentences."})
    remaining = fields.List(fields.String(), metadata={"description": "What somebody has to do."})


class Logs(Schema):
    """Output of a container."""

    logs = fields.String()
    seq = fields.Integer(metadata={"description": "Of the last output there was: what comes after it is `?since=` it."})


class BoundPort(Schema):
    """A port of the pool that a container holds."""

    ip = fields.String()
    port = fields.Integer()
    protocol = fields.String()
    container_port = fields.Integer()


class ListedContainer(Schema):
    """A container in short."""

    internal_id = fields.String()
    container_id = fields.String(allow_none=True)
    install_state = fields.String(metadata={"enum": [state.value for state in InstallState]})
    state = fields.String(metadata={"enum": [state.value for state in State]})
    image = fields.String()
    ports = fields.List(fields.Nested(BoundPort))
    node = fields.String()


class ContainerPage(Schema):
    """Containers by name."""

    containers = fields.List(fields.Nested(ListedContainer))
    next_cursor = fields.String()


class RunEnd(Schema):
    """How a run of the process ended."""

    started_at = fields.Float(metadata={"description": "Unix seconds."})
    ended_at = fields.Float(metadata={"description": "Unix seconds."})
    ran_seconds = fields.Float()
    cause = fields.String(metadata={"description": "The action that asked for it, or limit, crash, end, unknown."})
    exit_code = fields.Integer(allow_none=True)
    oom_killed = fields.Boolean()
    signal = fields.String(allow_none=True)
    output = fields.String(
        allow_none=True,
        metadata={"description": "Its last lines, without escape sequences; null for a token that lacks `console`."},
    )


class RunEnds(Schema):
    """The last ends of runs, newest first."""

    ends = fields.List(fields.Nested(RunEnd))


class Happening(Schema):
    """Something that happened to a container."""

    at = fields.Float(metadata={"description": "Unix seconds."})
    event = fields.String()
    data = fields.Dict()


class EventPage(Schema):
    """What happened to a container, newest first."""

    events = fields.List(fields.Nested(Happening))
    next_cursor = fields.String()


class ContainerRecord(ListedContainer):
    """All of a container."""

    volume_id = fields.String()
    startup_command = fields.String()
    start_pattern = fields.String(allow_none=True)
    limits = fields.Nested(Limits)
    mount = fields.Dict(keys=fields.String(), values=fields.String())
    created_at = fields.Integer(metadata={"description": "Unix seconds."})
    updated_at = fields.Integer(metadata={"description": "Unix seconds."})
    node_state = fields.String(metadata={"enum": ["online", "offline"]})
    exit_code = fields.Integer(allow_none=True, metadata={"description": "Of the last run that ended."})
    oom_killed = fields.Boolean()
    last_end = fields.Nested(RunEnd, allow_none=True)
    started_at = fields.Integer(allow_none=True, metadata={"description": "Unix seconds; null unless it runs."})
    error = fields.String(allow_none=True, metadata={"description": "Why the last job failed."})
    env = fields.Dict(keys=fields.String(), values=fields.String())
    job_id = fields.String(allow_none=True)
    restart_needed = fields.Boolean(
        metadata={"description": "Its process does not see a change of `startup_command` or `env` yet."}
    )
    stop_command = fields.String(allow_none=True)
    stop_signal = fields.String()
    stop_timeout = fields.Integer()
    install_timeout = fields.Integer(metadata=_SECONDS)
    pull_policy = fields.String()
    labels = fields.Dict(keys=fields.String(), values=fields.String())
    restart_policy = fields.Nested(RestartPolicyObject)
    restarts = fields.Integer(metadata={"description": "Starts by policy in a row."})
    restart_at = fields.Integer(allow_none=True, metadata={"description": "When the next is due, in Unix seconds."})
