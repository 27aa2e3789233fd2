"""docs/errors.md names exactly the codes that the code uses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from app.errors import _SENTENCES
from storage.server.failures import _CODES

CHECKOUT = Path(__file__).parents[2]


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Every text that is given as a `code`: as an argument, in a dictionary, as an error's attribute, or in a tuple of
    status, reason, sentence and code.
    """
    for node in ast.walk(tree):
        given: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        elif isinstance(node, ast.Dict):
            named = zip(node.keys, node.values, strict=True)
            given = [value for name, value in named if isinstance(name, ast.Constant) and name.value == "code"]
        elif isinstance(node, ast.Assign):
            given = [node.value] if any(isinstance(to, ast.Name) and to.id == "code" for to in node.targets) else []
        elif isinstance(node, ast.Tuple) and len(node.elts) == 4 and isinstance(node.elts[0], ast.Constant):
            given = [node.elts[3]] if isinstance(node.elts[0].value, int) else []
        yield from (found.value for found in given if isinstance(found, ast.Constant) and isinstance(found.value, str))


def test_every_code_is_told_and_none_that_there_is_not() -> None:
    files = [file for top in ("app", "fleet", "storage", "worker") for file in (CHECKOUT / top).rglob("*.py")]
    used = {code for file in files for code in codes_in(ast.parse(file.read_text()))}
    used |= {code for _, code in _SENTENCES.values()} | set(_CODES.values())
    rows = [line for line in (CHECKOUT / "docs/errors.md").read_text().splitlines() if line.startswith("| `")]
    told = [code for row in rows for code in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert len(told) == len(set(told))
    assert set(told) == used
