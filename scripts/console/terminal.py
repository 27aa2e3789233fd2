"""The console in a terminal: output above, a line of input and a line of facts below."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.patch_stdout import patch_stdout

from scripts.console.feed import Event, Feed
from scripts.console.telling import left_on_screen, told, usage
from scripts.failure import Failure

POWER_KEYS = {"f5": "start", "f6": "stop", "f7": "restart", "f8": "kill"}
_KEYS_TOLD = "  ".join(f"{key.upper()} {action}" for key, action in POWER_KEYS.items()) + "  Ctrl-D leave"


class Terminal:
    """One person at one container."""

    def __init__(self, make_feed: Callable[[Callable[[Event], None]], Feed]) -> None:
        self._feed = make_feed(self._show)
        self._state = "connecting"
        self._usage = ""
        self._failure: Failure | None = None
        self._session: PromptSession[str] = PromptSession(key_bindings=self._keys(), bottom_toolbar=self._facts)

    def run(self) -> None:
        """Talk until the person leaves; the container goes on. Raises Failure."""
        follower = threading.Thread(target=self._follow, daemon=True)
        with patch_stdout(raw=True):
            follower.start()
            with contextlib.suppress(EOFError, KeyboardInterrupt):
                while self._failure is None:
                    typed = self._session.prompt("> ", pre_run=self._leave_after_failure)
                    for line in typed.splitlines() or [""]:  # several where they were pasted
                        self._send({"event": "send_command", "command": line})
        self._feed.close()
        follower.join()
        if self._failure is not None:
            raise self._failure

    def _follow(self) -> None:
        try:
            self._feed.run()
        except Failure as failure:
            self._failure = failure
            loop = self._session.app.loop
            if loop is not None:
                loop.call_soon_threadsafe(self._leave_after_failure)

    def _leave_after_failure(self) -> None:
        if self._failure is not None and self._session.app.is_running:
            self._session.app.exit(exception=EOFError())

    def _send(self, event: Event) -> None:
        if not self._feed.send(event):
            print_formatted_text("* Not connected; that was not sent.")

    def _show(self, event: Event) -> None:
        match event["event"]:
            case "event":
                self._state = event["data"]
                if event["data"] != "running":
                    self._usage = ""
            case "stats":
                self._usage = usage(event)
            case "lost":
                self._state = "not connected"
        text = told(event)
        if text:
            print_formatted_text(ANSI(left_on_screen(text)), end="")
        self._session.app.invalidate()

    def _facts(self) -> str:
        return " | ".join(part for part in (self._state, self._usage, _KEYS_TOLD) if part)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        for name, action in POWER_KEYS.items():
            keys.add(name)(self._power(action))
        return keys

    def _power(self, action: str) -> Callable[[KeyPressEvent], None]:
        def press(_: KeyPressEvent) -> None:
            self._send({"event": "power", "action": action})

        return press
