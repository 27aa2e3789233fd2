"""What the engine's failures mean, in sentences for the person who must act."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from docker.errors import APIError, DockerException, ImageNotFound
from docker.errors import NotFound as EngineNotFound
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from fleet.errors import Conflict, EngineUnavailable, Invalid, LightdError, NotFound

_PORT_TAKEN = re.compile(r"port is already allocated|address already in use")
_ADDRESS_MISSING = re.compile(r"cannot assign requested address")
_ADDRESS = re.compile(r"(\[[0-9a-f:]*\]|\d+\.\d+\.\d+\.\d+):(\d+)")
_SUBNETS_GONE = re.compile(r"non-overlapping|overlaps with other one|networks have overlapping")
_BRIDGE_GONE = re.compile(r"could not find bridge")
_MOUNT_MISSING = re.compile(r"bind source path does not exist: ?(\S+)")
_LONGEST = 500

BRIDGE_GONE = "bridge_gone"


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn failures of a call to the engine into Lightd's own; what the engine does not find stays NotFound."""
    try:
        yield
    except APIError as error:
        raise refusal(error) from error
    except (RequestException, HTTPError, DockerException, OSError) as error:
        raise EngineUnavailable("The Docker engine of this node does not answer; see that it runs.") from error


def refusal(error: APIError) -> LightdError:
    """What the engine's answer means."""
    reason = str(error.explanation or error)
    if isinstance(error, ImageNotFound):
        return Invalid(f"Image not found: {reason.rpartition(': ')[2]}", code="image_not_found")
    if isinstance(error, EngineNotFound):
        return NotFound(f"The engine does not know it: {shortened(reason)}", code="engine_not_found")
    return _known(reason) or Conflict(f"The engine refused: {shortened(reason)}", code="engine_refused")


def shortened(reason: str) -> str:
    """The engine's words on one line, without the end of very long ones."""
    line = " ".join(reason.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"


def _known(reason: str) -> LightdError | None:
    if _PORT_TAKEN.search(reason):
        return Conflict(f"Port {_address(reason)} is in use by something else on the host.", code="port_in_use")
    if _ADDRESS_MISSING.search(reason):
        return Conflict(f"The host has no address {_address(reason)}; bind another one.", code="address_missing")
    if _SUBNETS_GONE.search(reason):
        return Conflict(
            "The engine has no free subnet for its network; remove unused ones with `docker network prune`.",
            code="no_subnet",
        )
    if _BRIDGE_GONE.search(reason):
        return Conflict(
            "The bridge of the containers' network is gone from the host; restart the Docker engine, which makes it.",
            code=BRIDGE_GONE,
        )
    missing = _MOUNT_MISSING.search(reason)
    if missing:
        return Invalid(f"The folder {missing[1]} does not exist on the host; create it.", code="mount_missing")
    return None


def _address(reason: str) -> str:
    """The `ip:port` that the engine's words name."""
    found = _ADDRESS.search(reason)
    return f"{found[1]}:{found[2]}" if found else "that it needs"
