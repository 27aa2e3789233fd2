"""The page at `/docs` tells people all that `/openapi.json` tells tools."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask import Flask


@pytest.fixture
def page(application: Flask) -> str:
    """The page, as anybody gets it."""
    answer = application.test_client().get("/docs")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    return unescape(answer.text)


def test_it_tells_of_every_call_with_its_parameters(application: Flask, page: str) -> None:
    told = re.findall(r"<summary><b>(\w+)</b> (\S+) <small>(.*?)</small></summary>\s*<div>(.*?)</div>", page, re.DOTALL)
    paths = application.test_client().get("/openapi.json").json["paths"]
    expected = {
        (method.upper(), path, operation["summary"])
        for path, operations in paths.items()
        for method, operation in operations.items()
        if method != "parameters"
    }
    assert {(method, path, summary) for method, path, summary, _ in told} == expected
    for _, path, _, more in told:
        assert all(f"<code>{name}</code>" in more for name in re.findall(r"{(\w+)}", path)), path


def test_it_tells_of_every_field_of_every_body_and_answer(application: Flask, page: str) -> None:
    schemas = application.test_client().get("/openapi.json").json["components"]["schemas"]
    for name, schema in schemas.items():
        section = page.partition(f'<h3 id="{name}">')[2].partition("<h3")[0]
        assert all(f"<code>{field}</code>" in section for field in schema.get("properties", {})), name


def test_its_links_lead_somewhere(page: str) -> None:
    targets = set(re.findall(r'id="([^"]+)"', page))
    links = set(re.findall(r'href="([^"]+)"', page))
    assert links - {"openapi.json"} <= {f"#{target}" for target in targets}


def test_it_runs_nothing_and_loads_nothing(application: Flask, page: str) -> None:
    assert not re.search(r"<script|<link|<img|src=|@import|url\(|https?://", page)
    policy = application.test_client().get("/docs").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
