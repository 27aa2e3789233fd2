"""The shell script `lightd`: a virtual environment on first use, and out of the way afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.deadline import PATIENCE
from tests.support.stack import CHECKOUT


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A small checkout: the script, lists of nothing, and a command line that tells its arguments."""
    return small_checkout(tmp_path / "a checkout")


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkout whose script has run."""
    folder = small_checkout(tmp_path_factory.mktemp("used") / "checkout")
    assert outcome(start(folder))[0] == 0
    return folder


@pytest.fixture
def checkout(used: Path, tmp_path: Path) -> Path:
    """A copy of the used checkout; an environment may be moved."""
    return shutil.copytree(used, tmp_path / "checkout", symlinks=True)


def small_checkout(folder: Path) -> Path:
    """Make a small checkout in `folder`."""
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(CHECKOUT / "lightd", folder)
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "requirements-dev.txt").write_text("-r requirements.txt\n")
    (folder / "scripts" / "__init__.py").touch()
    (folder / "scripts" / "__main__.py").write_text("import sys\nprint(sys.prefix, sys.argv[1:])\n")
    return folder


def start(checkout: Path, *arguments: str, path: str | None = None) -> subprocess.Popen[str]:
    """Start the script."""
    environment = {**os.environ, **({} if path is None else {"PATH": path})}
    return subprocess.Popen(
        ["/bin/sh", str(checkout / "lightd"), *arguments],
        cwd="/",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and error output."""
    output, error = process.communicate(timeout=120)
    return process.returncode, output, error


def test_two_first_runs_at_once_share_one_environment(fresh: Path) -> None:
    runs = [start(fresh, "up", "--detach"), start(fresh, "status", "a b")]
    (first, output, told), (second, other, also_told) = map(outcome, runs)
    assert (first, second) == (0, 0), told + also_told
    assert output == f"{fresh}/.venv ['up', '--detach']\n"
    assert other == f"{fresh}/.venv ['status', 'a b']\n"
    assert (told + also_told).count("Making the virtual environment") == 1
    assert (told + also_told).count("Installing requirements.txt") == 1
    assert outcome(start(fresh)) == (0, f"{fresh}/.venv []\n", "")


def test_a_list_that_cannot_be_installed_is_told_and_tried_again(checkout: Path) -> None:
    (checkout / "requirements.txt").write_text("./nothing.whl\n")
    for _ in range(2):
        code, output, told = outcome(start(checkout, "up"))
        assert code == 1
        assert output == ""
        assert told.endswith("Error: pip could not install requirements.txt; the reason stands above.\n")
    (checkout / "requirements.txt").write_text("# nothing again\n")
    assert outcome(start(checkout, "up"))[0] == 0


def test_the_tests_have_their_own_list(checkout: Path) -> None:
    assert "Installing requirements-dev.txt" in outcome(start(checkout, "test"))[2]
    assert outcome(start(checkout, "test", "-k", "name")) == (0, f"{checkout}/.venv ['test', '-k', 'name']\n", "")


def test_a_python_that_is_too_old_is_refused_in_one_sentence(fresh: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("dirname", "readlink", "cmp", "mkdir", "flock", "id"):
        (programs / name).symlink_to(str(shutil.which(name)))
    script = (fresh / "lightd").read_text().replace(" /usr/bin/python3", "")
    (fresh / "lightd").write_text(script)
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n")
    (programs / "python3").chmod(0o755)
    code, _, told = outcome(start(fresh, "up", path=str(programs)))
    assert code == 1
    assert told.startswith("Error: Lightd needs Python 3.11 or newer; ")
    assert told.count("\n") == 1


def test_a_later_run_loses_no_time_before_python(checkout: Path) -> None:
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to("/bin/true")
    assert min(seconds(checkout) for _ in range(5)) < 0.1 * PATIENCE


def seconds(checkout: Path) -> float:
    """How long one run takes."""
    begun = time.monotonic()
    assert outcome(start(checkout))[0] == 0
    return time.monotonic() - begun
