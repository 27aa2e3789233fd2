"""Answers kept for the calls that named an `Idempotency-Key`, so that the same call does nothing twice."""

from __future__ import annotations

import json
import time
from contextvars import ContextVar
from dataclasses import asdict, dataclass

from fleet.errors import Conflict, StillRunning, TooMany
from fleet.keys import key
from fleet.scripts import Scripts
from fleet.store import Client

LEASE_SECONDS = 6
LONGEST_KEPT = 16 * 1024
"""Characters of an answer that is kept; nothing that a client waits for comes near it."""

_KEPT_SECONDS = 24 * 3600
_TOO_LONG = {
    "error": "This call was done under this Idempotency-Key, but its answer was too long to be kept; look what it did.",
    "code": "idempotent_answer_too_long",
}

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


@dataclass(frozen=True, slots=True)
class Claimed:
    """The call shall be done; `number` says which try of it this is."""

    number: str


class Idempotency:
    """All records of idempotency keys, at most `most` of a token. A record's name says whose key it is, and which."""

    def __init__(self, redis: Client, most: int) -> None:
        self._redis = redis
        self._most = most
        self._scripts = Scripts(redis)

    def claim(self, name: str, owner: str, fingerprint: str, *, repeatable: bool) -> KeptAnswer | TiedJob | Claimed:
        """Begin a call of the token whose digest is `owner`; Claimed when it is the first and shall be done.

        `fingerprint` stands for what is asked. `repeatable` says that a call which died without a job tied to it may
        be done again. Raises StillRunning, Conflict for another request or one whose outcome nobody knows, or TooMany.
        """
        request = {
            "name": name,
            "owner": owner,
            "most": self._most,
            "at": time.time(),
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
        if answer[0] == "refused" and answer[1] == "full":
            raise TooMany(
                f"This token has used {self._most} Idempotency-Keys within 24 hours; try again when the oldest is "
                "forgotten, or send this call without a key.",
                code="too_many_idempotency_keys",
                retry_after_seconds=max(1, int(answer[2])),
            )
        if answer[0] == "refused":
            raise _refusal(answer[1])
        return Claimed(answer[1])

    def renew(self, name: str) -> None:
        """Show that the call is still at work; at least every LEASE_SECONDS."""
        self._redis.set(key("idempotency_lease", name), "1", ex=LEASE_SECONDS, xx=True)

    def keep(self, name: str, number: str, answer: KeptAnswer) -> None:
        """Keep a call's answer for whoever asks the same; of one that is too long only that it was done."""
        if len(answer.body) > LONGEST_KEPT:
            answer = KeptAnswer(409, "application/json", json.dumps(_TOO_LONG))
        self._scripts.run("end_idempotency", {"name": name, "number": number, "answer": json.dumps(asdict(answer))})

    def release(self, name: str, number: str) -> None:
        """End a call whose answer is not kept: it may be tried again."""
        self._scripts.run("end_idempotency", {"name": name, "number": number})

    def doubt(self, name: str, number: str) -> None:
        """End a call of which nobody knows whether it was done, or will be: it is as if its process had died."""
        self._scripts.run("end_idempotency", {"name": name, "number": number, "in_doubt": True})


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
