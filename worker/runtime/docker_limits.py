"""Limits in the engine's own words, their change while a container runs, and what it uses of them."""

from __future__ import annotations

import re
from typing import Any

from docker import APIClient
from docker.errors import APIError, create_api_error_from_http_exception
from docker.utils import version_gte
from requests.exceptions import HTTPError

from fleet.errors import Conflict
from fleet.models import Limits
from worker.runtime.base import USUAL_IO_WEIGHT, Usage

_IN_USE = re.compile(r"unable to set memory limit|memory\S*: device or resource busy", re.IGNORECASE)
_ONE_LOOK_VERSION = "1.41"
"""Older engines look twice, a second apart."""


def limit_settings(limits: Limits, *, weight_supported: bool) -> dict[str, Any]:
    """The part of a host config that limits. Memory and swap go together: the engine compares them."""
    settings: dict[str, Any] = {"PidsLimit": limits.pids, "NanoCpus": round(limits.cpu * 1e9)}
    if limits.memory_bytes:
        settings["Memory"] = limits.memory_bytes
        settings["MemorySwap"] = limits.memory_bytes + limits.swap_bytes
    if limits.io_weight and weight_supported:
        settings["BlkioWeight"] = limits.io_weight
    return settings


def limits_told(settings: dict[str, Any]) -> dict[str, Any]:
    """Limits by their names, from the part of a host config that limits; without those that this kernel cannot set."""
    memory_bytes, memory_and_swap_bytes = int(settings.get("Memory") or 0), int(settings.get("MemorySwap") or 0)
    limits: dict[str, Any] = {
        "memory_bytes": memory_bytes,
        "cpu": int(settings.get("NanoCpus") or 0) / 1e9,
    }
    if (pids := int(settings.get("PidsLimit") or 0)) > 0:
        limits["pids"] = pids
    if memory_bytes and memory_and_swap_bytes >= memory_bytes:
        limits["swap_bytes"] = memory_and_swap_bytes - memory_bytes
    if weight := int(settings.get("BlkioWeight") or 0):
        limits["io_weight"] = None if weight == USUAL_IO_WEIGHT else weight
    return limits


def update(client: APIClient, engine_id: str, limits: Limits, *, weight_supported: bool) -> None:
    """Change the limits of a container; raises APIError, or Conflict when it uses more memory than that.

    The SDK's own call knows neither processors nor processes. What is left out stays as it was, so a weight that is
    no longer asked for becomes the usual one.
    """
    settings = limit_settings(limits, weight_supported=weight_supported)
    if weight_supported:
        settings.setdefault("BlkioWeight", USUAL_IO_WEIGHT)
    address = f"{client.base_url}/v{client.api_version}/containers/{engine_id}/update"
    response = client.post(address, json=settings, timeout=client.timeout)
    try:
        response.raise_for_status()
    except HTTPError as error:
        try:
            create_api_error_from_http_exception(error)
        except APIError as refusal:
            if _IN_USE.search(str(refusal.explanation)):
                raise Conflict("The container uses more memory than that now.", code="below_use") from refusal
            raise


def usage(client: APIClient, name: str) -> Usage | None:
    """One look at what a container uses; None when it does not run."""
    one_look = version_gte(client.api_version, _ONE_LOOK_VERSION) or None
    stats = client.stats(name, stream=False, one_shot=one_look)
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    parts = memory.get("stats") or {}
    files = sum(_part(parts, kind) for kind in ("active_file", "inactive_file"))
    return Usage(
        memory_bytes=max(int(memory["usage"]) - files, 0),
        swap_bytes=_part(parts, "swap"),
        pids=int((stats.get("pids_stats") or {}).get("current") or 0),
    )


def _part(parts: dict[str, Any], kind: str) -> int:
    """A line of `memory.stat`: in cgroup v1 the sum over all groups below has `total_` before its name."""
    return int(parts.get(f"total_{kind}", parts.get(kind, 0)))
