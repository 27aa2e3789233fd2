"""What real processes print, however odd: it reaches the console as it was printed."""

from __future__ import annotations

import json

import pytest

from fleet.lifecycle import Action, State
from tests.agent.bench import Bench
from tests.support.deadline import eventually

pytestmark = pytest.mark.engine

COLOURED = "\x1b[1;32mDone\x1b[0m"
PRINTED = {
    "colours": (r"printf '\033[1;32mDone\033[0m\n'", f"{COLOURED}\n"),
    "a progress bar": (r"for n in 1 2 3; do printf '\r%d%%' $n; usleep 50000; done; echo", "\r1%\r2%\r3%\n"),
    "invalid UTF-8": (r"printf 'a\377\303(b\n'", "a\ufffd\ufffd(b\n"),
    "a character that comes in two writes": (r"printf 'gr\303'; usleep 300000; printf '\274n\n'", "grün\n"),
    "50,000 bytes": ("head -c 50000 /dev/zero | tr '\\0' x; echo; echo after", "x" * 50_000 + "\nafter\n"),
    "a line of 1 MB": ("head -c 1048576 /dev/zero | tr '\\0' y; echo; echo after", "y" * 2**20 + "\nafter\n"),
    "lines at one moment": ("seq 1 5000", "".join(f"{number}\n" for number in range(1, 5001))),
}


@pytest.mark.parametrize(("command", "expected"), PRINTED.values(), ids=PRINTED.keys())
def test_what_a_process_prints_is_on_its_console(host: Bench, command: str, expected: str) -> None:
    host.install("printer", f"{command}\necho end-of-output")
    host.do("printer", Action.START)
    wanted = f"{expected}end-of-output\n".encode()
    eventually(lambda: len(host.output("printer")) >= len(wanted), within_seconds=20, what="the output")
    assert host.output("printer") == wanted
    host.await_state("printer", State.READY, within_seconds=20)


def test_noise_harms_neither_the_console_nor_what_comes_after_it(host: Bench) -> None:
    """Random bytes hold newlines, escapes and NULs; what is left of them is what the engine wrote down."""
    host.install("noise", "head -c 300000 /dev/urandom; printf '\\nafter\\n'")
    host.do("noise", Action.START)
    eventually(lambda: host.output("noise").endswith(b"\nafter\n"), within_seconds=20, what="the line after the noise")
    host.await_state("noise", State.READY, within_seconds=20)
    engines = host.engine.containers.get(host.engine_name("noise")).logs()
    assert host.output("noise") == engines.replace(b"\r\n", b"\n")
    for output in host.console.since(host.id_of("noise"), 0):
        assert json.loads(json.dumps({"data": output.data}))["data"] == output.data


def test_colours_are_kept_for_watchers_though_the_pattern_does_not_see_them(host: Bench) -> None:
    host.install("coloured", r"printf '\033[1;32mDone\033[0m (3s)\n'; sleep 60", start_pattern=r"^Done \(3s\)$")
    host.do("coloured", Action.START)
    host.await_state("coloured", State.RUNNING, within_seconds=20)
    wanted = f"{COLOURED} (3s)\n".encode()
    eventually(lambda: host.output("coloured") == wanted, within_seconds=20, what="the line with its colours")
