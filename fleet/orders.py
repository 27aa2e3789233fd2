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

from fleet.errors import NodeTimeout
from fleet.keys import key
from fleet.store import Client

_REPLY_SECONDS = 60
_INPUT_SECONDS = 5


class Orders:
    """The agents' inboxes; `blocking` is a client that may wait."""

    def __init__(self, redis: Client, blocking: Client) -> None:
        self._redis = redis
        self._blocking = blocking

    def send_input(self, node: str, container_id: str, line: str) -> str | None:
        """Have a line written to a container's terminal, once.

        Answers None when it was written, else the reason it was not. Raises NodeTimeout when the agent is silent.
        """
        reply = secrets.token_hex(8)
        until = time.time() + _INPUT_SECONDS
        order = {"input": container_id, "data": line, "reply": reply, "until": until}
        self._redis.rpush(key("orders", node), json.dumps(order))
        answer = self._blocking.blpop([key("reply", reply)], timeout=_INPUT_SECONDS + 1)
        if answer is None:
            raise NodeTimeout(f"Node {node} does not answer; the command was not sent.")
        return answer[1] or None

    def next(self, node: str, seconds: float) -> dict[str, Any] | None:
        """The oldest order of a node; None when none comes in time."""
        answer = self._blocking.blpop([key("orders", node)], timeout=seconds)
        return json.loads(answer[1]) if answer else None

    def answer(self, reply: str, text: str) -> None:
        """Tell a waiting request how its order ended; '' for well."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.rpush(key("reply", reply), text)
            pipe.expire(key("reply", reply), _REPLY_SECONDS)
            pipe.execute()
