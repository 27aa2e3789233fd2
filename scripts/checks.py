"""`./lightd test`: everything that must hold, from format to end to end, on the real engine and a real store."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import docker

from fleet.settings import Settings
from scripts import engine
from scripts.failure import Failure
from scripts.known_weaknesses import KnownWeaknesses
from scripts.packages import install_missing
from scripts.remains import RUN_VARIABLE, Remains
from scripts.up import CHECKOUT

PROGRAMS = {
    **engine.PROGRAMS,
    "7z": "p7zip-full",
    "busybox": "busybox-static",
    "bzip2": "bzip2",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
    "jq": "jq",
    "ps": "procps",
    "unzip": "unzip",
    "zip": "zip",
    "zstd": "zstd",
}
CHAOS_SEED = "LIGHTD_CHAOS_SEED"
CHAOS_MINUTES = "LIGHTD_CHAOS_MINUTES"
_SEEDS = 10**6
_OURS = ("app", "celery_app.py", "fleet", "scripts", "storage", "worker", "wsgi.py")
_STATIC_CHECKS = (
    ("format", ("ruff", "format", "--check", ".")),
    ("lint", ("ruff", "check", ".")),
    ("types", ("mypy",)),
    ("weak code", ("bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", *_OURS)),
)


def check(settings: Settings, *, everything: bool, pytest_arguments: tuple[str, ...]) -> int:
    """Run all checks, or pytest alone with these arguments; answers the exit code.

    Raises Failure when something the tests need cannot be had, when a check failed, or when tests left something.
    """
    install_missing(PROGRAMS)
    daemon = engine.ensure_engine(settings)
    try:
        failed = [] if pytest_arguments else _static_checks()
        code, left = _tests(settings, everything, pytest_arguments)
    finally:
        if daemon is not None:
            engine.end_dockerd(daemon)
    if left:
        raise Failure(f"The tests left behind: {', '.join(left)}.")
    if failed:
        raise Failure(f"These checks failed: {', '.join(failed)}.")
    return code


def chaos_arguments(seed: int | None, minutes: float | None) -> tuple[str, ...]:
    """What chooses the chaos alone; the test reads seed and minutes from the environment. Without a seed it is new."""
    os.environ[CHAOS_SEED] = str(secrets.randbelow(_SEEDS) if seed is None else seed)
    if minutes is not None:
        os.environ[CHAOS_MINUTES] = str(minutes)
    return "tests/chaos", "-s"


def _static_checks() -> list[str]:
    """Names of the checks that failed."""
    failed = []
    weaknesses = KnownWeaknesses()
    for name, command in _STATIC_CHECKS:
        click.secho(f"== {name}", bold=True)
        if subprocess.run([sys.executable, "-m", *command], cwd=CHECKOUT).returncode != 0:
            failed.append(name)
    click.secho("== weak packages", bold=True)
    return failed if weaknesses.passed() else [*failed, "weak packages"]


def _tests(settings: Settings, everything: bool, arguments: tuple[str, ...]) -> tuple[int, list[str]]:
    """Run pytest with a folder of its own for all temporary files.

    Answers its exit code, which is not 0 when nothing ran, and what the tests left behind, which is removed.
    """
    click.secho("== tests", bold=True)
    chosen = [*([] if everything or "-m" in arguments else ["-m", "not long"]), *arguments]
    if not arguments:  # two at a time: most tests wait for an engine, a store or a process
        chosen += ["--numprocesses", "2", "--dist", "loadfile"]
    client = docker.DockerClient(base_url=settings.engine, version="auto")
    folder = Path(tempfile.mkdtemp(prefix="lt-"))
    try:
        run = secrets.token_hex(3)
        environment = {**os.environ, "TMPDIR": str(folder), RUN_VARIABLE: run}
        command = [sys.executable, "-m", "pytest", f"--basetemp={folder}/pytest", *chosen]
        code = subprocess.run(command, cwd=CHECKOUT, env=environment).returncode
        return code, Remains(client, run, folder).remove()
    finally:
        client.close()
        # Tests make deeper trees than Python's own removal can walk.
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)
