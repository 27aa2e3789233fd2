"""Known weaknesses of the installed packages, as the package index tells them; asked while other checks run."""

from __future__ import annotations

import json
import subprocess
import sys

import click

_PATIENCE_SECONDS = 30
_COMMAND = (sys.executable, "-m", "pip_audit", "--local", "-s", "pypi", "-f", "json", "--progress-spinner", "off")


class KnownWeaknesses:
    """A question to the index that is under way."""

    def __init__(self, command: tuple[str, ...] = _COMMAND) -> None:
        self._asking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def passed(self) -> bool:
        """Print what is known; False when a package has a weakness. What nobody could tell is said, and no failure."""
        try:
            told, _ = self._asking.communicate(timeout=_PATIENCE_SECONDS)
            packages = json.loads(told)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            self._asking.kill()
            self._asking.communicate()
            click.secho("Not checked: the package index could not be asked (pip-audit gave no answer).", fg="yellow")
            return True
        weak = [package for package in packages if package.get("vulns")]
        for package in weak:
            ids = ", ".join(found["id"] for found in package["vulns"])
            click.secho(f"{package['name']} {package['version']}: {ids}", fg="red")
        unknown = sum("skip_reason" in package for package in packages)
        if unknown:
            click.secho(f"Not checked: the package index told nothing about {unknown} of {len(packages)}.", fg="yellow")
        if unknown < len(packages):
            click.echo(f"{len(packages) - unknown} packages checked, {len(weak)} with known weaknesses.")
        return not weak
