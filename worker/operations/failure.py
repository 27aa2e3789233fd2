"""How a job that went wrong ends: the state and the sentence that its record gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog

from fleet.errors import LightdError
from fleet.problems import body_of, status_of
from fleet.repositories.jobs import CANCELLED, Cancelled

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """`state` is `failed` or `cancelled`; `reason` is one sentence for the person who must act.

    `problem` is status, code and fields of the error, for a client that waits; None for what no client caused.
    """

    state: str
    reason: str
    problem: dict[str, Any] | None = None


class Undone(Exception):
    """A job failed and what it had made is gone again."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


def ending_of(error: Exception, job_id: str) -> Ending:
    """What to write about an error; one that nobody expected is logged and keeps its internals to itself."""
    if isinstance(error, Undone):
        return error.ending
    if isinstance(error, Cancelled):
        return Ending("cancelled", CANCELLED)
    if isinstance(error, LightdError):
        return Ending("failed", error.message, problem_of(error))
    _log.error("a job failed unexpectedly", job_id=job_id, exc_info=error)
    return Ending("failed", f"Internal error; see the worker's log (job {job_id}).")


def problem_of(error: LightdError) -> dict[str, Any]:
    """Status, code and fields, as a client gets them."""
    return {name: value for name, value in body_of(error).items() if name != "error"} | {"status": status_of(error)}
