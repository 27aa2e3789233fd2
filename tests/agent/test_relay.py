"""Passing on the output of real containers until their end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.images import Image

from fleet.console import Console
from fleet.settings import Settings, read_settings
from fleet.store import Client, connect
from tests.support.images import BUSYBOX
from worker.console.relay import relay

pytestmark = pytest.mark.engine

Start = Callable[..., Container]


@pytest.fixture
def start(engine: docker.DockerClient, busybox_image: Image) -> Iterator[Start]:
    """Start a container with a terminal that runs a shell script."""
    made: list[Container] = []

    def begin(script: str, log_mb: int = 10) -> Container:
        options = {"max-size": f"{log_mb}m", "max-file": "3"}
        made.append(
            engine.containers.run(
                BUSYBOX,
                ["sh", "-c", script],
                detach=True,
                tty=True,
                network_mode="none",
                log_config=docker.types.LogConfig(type="json-file", config=options),
            )
        )
        return made[-1]

    yield begin
    for container in made:
        with contextlib.suppress(NotFound):
            container.remove(force=True)


@pytest.fixture
def settings(store_url: str) -> Settings:
    return replace(read_settings(), redis_url=store_url, stream_url=store_url)


@pytest.fixture
def console(store: Client, settings: Settings) -> Iterator[Console]:
    clients = connect(settings)
    yield Console(clients.stream_bytes)
    clients.stream_bytes.close()


def _output(console: Console, name: str) -> str:
    return "".join(output.data for output in console.since(name, 0))


def test_everything_is_passed_on_until_the_process_ends(console: Console, settings: Settings, start: Start) -> None:
    container = start("echo one; sleep 0.3; echo two; printf 'no newline'")
    tail = relay(console, settings, "c", container.id, lambda: False)
    assert tail == b"one\ntwo\nno newline\n"
    assert _output(console, "c") == tail.decode()


def test_the_tail_is_the_last_64_kib(console: Console, settings: Settings, start: Start) -> None:
    container = start("seq 1 60000")
    expected = b"".join(b"%d\n" % number for number in range(1, 60001))
    assert relay(console, settings, "c", container.id, lambda: False) == expected[-65536:]


def test_a_second_relay_goes_on_where_the_first_was_stopped(console: Console, settings: Settings, start: Start) -> None:
    container = start("seq 1 20000; sleep 0.5; seq 20001 40000")
    relay(console, settings, "c", container.id, lambda: bool(_output(console, "c")))
    assert "40000" not in _output(console, "c")
    relay(console, settings, "c", container.id, lambda: False)
    assert _output(console, "c") == "".join(f"{number}\n" for number in range(1, 40001))


def test_two_relays_at_once_pass_everything_on_once(console: Console, settings: Settings, start: Start) -> None:
    container = start("seq 1 50000")
    arguments = (console, settings, "c", container.id, lambda: False)
    threads = [threading.Thread(target=relay, args=arguments, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert _output(console, "c") == "".join(f"{number}\n" for number in range(1, 50001))


def test_a_container_that_is_gone_or_never_started_has_nothing_to_pass_on(
    console: Console, settings: Settings, engine: docker.DockerClient, start: Start
) -> None:
    container = start("echo hi")
    container.wait()
    container.remove()
    assert relay(console, settings, "c", container.id, lambda: False) == b""
    assert relay(console, settings, "c", "no-such-container", lambda: False) == b""


def test_a_relay_stops_when_told_although_the_process_runs_on(
    console: Console, settings: Settings, start: Start
) -> None:
    container = start("echo hi; sleep 60")
    assert relay(console, settings, "c", container.id, lambda: _output(console, "c") != "") == b"hi\n"
