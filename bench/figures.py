"""Figures from samples, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def percentile(samples: Sequence[float], percent: float) -> float:
    """The sample that `percent` of all samples do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def show(what: str, value: str, limit: str = "") -> None:
    """One row of a result."""
    print(f"| {what} | {value} | {limit} |", flush=True)


def milliseconds(samples: Sequence[float]) -> str:
    """Median and 99th percentile of samples given in seconds."""
    return f"{median(samples) * 1000:.1f} ms (p99 {percentile(samples, 99) * 1000:.1f} ms)"
