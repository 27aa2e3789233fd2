"""Named steps: finished ones are skipped when a job is taken up again, all are undone when it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from redis.exceptions import RedisError

from fleet.errors import EngineUnavailable, LightdError
from fleet.repositories.containers import Superseded
from fleet.repositories.jobs import Cancelled, JobRefused
from worker.operations.failure import Ending, Undone, ending_of
from worker.operations.work import Work

_UNDO = "undo"

_log = structlog.get_logger(__name__)


def _nothing() -> None:
    """A step that leaves nothing behind."""


@dataclass(frozen=True, slots=True)
class Step:
    """`do` may be repeated after a crash in its middle; `undo` removes whatever it made, and is fine when there is
    nothing. What `do` answers (JSON) is kept in the journal for later steps.
    """

    name: str
    do: Callable[[], Any]
    undo: Callable[[], None] = _nothing


class Parked(Exception):
    """A step waits for the end of the process. The agent has the job go on then; `ended`: that was now."""

    def __init__(self, *, ended: bool) -> None:
        super().__init__()
        self.ended = ended


def run_steps(work: Work, steps: Sequence[Step]) -> None:
    """Do all steps that are not in the journal yet.

    When one fails or the job is cancelled, everything is undone, last step first, and Undone is raised. When the
    job was superseded, it is undone too, and the refusal raised. When the store fails, nothing is undone: the job
    goes on from here later; nor is it when a step has parked the job.
    """
    if _UNDO in work.journal:
        raise Undone(_undone(work, steps, Ending(**work.journal[_UNDO])))
    try:
        for step in steps:
            if step.name not in work.journal:
                work.update(step=step.name, journal=work.journal, progress=None)
                work.journal[step.name] = step.do()
    except (RedisError, Parked):
        raise
    except (Superseded, JobRefused):
        _undo(work, steps)
        raise
    except Exception as error:
        ending = ending_of(error, work.job.job_id)
        _note_undo(work, ending)
        raise Undone(_undone(work, steps, ending)) from error


def _note_undo(work: Work, ending: Ending) -> None:
    """From here on there is no way but back, also for a worker that takes the job up after this one."""
    work.journal[_UNDO] = {"state": ending.state, "reason": ending.reason}
    try:
        work.update(journal=work.journal, step=_UNDO, progress=None)
    except Cancelled:
        _log.info("cancelled while failing", job_id=work.job.job_id)
    except JobRefused:
        _log.info("superseded while failing", job_id=work.job.job_id)


def _undone(work: Work, steps: Sequence[Step], ending: Ending) -> Ending:
    """Undo all steps; the ending, which also tells what could not be undone."""
    left = _undo(work, steps)
    return (
        replace(ending, reason=" ".join([ending.reason, "Not all of it could be undone:", *left])) if left else ending
    )


def _undo(work: Work, steps: Sequence[Step]) -> list[str]:
    """Undo all steps, also when one refuses; the reasons of those that did. An engine that is away is waited for."""
    left = []
    for step in reversed(steps):
        try:
            step.undo()
        except EngineUnavailable:
            raise
        except LightdError as error:
            _log.warning(
                "not undone", job_id=work.job.job_id, container=work.name, step=step.name, reason=error.message
            )
            left.append(error.message)
    _log.info("undone", job_id=work.job.job_id, container=work.name)
    return left
