"""Everything that can go wrong, as data. Nothing here knows of HTTP; `fleet/problems.py` maps it.

LightdError
├── Invalid                 the input is wrong
│   ├── PathTraversal       a path would leave its volume
│   ├── PatternInvalid      a regular expression that does not compile
│   └── PortNotInPool
├── Forbidden               the caller may not, or the operator did not allow it
├── NotFound
├── Conflict                the current state forbids it
│   ├── AlreadyExists
│   ├── ActionNotAllowed    the lifecycle has no such move
│   ├── PortTaken
│   └── StillRunning        the same call is under way; its answer comes soon
├── QuotaExceeded           the volume is full
├── TooMany                 a limit on rate or number
└── Unavailable             store, node or engine cannot be reached now
    ├── NodeTimeout         the node did not answer in time
    └── EngineUnavailable
"""

from __future__ import annotations


class LightdError(Exception):
    """Base of all errors a client may see. `message` is one sentence a person can act on."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class Invalid(LightdError):
    """The input is wrong; `fields` maps dotted field names to their problems."""

    code = "invalid"

    def __init__(self, message: str, *, code: str | None = None, fields: dict[str, list[str]] | None = None) -> None:
        super().__init__(message, code=code)
        self.fields = fields or {}


class PathTraversal(Invalid):
    """A path is absolute, empty, malformed, or would leave its volume."""

    code = "path_traversal"

    def __init__(self) -> None:
        super().__init__("Invalid path: path traversal detected")


class PatternInvalid(Invalid):
    """A regular expression does not compile; the message names the position when it is known."""

    code = "pattern_invalid"


class PortNotInPool(Invalid):
    """A container asked for a port that nobody put into the pool."""

    code = "port_not_in_pool"

    def __init__(self) -> None:
        super().__init__("Invalid port binding: port not in network pool")


class Forbidden(LightdError):
    """The caller may not do this, or the operator has not allowed it."""

    code = "forbidden"


class NotFound(LightdError):
    """The named thing does not exist."""

    code = "not_found"


class Conflict(LightdError):
    """The current state does not allow it."""

    code = "conflict"


class AlreadyExists(Conflict):
    """The name is taken."""

    code = "already_exists"


class ActionNotAllowed(Conflict):
    """The lifecycle has no such move from the current state."""

    code = "action_not_allowed"


class PortTaken(Conflict):
    """A port of the pool is held by another container."""

    code = "port_taken"


class StillRunning(Conflict):
    """The same call, under the same idempotency key, has no answer yet."""

    code = "idempotency_in_progress"
    retry_after_seconds = 1


class QuotaExceeded(LightdError):
    """A write did not fit into the volume; nothing of it remains."""

    code = "quota_exceeded"


class TooMany(LightdError):
    """A limit on rate or number was reached."""

    code = "too_many_requests"

    def __init__(self, message: str, *, code: str | None = None, retry_after_seconds: int = 1) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(LightdError):
    """Store, node or engine cannot be reached now; trying again later may work."""

    code = "unavailable"
    retry_after_seconds = 2


class NodeTimeout(Unavailable):
    """The node has the request but did not answer in time."""

    code = "node_timeout"


class EngineUnavailable(Unavailable):
    """The Docker engine of the node does not answer."""

    code = "engine_unavailable"


def invalid_field(name: str, problem: str) -> Invalid:
    """The error for one field of the input; the sentence names it."""
    return Invalid(f"Invalid input: {name}: {problem}", fields={name: [problem]})
