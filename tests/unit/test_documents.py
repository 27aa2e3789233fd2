"""What the documents link to and name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FOLDERS = "app|bench|docs|fleet|scripts|storage|tests|worker"
OF_THE_CONSOLE = {"LIGHTD_URL", "LIGHTD_TOKEN"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
    known = {field.metadata["variable"] for field in Settings.__dataclass_fields__.values()} | OF_THE_CONSOLE
    assert set(re.findall(r"\bLIGHTD_[A-Z_]+\b", text)) <= known
