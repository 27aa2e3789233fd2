"""Debian and Ubuntu packages, installed only where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess

from scripts.failure import Failure


def install_missing(programs: dict[str, str]) -> None:
    """Install the package of every program that is not there: `{"dockerd": "docker.io"}`. One call of apt.

    Raises Failure when this is not Debian or Ubuntu, when we are not root, or when apt fails.
    """
    missing = sorted({package for program, package in programs.items() if find(program) is None})
    if not missing:
        return
    wanted = " ".join(missing)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Failure(f"Missing: {wanted}. Install it (Debian, Ubuntu: apt-get install {wanted}), or run as root.")
    print(f"Installing {wanted} ...", flush=True)
    _apt("update", "-qq")
    _apt("install", "-y", "-qq", "--no-install-recommends", *missing)
    absent = [program for program in programs if find(program) is None]
    if absent:
        raise Failure(f"apt-get installed {wanted}, but {', '.join(absent)} cannot be found on PATH.")


def find(program: str) -> str | None:
    """Where a program is; administrators' programs count although their folders may not be on PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", *arguments]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        reason = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("E:")]
        raise Failure(f"{' '.join(command)} failed: {reason[0] if reason else 'see /var/log/apt/term.log'}")
