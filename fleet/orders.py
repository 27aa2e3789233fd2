"""Orders to a node's agent: what cannot wait for a queue, `kill` and a line of input.

An order is one JSON object in the node's list:

    {"kill": container, "job": job id}                          (written by the transition script)
    {"input": container, "data": line, "reply": id, "until": t} (unix seconds; too late is refused)
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from fleet.errors import LightdError, NodeTimeout
from fleet.keys import key
from fleet.problems import body_of, error_from, status_of
from fleet.store import Client

_REPLY_SECONDS = 60
_INPUT_SECONDS = 5


class Orders:
    """The agents' inboxes; `blocking` is a client that may wait."""

    def __init__(self, redis: Client, blocking: Client) -> None:
        self._redis = redis
        self._blocking = blocking

    def send_input(self, node: str, container_id: str, line: str) -> None:
        """Have a line written to a container's terminal, once.

        Raises what its agent answers when it was not written: Conflict, Unavailable; NodeTimeout when that is silent.
        """
        reply = secrets.token_hex(8)
        until = time.time() + _INPUT_SECONDS
        order = {"input": container_id, "data": line, "reply": reply, "until": until}
        self._redis.rpush(key("orders", node), json.dumps(order))
        answer = self._blocking.blpop([key("reply", reply)], timeout=_INPUT_SECONDS + 1)
        if answer is None:
            raise NodeTimeout(f"Node {node} does not answer; the command was not sent.")
        if answer[1]:
            problem = json.loads(answer[1])
            raise error_from(problem["status"], problem)

    def next(self, node: str, seconds: float) -> dict[str, Any] | None:
        """The oldest order of a node; None when none comes in time."""
        answer = self._blocking.blpop([key("orders", node)], timeout=seconds)
        return json.loads(answer[1]) if answer else None

    def answer(self, reply: str, error: LightdError | None) -> None:
        """Tell a waiting request how its order ended; None for well."""
        text = json.dumps({**body_of(error), "status": status_of(error)}) if error else ""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.rpush(key("reply", reply), text)
            pipe.expire(key("reply", reply), _REPLY_SECONDS)
            pipe.execute()
