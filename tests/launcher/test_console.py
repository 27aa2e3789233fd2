"""`./lightd console`: from a pipe and from a terminal, over an outage of the API."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.console.safe_text import safe_text
from scripts.console.telling import left_on_screen
from tests.support.deadline import eventually
from tests.support.servers import Servers, servers
from tests.support.stack import CHECKOUT, Stack

__all__ = ["servers"]

ECHO = 'echo Ready; while read -r line; do echo "got $line"; done'
_WHERE = b"\x1b[6n"


class Person:
    """Somebody at `./lightd console`, with a terminal or at the ends of a pipe. `seen` is what was printed so far."""

    def __init__(self, stack: Stack, *arguments: str, terminal: bool) -> None:
        environment = {**stack.environment, "TERM": "xterm"}
        self._input, inner = pty.openpty() if terminal else os.pipe()[::-1]
        if terminal:
            termios.tcsetwinsize(inner, (30, 120))
        self.process = subprocess.Popen(
            [str(CHECKOUT / "lightd"), "console", *arguments],
            env=environment,
            stdin=inner,
            stdout=inner if terminal else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(inner)
        self._output = self._input if self.process.stdout is None else self.process.stdout.fileno()
        self._bytes = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def seen(self) -> str:
        """What was printed, without escape sequences."""
        return safe_text(re.sub(r"\x1b\[[0-9;]*m", "", self._bytes.decode(errors="replace")))

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._input, text.encode())

    def sees(self, text: str) -> None:
        """Wait until it is printed."""
        eventually(lambda: text in self.seen, within_seconds=20, what=f"{text!r} among {self.seen[-2000:]!r}")

    def leave(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        self._reader.join(60)
        os.close(self._input)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        while True:
            try:
                block = os.read(self._output, 65536)
            except OSError:  # the terminal's other side is closed
                return
            if not block:
                return
            self._bytes += block
            if _WHERE in block:
                os.write(self._input, b"\x1b[1;1R")  # what a terminal answers: row and column


Arrive = Callable[..., Person]


@pytest.fixture
def arrive(stack: Stack) -> Iterator[Arrive]:
    """Have a person watch a container; all leave at the end of the test."""
    present: list[Person] = []

    def watch(*arguments: str, terminal: bool) -> Person:
        present.append(Person(stack, *arguments, terminal=terminal))
        return present[-1]

    yield watch
    for person in present:
        person.leave()


def test_lines_of_a_pipe_become_commands_and_output_goes_to_it(stack: Stack, servers: Servers, arrive: Arrive) -> None:
    person = arrive(servers.run(ECHO), terminal=False)
    person.sees("Ready\n")
    person.type("hello\n")
    person.sees("got hello\n")


def test_a_command_that_waits_in_the_pipe_is_sent_once_there_is_a_connection(
    stack: Stack, servers: Servers, arrive: Arrive
) -> None:
    person = arrive(servers.run(ECHO), terminal=False)
    person.type("hello\n")
    person.sees("got hello\n")
    assert "not sent" not in person.seen


def test_it_ends_when_nobody_reads_its_output_any_more(stack: Stack, servers: Servers) -> None:
    container = servers.run("echo Ready; while sleep 0.1; do echo tick; done")
    command = f"{CHECKOUT}/lightd console {container} </dev/null | head -n 2"
    done = subprocess.run(["bash", "-c", command], env=stack.environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "Ready\ntick\n"
    assert "Connection lost" not in done.stderr


def test_in_a_terminal_lines_and_keys_work_also_after_an_outage(stack: Stack, servers: Servers, arrive: Arrive) -> None:
    container = servers.run(ECHO)
    person = arrive(container, terminal=True)
    person.sees("Ready")
    person.sees("F7 restart")
    person.type("hello\r")
    person.sees("got hello")
    stack.wait_restarted("api", stack.kill("api"))
    person.sees("Connection lost")
    eventually(lambda: person.seen.count("* running") >= 2, within_seconds=30, what="the connection")
    person.type("again\r")
    person.sees("got again")
    person.type("\x1b[19~")  # F8
    person.sees("* exit")
    stack.wait_for_state(container, "ready")
    person.type("\x04")
    assert person.process.wait(60) == 0
    assert person.seen.count("got hello") == 1, "what was seen is not told again"
    assert person.seen.count("Connection lost") == 1


def test_lines_that_are_pasted_are_commands_of_their_own(stack: Stack, servers: Servers, arrive: Arrive) -> None:
    person = arrive(servers.run(ECHO), terminal=True)
    person.sees("Ready")
    person.type("\x1b[200~one\rtwo\x1b[201~\r")
    person.sees("got one")
    person.sees("got two")


def test_a_person_can_leave_although_the_api_answers_nothing(stack: Stack, servers: Servers, arrive: Arrive) -> None:
    person = arrive(servers.run(ECHO), terminal=True)
    person.sees("Ready")
    workers = _children(stack.pid("api"))
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        person.type("\x04")
        assert person.process.wait(20) == 0
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_token_that_is_not_good_is_told(stack: Stack, servers: Servers, arrive: Arrive, tmp_path: Path) -> None:
    for terminal in (True, False):
        person = arrive("some", "--token", "lightd_not-the-right-one", terminal=terminal)
        assert person.process.wait(60) == 1
        person.sees("Error: The API does not know this token.")


def test_an_address_that_is_none_is_told(arrive: Arrive, stack: Stack) -> None:
    for address in ("ftp://localhost", "localhost:8070"):
        person = arrive("some", "--url", address, "--token", "lightd_any", terminal=False)
        assert person.process.wait(60) == 1
        person.sees(f"Error: {address} is no address of an API")


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("\x1b[31mred\x1b[0m\n", "\x1b[31mred\x1b[0m\n"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;c2VjcmV0\x1b\\text", "text"),
        ("\x1bPq#0\x1b\\text", "text"),
        ("\x1b]never ended", ""),
        ("a\rb\tc\n", "a\rb\tc\n"),
        ("\x9b2Jx\x00\x07\x7f", "2Jx"),
        ("\x1b[31", "31"),
        ("ends with \x1b", "ends with "),
        (f"\x1b[{'1' * 5000}mtext", "text"),
    ],
)
def test_a_program_can_colour_the_terminal_but_not_take_it_over(printed: str, shown: str) -> None:
    assert safe_text(printed) == shown


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("one\ntwo\n", "one\ntwo\n"),
        ("\r1%\r2%\r100%\nnext\n", "100%\nnext\n"),
        ("50%\r100%\r\n", "100%\n"),
        ("\n", "\n"),
        ("a piece of a long line", "a piece of a long line\n"),
    ],
)
def test_a_terminal_shows_what_is_left_of_each_line(printed: str, shown: str) -> None:
    assert left_on_screen(printed) == shown
