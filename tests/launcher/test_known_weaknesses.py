"""What `./lightd test` says of packages with known weaknesses, and what it does where the index tells nothing."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.advisories import Advisories
from scripts.known_weaknesses import KnownWeaknesses

SOUND: dict[str, Any] = {"name": "Sound", "version": "1", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "not on the index"}
WEAK = {"name": "weak", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
INSTALLED = {"sound": "1", "weak": "2"}
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)$", re.MULTILINE)


def answering(*packages: dict[str, Any], installed: dict[str, str] = INSTALLED) -> KnownWeaknesses:
    command = (sys.executable, "-c", f"print({json.dumps({'dependencies': packages})!r})")
    return KnownWeaknesses(command, installed)


def silent(installed: dict[str, str]) -> KnownWeaknesses:
    return KnownWeaknesses((sys.executable, "-c", "import sys; sys.exit(1)"), installed)


def test_a_package_with_known_weaknesses_is_named_and_fails_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert not answering(SOUND, WEAK).passed()
    told = capsys.readouterr().out
    assert "weak 2: PYSEC-1, PYSEC-2" in told
    assert "2 packages checked, 1 with known weaknesses." in told


def test_sound_packages_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert answering(SOUND, installed={"sound": "1"}).passed()
    assert "told nothing" not in capsys.readouterr().out


def test_what_the_index_tells_nothing_about_is_compared_with_the_kept_advisories(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not answering(SOUND, UNKNOWN, installed={"sound": "1", "unknown": "3", "flask": "2.3.1"}).passed()
    told = capsys.readouterr().out
    assert "told nothing about 2 of 3" in told
    assert "flask 2.3.1: CVE-2023-30861, GHSA-68rp-wp8r-4726" in told


def test_the_index_knows_better_than_the_kept_advisories() -> None:
    assert answering({"name": "Flask", "version": "2.3.1", "vulns": []}, installed={"flask": "2.3.1"}).passed()


def test_an_index_that_cannot_be_asked_is_told_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    assert silent({"unknown": "1"}).passed()
    assert "could not be asked" in capsys.readouterr().out
    assert not silent({"urllib3": "2.6.2"}).passed()


@pytest.mark.parametrize(
    ("version", "weak"),
    [("2.2.4", True), ("2.2.5", False), ("2.3.0", True), ("2.3.2", False), ("2.3.0rc1", False)],
)
def test_an_advisory_holds_for_its_versions_and_no_other(version: str, weak: bool) -> None:
    assert ("CVE-2023-30861" in Advisories.read().of("flask", version)) is weak


def test_the_kept_advisories_know_the_packages_that_face_clients() -> None:
    assert {"flask", "werkzeug", "gunicorn", "gevent", "marshmallow", "redis", "urllib3"} <= set(
        Advisories.read().versions
    )


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_nothing_is_pinned_to_a_version_with_a_kept_advisory(name: str) -> None:
    advisories = Advisories.read()
    pinned = PINNED.findall((Path(__file__).parents[2] / name).read_text())
    assert pinned
    assert {package: advisories.of(package.lower(), version) for package, version in pinned} == {
        package: [] for package, _ in pinned
    }
