"""Hearing everything that is published for one container's console, beyond what its history keeps."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import redis

from fleet.console import decode_message
from fleet.keys import console_channel


class Listener:
    """A subscriber. `output` is all data so far, `heard` pairs each message's arrival (unix seconds) with its data."""

    def __init__(self, stream_url: str, container_id: str) -> None:
        self._client = redis.Redis.from_url(stream_url)
        self._subscription = self._client.pubsub(ignore_subscribe_messages=False)
        self._subscription.subscribe(console_channel(container_id))
        assert self._subscription.get_message(timeout=60)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.heard: list[tuple[float, int, str]] = []

    def output(self) -> bytes:
        """All that was heard."""
        return "".join(data for _, _, data in self.heard).encode()

    def size(self) -> int:
        """How many characters were heard."""
        return sum(len(data) for _, _, data in self.heard)

    def _listen(self) -> None:
        while not self._closing.is_set():
            message = self._subscription.get_message(timeout=0.2)
            if message and message["type"] == "message":
                seq, data, *_ = decode_message(message["data"])
                self.heard.append((time.time(), seq, data))

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join(5)
        self._subscription.close()
        self._client.close()
