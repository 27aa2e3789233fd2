"""What `./lightd test` says of packages with known weaknesses, and of an index that tells nothing."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from scripts.known_weaknesses import KnownWeaknesses

SOUND: dict[str, Any] = {"name": "sound", "version": "1", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "not on the index"}
WEAK = {"name": "weak", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}


def answering(*packages: dict[str, Any]) -> KnownWeaknesses:
    return KnownWeaknesses((sys.executable, "-c", f"print({json.dumps({'dependencies': packages})!r})"))


def test_a_package_with_known_weaknesses_is_named_and_fails_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert not answering(SOUND, WEAK).passed()
    told = capsys.readouterr().out
    assert "weak 2: PYSEC-1, PYSEC-2" in told
    assert "2 packages checked, 1 with known weaknesses." in told


def test_sound_packages_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert answering(SOUND).passed()
    assert "Not checked" not in capsys.readouterr().out


def test_packages_that_the_index_tells_nothing_about_are_counted_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    assert answering(SOUND, UNKNOWN, UNKNOWN).passed()
    assert "told nothing about 2 of 3" in capsys.readouterr().out


def test_an_index_that_cannot_be_asked_is_told_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    assert KnownWeaknesses((sys.executable, "-c", "import sys; sys.exit(1)")).passed()
    assert "Not checked" in capsys.readouterr().out
