"""`./lightd run <name>`: one process of the table, in the foreground and alone, as each service of compose.yaml is."""

from __future__ import annotations

import os

from fleet.settings import Settings
from scripts.failure import Failure
from scripts.precedence import take_precedence
from scripts.processes import processes
from scripts.up import CHECKOUT, make_folders


def run(settings: Settings, name: str) -> None:
    """Become the process `name`. Raises Failure when these settings have no such process."""
    known = {process.name: process for process in processes(settings)}
    if name not in known:
        raise Failure(f"There is no process {name}; there are {', '.join(known)}.")
    make_folders(settings)
    process = known[name]
    if process.urgent:
        take_precedence()
    os.chdir(CHECKOUT)
    os.execve(process.command[0], process.command, {**os.environ, **process.environment})  # noqa: S606
