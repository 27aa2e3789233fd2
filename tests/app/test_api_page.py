"""docs/api.md tells of every route that there is, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

from flask import Flask

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
ROUTE = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`\s?]*)")
IDS = re.compile(r"<(internal_id|volume_id|job_id|token_id)>")


def told() -> set[str]:
    return {f"{method} {IDS.sub('<id>', path)}" for method, path in ROUTE.findall(PAGE.read_text())}


def test_the_page_tells_of_every_route_and_of_no_other(application: Flask) -> None:
    there = {
        f"{method} {IDS.sub('<id>', rule.rule)}"
        for rule in application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert told() == there
