"""Published weaknesses that this repository keeps, for where no package index tells of any."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from packaging.specifiers import SpecifierSet

ADVISORIES = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Advisories:
    """For each package, by its normalised name, the versions that have a weakness, by the weakness's id."""

    as_of: date
    versions: Mapping[str, Mapping[str, list[SpecifierSet]]]

    @classmethod
    def read(cls, path: Path = ADVISORIES) -> Advisories:
        """Those of the file; raises InvalidSpecifier where it names versions in a way that means nothing."""
        kept = tomllib.loads(path.read_text())
        return cls(
            kept["as_of"],
            {
                package: {name: [SpecifierSet(one, prereleases=True) for one in ranges] for name, ranges in of.items()}
                for package, of in kept["advisories"].items()
            },
        )

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(len(of) for of in self.versions.values())

    def of(self, package: str, version: str) -> list[str]:
        """The ids of the weaknesses that this version of a package has; `package` is its normalised name."""
        found = self.versions.get(package, {})
        return [name for name, ranges in found.items() if any(version in versions for versions in ranges)]
