"""What events look like to a person."""

from __future__ import annotations

from scripts.console.feed import Event
from scripts.console.safe_text import safe_text

_MB = 1024 * 1024


def told(event: Event) -> str | None:
    """The text of an event, ending with a newline; None for what is shown elsewhere or not at all."""
    match event["event"]:
        case "console" | "logs":
            return safe_text(str(event["data"]))
        case "event":
            return f"* {safe_text(str(event['data']))}\n"
        case "daemon_message":
            return f"* {safe_text(str(event['data']))}\n"
        case "lost":
            return f"* {event['reason']}; trying again.\n"
        case _:
            return None


def left_on_screen(text: str) -> str:
    """Lines as a terminal shows them in the end: what carriage returns overwrite, as progress bars do, is gone.

    A piece of a long line is a line of its own here, since the person's input stands below it.
    """
    lines = text.removesuffix("\n").split("\n")
    return "".join(line.rstrip("\r").rpartition("\r")[2] + "\n" for line in lines)


def usage(stats: Event) -> str:
    """One line about a `stats` event: `CPU 12.5 %, 300 of 512 MB, 42 processes, up 1:02:03`."""
    parts = [f"CPU {stats['cpu_usage']:.1f} %", _memory(stats)]
    if stats.get("pids"):
        parts.append(f"{stats['pids']} processes")
    if stats.get("uptime"):
        parts.append(f"up {_clock(int(stats['uptime']))}")
    return ", ".join(parts)


def _memory(stats: Event) -> str:
    used, limit = stats["memory_usage"] // _MB, stats["memory_limit"] // _MB
    return f"{used} of {limit} MB" if limit else f"{used} MB"


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
