"""Known weaknesses of the installed packages, as the package index tells them; asked while other checks run.

Where the index tells nothing, as mirrors do, the advisories that the repository keeps are what is known.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Mapping

import click
from packaging.utils import canonicalize_name

from scripts.advisories import Advisories

_PATIENCE_SECONDS = 30
_COMMAND = (sys.executable, "-m", "pip_audit", "--local", "-s", "pypi", "-f", "json", "--progress-spinner", "off")


class KnownWeaknesses:
    """A question to the index that is under way. `installed` are versions by the packages' normalised names."""

    def __init__(self, command: tuple[str, ...] = _COMMAND, installed: Mapping[str, str] | None = None) -> None:
        self._asking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._installed = _installed() if installed is None else installed

    def passed(self) -> bool:
        """Print what is known; False when a package has a weakness."""
        told = self._told_by_index()
        advisories = Advisories.read()
        untold = {name: version for name, version in self._installed.items() if name not in told}
        weak = {name: ids for name, ids in told.items() if ids}
        weak |= {name: ids for name, version in untold.items() if (ids := advisories.of(name, version))}
        for name, ids in sorted(weak.items()):
            click.secho(f"{name} {self._installed.get(name, '')}: {', '.join(ids)}", fg="red")
        if untold:
            click.secho(
                f"The package index told nothing about {len(untold)} of {len(self._installed)} packages; these were"
                f" compared with the {advisories.count} advisories kept here, of {advisories.as_of}.",
                fg="yellow",
            )
        click.echo(f"{len(self._installed)} packages checked, {len(weak)} with known weaknesses.")
        return not weak

    def _told_by_index(self) -> dict[str, list[str]]:
        """Ids of weaknesses for each package that the index knows."""
        try:
            told, _ = self._asking.communicate(timeout=_PATIENCE_SECONDS)
            packages = json.loads(told)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            self._asking.kill()
            self._asking.communicate()
            click.secho("The package index could not be asked (pip-audit gave no answer).", fg="yellow")
            return {}
        return {
            canonicalize_name(package["name"]): [found["id"] for found in package["vulns"]]
            for package in packages
            if "skip_reason" not in package
        }


def _installed() -> dict[str, str]:
    return {canonicalize_name(found.name): found.version for found in importlib.metadata.distributions()}
