"""Answers kept for the calls that named an `Idempotency-Key`, so that the same call does nothing twice."""

from __future__ import annotations

import json
from contextvars import ContextVar
from dataclasses import asdict, dataclass

from fleet.errors import Conflict, StillRunning
from fleet.keys import key
from fleet.scripts import Scripts
from fleet.store import Client

LEASE_SECONDS = 6
_KEPT_SECONDS = 24 * 3600

current_idempotency: ContextVar[str | None] = ContextVar("current_idempotency", default=None)
"""The record of the call that is being handled: jobs that it opens are tied to it."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What the first call was answered; the body is text."""

    status: int
    content_type: str
    body: str


@dataclass(frozen=True, slots=True)
class TiedJob:
    """The job that the first call began before it died without an answer."""

    job_id: str


class Idempotency:
    """All records of idempotency keys. A record's name says whose key it is, and which."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    def claim(self, name: str, fingerprint: str, *, repeatable: bool) -> KeptAnswer | TiedJob | None:
        """Begin a call; None when it is the first and shall be done.

        `fingerprint` stands for what is asked. `repeatable` says that a call which died without a job tied to it may
        be done again. Raises StillRunning, or Conflict for another request or one whose outcome nobody knows.
        """
        request = {
            "name": name,
            "fingerprint": fingerprint,
            "repeatable": repeatable,
            "kept_seconds": _KEPT_SECONDS,
            "lease_seconds": LEASE_SECONDS,
        }
        answer = self._scripts.run("claim_idempotency", request)
        if answer[0] == "kept":
            return KeptAnswer(**json.loads(answer[1]))
        if answer[0] == "job":
            return TiedJob(answer[1])
        if answer[0] == "refused":
            raise _refusal(answer[1])
        return None

    def renew(self, name: str) -> None:
        """Show that the call is still at work; at least every LEASE_SECONDS."""
        self._redis.set(key("idempotency_lease", name), "1", ex=LEASE_SECONDS, xx=True)

    def keep(self, name: str, answer: KeptAnswer) -> None:
        """Keep a call's answer for whoever asks the same."""
        self._scripts.run("end_idempotency", {"name": name, "answer": json.dumps(asdict(answer))})

    def release(self, name: str) -> None:
        """End a call whose answer is not kept: it may be tried again."""
        self._scripts.run("end_idempotency", {"name": name})


def _refusal(reason: str) -> Conflict:
    if reason == "running":
        return StillRunning("The first call with this Idempotency-Key is still being answered; try again soon.")
    if reason == "interrupted":
        return Conflict(
            "The first call with this Idempotency-Key broke off before its answer; look whether it was done, "
            "then use a new key.",
            code="idempotency_interrupted",
        )
    return Conflict(
        "This Idempotency-Key was used for another request within 24 hours; use a new one.",
        code="idempotency_key_reused",
    )
