"""`./lightd status`: what runs, since when, how often it was started again, how much memory it takes."""

from __future__ import annotations

from datetime import timedelta

from rich.console import Console
from rich.table import Table

from fleet.settings import Settings
from scripts import instance
from scripts.engine import version
from scripts.plan import log_folder

READY, NOT_READY, NOT_RUNNING = 0, 1, 3
_MB = 1024 * 1024


def status(settings: Settings) -> int:
    """Print the state of this instance; answers the exit code: 0 ready, 1 not ready, 3 not running."""
    console = Console(highlight=False, soft_wrap=True)
    if instance.supervisor_pid(settings) is None:
        console.print(f"Lightd is not running (data in {settings.data}); `./lightd up` starts it.")
        return NOT_RUNNING
    console.print(_table(instance.running(settings)))
    state = instance.readiness(settings)
    console.print(f"API     {instance.url(settings)}  {state.answer}")
    console.print(f"Engine  {settings.engine}  {version(settings.engine) or 'does not answer'}")
    console.print(f"Node    {settings.node}, data in {settings.data}, logs in {log_folder(settings.data)}")
    return READY if state.ready else NOT_READY


def _table(processes: list[instance.Running]) -> Table:
    table = Table("process", "pid", "uptime", "restarts", "memory", "last end", show_footer=True)
    total_bytes = 0
    for process in processes:
        memory_bytes = process.pss_bytes()
        total_bytes += memory_bytes
        table.add_row(
            process.name,
            str(process.pid or "-"),
            str(timedelta(seconds=round(process.uptime_seconds()))) if process.pid else "-",
            str(process.restarts),
            f"{memory_bytes / _MB:.1f} MB",
            process.last_end,
        )
    table.columns[4].footer = f"{total_bytes / _MB:.1f} MB"
    for column in table.columns[1:5]:
        column.justify = "right"
    return table
