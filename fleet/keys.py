"""The catalogue of Redis keys. Python and Lua both take their key names from here and nowhere else.

Record store (append-only, never evicts):

| name             | type   | holds                                                      | written by         | ends            |
|------------------|--------|------------------------------------------------------------|--------------------|-----------------|
| generation       | string | id of this store's contents                                | first agent        | never           |
| container        | hash   | one container's record                                     | transition, …      | with it         |
| containers       | zset   | ids of all containers (score 0: ordered by name)           | create, remove     | never           |
| container_jobs   | zset   | job ids of a container by creation time                    | open_job           | with it         |
| feed             | stream | state events and daemon messages of a container, capped    | emit               | with it         |
| install_log      | string | tail of the last install's output                          | install job        | with it         |
| volume           | hash   | one volume's record                                        | volume scripts     | with it         |
| volumes          | zset   | ids of all volumes (score 0)                               | volume scripts     | never           |
| volume_users     | set    | ids of the containers on a volume                          | create, remove     | with it         |
| port             | hash   | one port of the pool: its address and its holder           | port scripts       | with it         |
| ports            | zset   | members of the pool (score 0)                              | port scripts       | never           |
| ports_free       | set    | members of one protocol that nobody holds                  | port scripts       | never           |
| port_addresses   | set    | addresses in the pool for one protocol and number          | port scripts       | with the last   |
| job              | hash   | one job's record                                           | job scripts        | 7 days after it |
| jobs_open        | zset   | a node's unfinished jobs by time of the last enqueueing    | job scripts        | never           |
| deadlines        | zset   | a node's jobs that wait for an exit, by SIGKILL time       | transition         | never           |
| lease            | string | sign of life of the worker that has a job                  | worker heartbeat   | 6 s             |
| reply            | list   | one element when a job has ended, for a waiting request    | finish_job         | 60 s            |
| orders           | list   | what a node's agent shall do now (JSON)                    | API                | 60 s            |
| node             | hash   | a host: its files address, size, engine, last sign of life | agent              | never           |
| nodes            | set    | ids of all hosts                                           | agent              | never           |
| beat             | string | a queue of a node was consumed just now                    | no-op task         | 20 s            |
| master           | string | SHA-256 of the master token                                | CLI                | never           |
| token            | hash   | one issued token, found by the SHA-256 of its secret       | token scripts      | at its expiry   |
| token_digest     | string | token id → SHA-256 of its secret                           | token scripts      | at its expiry   |
| tokens           | zset   | ids of issued tokens by expiry                             | token scripts      | never           |

Stream store (capped, may evict):

| name             | type   | holds                                                      | written by         | ends            |
|------------------|--------|------------------------------------------------------------|--------------------|-----------------|
| console          | stream | a container's output; entry `<seq>-0`, field `d`           | append_console     | with it         |
| console_position | hash   | `seq`, `bytes` kept, and per engine container what was read | append_console    | with it         |
"""

from __future__ import annotations

PREFIX = "lightd"

_PARAMETERS = {
    "generation": (),
    "container": ("id",),
    "containers": (),
    "container_jobs": ("id",),
    "feed": ("id",),
    "install_log": ("id",),
    "volume": ("id",),
    "volumes": (),
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
    "node": ("id",),
    "nodes": (),
    "beat": ("node", "queue"),
    "master": (),
    "token": ("digest",),
    "token_digest": ("id",),
    "tokens": (),
    "console": ("id",),
    "console_position": ("id",),
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
