"""One thing that watchers are told, framed once for all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from app.sockets.frames import text_frame
from fleet import messages

Place = tuple[int, int]
"""Where a notice stands in its stream: the two numbers of a Redis stream entry's id. A later one is greater."""

START: Place = (0, 0)
"""Before everything."""


@dataclass(slots=True)
class Notice:
    """A message at its place; `output` is set for console output, which some watchers want twice.

    A stream `begins` with one before which nothing can be missing.
    """

    place: Place
    text: str
    output: str | None = None
    begins: bool = False
    _event: str | None = None
    _frame: bytes | None = None
    _server_frame: bytes | None = None
    _duplicate: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The frame that everybody gets."""
        if self._frame is None:
            self._frame = text_frame(self.text)
        return self._frame

    @property
    def event(self) -> str:
        """Which kind of message it is."""
        if self._event is None:
            self._event = "console" if self.output is not None else str(json.loads(self.text)["event"])
        return self._event

    def frame_of(self, server: str) -> bytes:
        """The frame for sockets of many containers; `server` is the container that this is about."""
        if self._server_frame is None:
            self._server_frame = text_frame(messages.with_server(self.text, server))
        return self._server_frame

    @property
    def duplicate(self) -> bytes:
        """What a watcher that asked for duplicates gets besides; nothing for all but console output."""
        if self._duplicate is None:
            self._duplicate = b"" if self.output is None else text_frame(messages.duplicate(self.output))
        return self._duplicate
