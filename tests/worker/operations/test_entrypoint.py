"""How a server's process is started and ended, in real containers."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker.models.images import Image

from tests.support.deadline import eventually
from tests.support.images import BUSYBOX, DEBIAN
from tests.worker.engine_bench import EngineBench

pytestmark = pytest.mark.engine

SAVES = "trap 'echo saving; sleep 1; echo saved; exit 5' TERM; echo up; while :; do sleep 0.1; done"


@pytest.fixture(params=[BUSYBOX, DEBIAN])
def image(request: pytest.FixtureRequest, busybox_image: Image, debian_image: Image) -> str:
    return str(request.param)


def await_line(bench: EngineBench, engine_id: str, line: str) -> None:
    eventually(lambda: bench.printed(engine_id, line), within_seconds=20, what=f"the line {line!r}")


def test_the_exit_code_is_the_commands(engine_bench: EngineBench, image: str) -> None:
    assert engine_bench.exit_code(engine_bench.start_server("exit 3", image)) == 3
    assert engine_bench.exit_code(engine_bench.start_server("sh -c 'exit 4'", image)) == 4
    assert engine_bench.exit_code(engine_bench.start_server("true", image)) == 0
    assert engine_bench.exit_code(engine_bench.start_server("sh -c 'exit 6' \\", image)) == 6


def test_a_signal_reaches_the_command_which_may_finish_saving(engine_bench: EngineBench, image: str) -> None:
    (engine_bench.volume / "server.sh").write_text(SAVES)
    engine_id = engine_bench.start_server("sh server.sh", image)
    await_line(engine_bench, engine_id, "up")
    engine_bench.runtime.signal(engine_id, "SIGTERM")
    assert engine_bench.exit_code(engine_id) == 5
    assert engine_bench.output(engine_id).endswith("saving\nsaved\n")


def test_a_server_behind_a_wrapper_script_may_finish_saving_too(engine_bench: EngineBench, image: str) -> None:
    (engine_bench.volume / "server.sh").write_text(SAVES)
    (engine_bench.volume / "wrapper.sh").write_text("echo wrapper; sh server.sh; echo never")
    engine_id = engine_bench.start_server("sh wrapper.sh", image)
    await_line(engine_bench, engine_id, "up")
    engine_bench.runtime.signal(engine_id, "SIGTERM")
    engine_bench.exit_code(engine_id)
    assert "saved" in engine_bench.output(engine_id)


def test_a_command_without_any_handler_ends_at_once(engine_bench: EngineBench, image: str) -> None:
    engine_id = engine_bench.start_server("echo up; sleep 1000", image)
    await_line(engine_bench, engine_id, "up")
    engine_bench.runtime.signal(engine_id, "SIGTERM")
    ended = engine_bench.runtime.wait(engine_id, 5)
    assert ended is not None and ended.exit_code == 143


def test_an_interrupt_reaches_the_command(engine_bench: EngineBench, image: str) -> None:
    (engine_bench.volume / "server.sh").write_text("trap 'exit 6' INT; echo up; while :; do sleep 0.1; done")
    engine_id = engine_bench.start_server("sh server.sh", image)
    await_line(engine_bench, engine_id, "up")
    engine_bench.runtime.signal(engine_id, "SIGINT")
    assert engine_bench.exit_code(engine_id) == 6


def test_input_is_not_echoed_and_output_has_plain_line_ends(engine_bench: EngineBench, image: str) -> None:
    engine_id = engine_bench.start_server("echo up; read line; echo got $line", image)
    await_line(engine_bench, engine_id, "up")
    engine_bench.runtime.write_input(engine_id, b"hello\n")
    assert engine_bench.output(engine_id) == "up\ngot hello\n"


def test_the_command_is_taken_word_for_word(engine_bench: EngineBench, image: str) -> None:
    command = 'A="x  y"; for i in 1 2; do\r\n  echo "$i {$A} %s \\\\ \'$HOME\'"\r\ndone # the end'
    lines = engine_bench.output(engine_bench.start_server(command, image)).splitlines()
    assert lines == ["1 {x  y} %s \\ '/home/container'", "2 {x  y} %s \\ '/home/container'"]


def test_the_process_is_told_about_itself(engine_bench: EngineBench, image: str) -> None:
    engine_id = engine_bench.start_server("pwd; id -u; env", image, env={"GAME": "chess", "TERM": "dumb"})
    lines = engine_bench.output(engine_id).splitlines()
    assert lines[:2] == ["/home/container", "1000"]
    expected = {"GAME=chess", "TERM=dumb", "SERVER_MEMORY=256", "SERVER_PORT=", "HOME=/home/container"}
    assert expected <= set(lines)
    assert not any(line.startswith("TINI") for line in lines)


def test_the_scripts_are_readable_but_not_writable_inside(engine_bench: EngineBench, image: str) -> None:
    engine_id = engine_bench.start_server("ls /app/data; echo x > /app/data/entrypoint.sh", image)
    output = engine_bench.output(engine_id)
    assert output.splitlines()[0].split() == ["entrypoint.sh", "install.sh"]
    assert "ead-only" in output


def test_files_of_the_volume_persist(engine_bench: EngineBench, image: str, tmp_path: Path) -> None:
    engine_bench.exit_code(engine_bench.start_server("echo world > save.dat", image))
    assert (engine_bench.volume / "save.dat").read_text() == "world\n"
