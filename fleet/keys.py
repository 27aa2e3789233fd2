"""The catalogue of Redis keys. Python and Lua both take their key names from here and nowhere else.

Record store (append-only, never evicts). Kept until its subject goes, unless an end is named.

| name | type | holds | owner |
|---|---|---|---|
| generation | string | id of this store's contents | the first agent, restore |
| restored | string | checksum of the backup that this store was filled from | restore |
| container | hash | one container's record | transition, exited, create_container, open_limits_job |
| containers | zset | ids of all containers, ordered by name | create_container, remove_container |
| container_jobs | zset | job ids of a container by creation time, 7 days | open_job |
| feed | stream | state events and daemon messages of a container, capped | emit |
| history | stream | what happened to a container, capped; fields `event`, `data` (JSON) | note |
| ends | list | the last ends of its runs (JSON), newest first, 20 | exited |
| restarts | zset | a node's containers that are to be started again by policy, by time | plan_restart |
| install_log | string | tail of the last install's output | install job |
| volume | hash | one volume's record | volume repository, volume scripts |
| volumes | zset | ids of all volumes, ordered | volume repository, delete_volume |
| volumes_unfinished | zset | a node's volumes that are being made or deleted, by time | volume scripts |
| volume_job | string | id of the last job on a volume; the volume is busy while it is open | open_volume_job |
| volume_users | set | ids of the containers on a volume | create_container, remove_container |
| port | hash | one port of the pool: its address and its holder | port scripts, create_container |
| ports | zset | members of the pool, ordered | port scripts |
| ports_free | set | members of one protocol that nobody holds | port scripts, create_container |
| port_addresses | set | addresses in the pool for one protocol and number | port scripts |
| job | hash | one job's record, 7 days after its end | job scripts |
| jobs_open | zset | a node's unfinished jobs by time of the last enqueueing | job scripts |
| deadlines | zset | a node's jobs that wait for an exit, by SIGKILL time | transition |
| lease | string | sign of life of the worker that has a job, 6 s | the worker's heartbeat |
| reply | list | one element when a job or order has ended, for a waiting request, 60 s | finish_job, agent |
| orders | list | what a node's agent shall do now (JSON) | API |
| signs | string | how many signs of life a host has given since it goes by this store | its agent |
| node | hash | a host: its files address, size, engine, last sign of life | its agent |
| nodes | set | ids of all hosts | agents |
| beat | string | a queue of a node was consumed just now, 20 s | the no-op task |
| master | string | SHA-256 of the master token | command line |
| token | hash | one issued token, found by the SHA-256 of its secret, until its expiry | token repository |
| token_digest | string | token id to SHA-256 of its secret, until its expiry, also once used | token repository |
| tokens | zset | ids of issued tokens by expiry | token repository |
| sockets | hash | an API process's sockets: `all`, `waiting`, `container:<id>`, `token:<digest>`; 10 s | count_socket |
| socket_processes | set | API processes that have open WebSockets | count_socket |
| idempotency | hash | a call under an `Idempotency-Key`: hash, job and answer, 24 h | idempotency scripts, tie_job |
| idempotency_keys | zset | a token's records of idempotency keys by the time of their end, 24 h | idempotency scripts |
| failed_logins | string | count of failed logins from an address, 60 s from the first on | Logins |
| known_login | string | a token was good at an address, 1 h | Logins |
| idempotency_lease | string | sign of life of the call at work under a key, 6 s | claim_idempotency, the API |

Stream store (capped, may evict what has an end):

| name | type | holds | owner |
|---|---|---|---|
| console | stream | output, a year; entry `<seq>-0`, field `d`; `n`, `l`: notices; `b`: the first | append_console |
| console_position | hash | `seq`, `bytes` kept, what was read per engine container, `torn` | append_console |
| console_closed | string | a deleted engine container, whose output nobody wants any more, 1 h | Console.forget |
| stats | string | a container's newest stats (JSON), also after its run, 7 days | its agent |
| stats_seconds | string | ring of a container's points for 10 minutes, 21 KiB, 12 minutes | its agent |
| stats_minutes | string | ring of a container's points for a day, 51 KiB, a day and 2 minutes | its agent |
"""

from __future__ import annotations

PREFIX = "lightd"

_PARAMETERS = {
    "generation": (),
    "restored": (),
    "container": ("id",),
    "containers": (),
    "container_jobs": ("id",),
    "feed": ("id",),
    "history": ("id",),
    "ends": ("id",),
    "restarts": ("node",),
    "install_log": ("id",),
    "volume": ("id",),
    "volumes": (),
    "volumes_unfinished": ("node",),
    "volume_job": ("id",),
    "volume_users": ("id",),
    "port": ("member",),
    "ports": (),
    "ports_free": ("protocol",),
    "port_addresses": ("protocol", "number"),
    "job": ("id",),
    "jobs_open": ("node",),
    "deadlines": ("node",),
    "lease": ("id",),
    "reply": ("id",),
    "orders": ("node",),
    "signs": ("node",),
    "node": ("id",),
    "nodes": (),
    "beat": ("node", "queue"),
    "master": (),
    "token": ("digest",),
    "token_digest": ("id",),
    "tokens": (),
    "failed_logins": ("address",),
    "known_login": ("address", "digest"),
    "sockets": ("process",),
    "socket_processes": (),
    "idempotency": ("name",),
    "idempotency_keys": ("owner",),
    "idempotency_lease": ("name",),
    "console": ("id",),
    "console_position": ("id",),
    "console_closed": ("engine_id",),
    "stats": ("id",),
    "stats_seconds": ("id",),
    "stats_minutes": ("id",),
}


def key(name: str, *parts: str | int) -> str:
    """The key called `name` in the catalogue, for the given container, job, node, …"""
    expected = _PARAMETERS[name]
    if len(parts) != len(expected):
        raise TypeError(f"key {name} takes {expected}")
    return ":".join((PREFIX, name, *map(str, parts)))


def lua_functions() -> str:
    """Lua source of the table `K` with one function per key, for the top of every script."""
    lines = ["local K = {}"]
    for name, parameters in _PARAMETERS.items():
        joined = "".join(f" .. ':' .. {parameter}" for parameter in parameters)
        lines.append(f"function K.{name}({', '.join(parameters)}) return '{PREFIX}:{name}'{joined} end")
    return "\n".join(lines)


def feed_channel(container_id: str) -> str:
    """Pub/sub channel, in the record store, of a container's state events and daemon messages."""
    return f"{PREFIX}:feed:{container_id}"


def console_channel(container_id: str) -> str:
    """Pub/sub channel, in the stream store, of a container's output."""
    return f"{PREFIX}:console:{container_id}"


def stats_channel(container_id: str) -> str:
    """Pub/sub channel, in the stream store, of what a container uses, whenever that changes."""
    return f"{PREFIX}:stats:{container_id}"
