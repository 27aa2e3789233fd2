"""The console without a terminal: output to standard output, lines of standard input to the container."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from scripts.console.feed import Event, Feed
from scripts.console.telling import told


def follow(make_feed: Callable[[Callable[[Event], None]], Feed]) -> None:
    """Pass output on until interrupted, or until nobody reads it. The end of the input ends nothing."""
    feed = make_feed(_print)
    threading.Thread(target=_send_lines, args=(feed,), daemon=True).start()
    try:
        feed.run()
    except BrokenPipeError:
        sys.stderr.close()  # nothing more can be said to a closed pipe, so nothing is tried at exit


def _print(event: Event) -> None:
    """Console output to standard output; what Lightd says to standard error."""
    text = told(event)
    if text is None:
        return
    stream = sys.stdout if event["event"] in ("console", "logs") else sys.stderr
    stream.write(text)
    stream.flush()


def _send_lines(feed: Feed) -> None:
    feed.wait_connected()
    for line in sys.stdin:
        if not feed.send({"event": "send_command", "command": line}):
            sys.stderr.write(f"* Not connected; not sent: {line}")
