"""Which console to open, where and as whom."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from fleet.settings import Settings
from scripts import instance
from scripts.console.feed import Event, Feed
from scripts.console.pipe import follow
from scripts.token import current


def console(settings: Settings, container_id: str, url: str | None, token: str | None, *, only_new: bool) -> None:
    """Watch and steer a container until the person leaves. Without `url` and `token`: this host's, as its master."""
    make_feed: Callable[[Callable[[Event], None]], Feed] = partial(
        Feed, url or instance.url(settings), token or current(settings), container_id, None if only_new else 0
    )
    if sys.stdin.isatty() and sys.stdout.isatty():
        from scripts.console.terminal import Terminal

        Terminal(make_feed).run()
    else:
        follow(make_feed)
