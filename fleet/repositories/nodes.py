"""Nodes: the Docker hosts, as their agents describe them."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict
from typing import Any

from fleet.errors import NotFound, Unavailable
from fleet.keys import key
from fleet.models import Node
from fleet.store import Client

QUEUES = ("quick", "long")
RECOVER = "recover"
_BEAT_SECONDS = 20


class NodeRepository:
    """All hosts of the fleet."""

    def __init__(self, redis: Client, timeout_seconds: float) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds

    def announce(self, node: Node) -> None:
        """A host's sign of life with its description. It is counted for a host that goes by this store."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key("node", node.id), mapping=asdict(node) | {"must_recover": "1" if node.must_recover else ""})
            pipe.sadd(key("nodes"), node.id)
            if not node.must_recover:
                pipe.incr(key("signs", node.id))
            pipe.execute()

    def every(self) -> list[Node]:
        """All hosts by name."""
        names = sorted(self._redis.smembers(key("nodes")))
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(key("node", name))
            return [_from_fields(fields) for fields in pipe.execute() if fields]

    def is_online(self, node: Node) -> bool:
        """Whether the host's agent was heard of lately."""
        return time.time() - node.last_seen < self._timeout_seconds

    def online(self, name: str) -> Node:
        """The host of this name; raises Unavailable, naming it, unless it is online and goes by this store."""
        fields = self._redis.hgetall(key("node", name))
        if not fields or not self.is_online(_from_fields(fields)):
            raise Unavailable(f"Node {name} is offline; its containers run on, try again later.", code="node_offline")
        node = _from_fields(fields)
        if node.must_recover:
            raise _must_recover(node)
        return node

    def require_known(self, name: str) -> None:
        """Raise NotFound for the name of a host that was never there."""
        if not self._redis.sismember(key("nodes"), name):
            raise NotFound("Node not found", code="node_not_found")

    def choose(self) -> Node:
        """An online host for a new volume; raises Unavailable when there is none."""
        online = [node for node in self.every() if self.is_online(node)]
        for node in online:
            if not node.must_recover:
                return node
        if online:
            raise _must_recover(online[0])
        raise Unavailable("No node is online; start one with ./lightd up.", code="no_node_online")

    def missing(self) -> list[str]:
        """What is silent: hosts by name, and `name/queue` for a queue that nobody consumes.

        `name/recover` is a host that waits for `./lightd recover`, because it does not know this store.
        """
        silent = []
        for node in self.every():
            if not self.is_online(node):
                silent.append(node.id)
                continue
            silent += [f"{node.id}/{RECOVER}"] if node.must_recover else []
            beats = self._redis.mget([key("beat", node.id, queue) for queue in QUEUES])
            silent += [f"{node.id}/{queue}" for queue, beat in zip(QUEUES, beats, strict=True) if not beat]
        return silent

    def beat(self, node: str, queue: str) -> None:
        """A worker has consumed a message of this queue just now."""
        self._redis.set(key("beat", node, queue), "1", ex=_BEAT_SECONDS)

    def generation(self) -> str:
        """The id of this store's contents, made on first use."""
        if found := self._redis.get(key("generation")):
            return str(found)
        self._redis.set(key("generation"), secrets.token_hex(8), nx=True)
        return str(self._redis.get(key("generation")))

    def signs(self, node: str) -> int:
        """How many signs of life of a host this store remembers."""
        return int(self._redis.get(key("signs", node)) or 0)


def _must_recover(node: Node) -> Unavailable:
    return Unavailable(
        f"Node {node.id} does not know this store and changes nothing; run `./lightd recover` on it.",
        code="node_must_recover",
    )


def _from_fields(fields: dict[str, Any]) -> Node:
    return Node(
        id=fields["id"],
        files_address=fields["files_address"],
        last_seen=float(fields["last_seen"]),
        cpus=int(fields["cpus"]),
        memory_bytes=int(fields["memory_bytes"]),
        engine_version=fields["engine_version"],
        must_recover=fields.get("must_recover") == "1",
        files_public_url=fields.get("files_public_url", ""),
    )
