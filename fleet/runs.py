"""The ends of runs: what is kept about them, and who asked for them."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import Any

BY_POLICY = "policy"
"""Who asked for a start that no client asked for; `fleet/lua/restarts.lua` knows the same name."""

_BY_SIGNAL = 128
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a container's process, as the engine tells it; times as 20-digit nanoseconds.

    `ended` and `exit_code` are None where nobody knows them, `output` are its last lines. A run that is `presumed` was
    never seen: the record spoke of a process that is not there.
    """

    started: str
    exit_code: int | None = None
    oom_killed: bool = False
    ended: str | None = None
    output: str = ""
    presumed: bool = False


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run, kept: times in unix seconds, `cause` as docs/api.md lists it, the last lines of output.

    It was written down at `recorded_at`, so all that the run printed was logged before that.
    """

    started_at: float
    ended_at: float
    ran_seconds: float
    cause: str
    recorded_at: float
    exit_code: int | None = None
    oom_killed: bool = False
    signal: str | None = None
    output: str = ""


def end_of(run: Run, now: float) -> dict[str, Any]:
    """What a script keeps about the end of a run, without its cause; it ended `now` where nobody knows better."""
    started_at = int(run.started) / _NANOSECONDS
    ended_at = int(run.ended) / _NANOSECONDS if run.ended and run.ended > run.started else now
    return {
        "started_at": round(started_at, 3),
        "ended_at": round(ended_at, 3),
        "recorded_at": round(now, 3),
        "ran_seconds": round(max(0.0, ended_at - started_at), 3),
        "exit_code": run.exit_code,
        "oom_killed": run.oom_killed,
        "signal": signal_of(run.exit_code),
        "output": run.output,
    }


def read_end(text: str) -> RunEnd:
    """An end as the store keeps it."""
    return RunEnd(**json.loads(text))


def signal_of(exit_code: int | None) -> str | None:
    """The signal that ended a process, by the shells' rule that its exit code is 128 and the signal's number."""
    try:
        return signal.Signals((exit_code or 0) - _BY_SIGNAL).name
    except ValueError:
        return None
