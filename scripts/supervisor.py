"""`python -m scripts.supervisor`, with a plan on stdin: keeps the plan's processes running until it is told to end.

One small Python for all of them: it starts the stores, then the rest; starts again whatever ends; writes each one's
output to its log and, in the foreground, to the terminal; ends all of them, the stores last, on SIGTERM or Ctrl-C. Its
children die with it whatever kills it. Why not honcho's own manager: docs/decisions/0006-one-small-supervisor.md.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from scripts import instance_lock
from scripts.child import Child
from scripts.log_file import LogFile
from scripts.plan import SUPERVISOR, Plan, Process, plan_from_json

ALREADY_RUNNING = 3
"""Exit code of a supervisor that finds another one in its place."""
_STORE_POLL_SECONDS = 0.05


class Supervisor:
    """Runs a plan; `printer` shows the output on a terminal, None keeps it to the logs."""

    def __init__(self, plan: Plan, printer: Printer | None) -> None:
        self._plan = plan
        self._printer = printer
        self._log = LogFile(plan.log_path(SUPERVISOR))
        self._children = [
            Child(process, LogFile(plan.log_path(process.name)), plan.checkout) for process in plan.processes
        ]
        self._colours = dict(zip((child.name for child in self._children), get_colours(), strict=False))
        self._selector = selectors.DefaultSelector()
        self._started_at = time.time()
        self._stores_listen = False
        self._ending = self._end_in_order()
        self._asked_to_end = 0
        self._deadline: float | None = None

    def run(self) -> None:
        """Keep everything running; returns when everything has ended after a signal."""
        self._listen_for_signals()
        self._say(f"supervisor {os.getpid()} starts {', '.join(child.name for child in self._children)}")
        while self._advance():
            for key, _ in self._selector.select(self._idle_seconds()):
                # Reaping a process forgets its output, which may be the next event of the same turn.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
        self._write_record()
        self._say("everything has ended")

    def _advance(self) -> bool:
        """Do what is due; False when all has ended."""
        if self._asked_to_end:
            return next(self._ending, False)
        self._stores_listen = self._stores_listen or all(map(_listens, self._plan.processes))
        for child in self._children:
            if (
                child.due is not None
                and child.due <= time.monotonic()
                and (self._stores_listen or child.process.socket)
            ):
                self._start(child)
        return True

    def _idle_seconds(self) -> float | None:
        """How long nothing is due; None for ever."""
        if not self._asked_to_end and not self._stores_listen:
            return _STORE_POLL_SECONDS
        times = [child.due for child in self._children if child.due is not None and not self._asked_to_end]
        times += [self._deadline] if self._deadline is not None else []
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _start(self, child: Child) -> None:
        try:
            output, end = child.start()
        except OSError as error:
            child.hold_off()
            self._say(f"{child.name} cannot be started: {error}")
            return
        self._selector.register(output, selectors.EVENT_READ, lambda: self._relay(child, output))
        self._selector.register(end, selectors.EVENT_READ, lambda: self._reap(child, output, end))
        self._say(f"{child.name} started with id {child.pid}")
        self._write_record()

    def _relay(self, child: Child, output: int) -> bool:
        """Pass on what a child has written; False when there is nothing more now."""
        try:
            lines = child.read()
        except OSError as error:
            self._say(f"the log of {child.name} cannot be written: {error}")
            return False
        if lines is None:
            self._forget(output)
        if lines:
            self._show(child.name, lines)
        return bool(lines)

    def _reap(self, child: Child, output: int, end: int) -> None:
        child.send(signal.SIGKILL, group=True)  # what it may have left behind; it still holds the group's number
        while self._relay(child, output):
            continue
        self._forget(output)
        self._forget(end)
        os.close(end)
        child.reap()
        self._say(f"{child.name} ended {child.last_end}")
        self._write_record()

    def _forget(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):  # its output may have been closed, and forgotten, before
            self._selector.unregister(descriptor)

    def _end_in_order(self) -> Iterator[bool]:
        """End the stores' clients, then the stores; what outlives its grace is killed. True while there are some."""
        self._say("told to end")
        for stores in (False, True):
            group = [child for child in self._children if bool(child.process.socket) is stores]
            for child in group:
                child.send(signal.SIGTERM)
            self._deadline = time.monotonic() + self._plan.grace_seconds
            while any(child.pid for child in group):
                if time.monotonic() >= self._deadline or self._asked_to_end > 1:
                    for child in group:
                        child.send(signal.SIGKILL, group=True)
                    self._deadline = time.monotonic() + self._plan.grace_seconds
                yield True

    def _listen_for_signals(self) -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._selector.register(reading, selectors.EVENT_READ, lambda: os.read(reading, 64))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._end)

    def _end(self, number: int, _: object) -> None:
        """Ask to end. Only Ctrl-C asks again: a closing terminal sends several other signals at once."""
        if not self._asked_to_end or number == signal.SIGINT:
            self._asked_to_end += 1

    def _say(self, sentence: str) -> None:
        """A line of the supervisor's own: in its log, and on the terminal."""
        stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError):  # a full disk must not end the processes
            self._log.write(f"{stamp} {sentence}\n".encode())
        self._show("lightd", sentence)

    def _show(self, name: str, lines: bytes | str) -> None:
        if self._printer is None:
            return
        message = Message("line", lines, datetime.datetime.now(), name, self._colours.get(name))
        try:
            self._printer.write(message)
        except OSError:  # the terminal is gone; the logs remain
            self._printer = None

    def _write_record(self) -> None:
        """Write down who runs, for `./lightd status` and `./lightd down`."""
        running = {
            child.name: {
                "pid": child.pid,
                "started_at": child.started_at,
                "restarts": max(0, child.restarts),
                "last_end": child.last_end,
            }
            for child in self._children
        }
        own = {"pid": os.getpid(), "started_at": self._started_at, "restarts": 0, "last_end": ""}
        fresh = self._plan.record_path.with_suffix(".fresh")
        try:
            fresh.write_text(json.dumps({"processes": {SUPERVISOR: own, **running}}))
            fresh.replace(self._plan.record_path)
        except OSError as error:
            self._show("lightd", f"{self._plan.record_path} cannot be written: {error}")


def _listens(process: Process) -> bool:
    """Whether a store takes connections; true for what is not a store."""
    if not process.socket:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(process.socket) == 0


def main() -> int:
    """Run the plan from stdin; `--show` prints the processes' output."""
    plan = plan_from_json(sys.stdin.read())
    if not instance_lock.take(plan.lock_path):
        return ALREADY_RUNNING
    printer = Printer(sys.stdout, width=max(len(process.name) for process in plan.processes))
    Supervisor(plan, printer if "--show" in sys.argv else None).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
