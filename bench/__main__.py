"""`python -m bench power|console|…` (NAMES): start a Lightd of its own, measure, print one table."""

from __future__ import annotations

import importlib
import sys

import docker

from tests.support.images import busybox, debian
from tests.support.stack import running_stack

NAMES = ("power", "crowd", "kills", "console", "flood", "fanout", "hundred", "requests", "idle", "stats", "files")


def main() -> None:
    """Measure what the arguments name; everything without any."""
    names = sys.argv[1:] or list(NAMES)
    if unknown := set(names) - set(NAMES):
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Choose from {', '.join(NAMES)}.")
    engine = docker.DockerClient()
    with busybox(engine), debian(engine):
        for name in names:
            module = importlib.import_module(f"bench.{name}")
            stacks = running_stack(engine, **getattr(module, "SETTINGS", {}))
            stack = next(stacks)
            print(f"\n## {name}", flush=True)
            module.measure(engine, stack)
            for _ in stacks:
                raise AssertionError("one stack a measurement")


if __name__ == "__main__":
    main()
