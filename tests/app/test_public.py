"""What anybody may ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask

from app import create_app
from fleet.models import Node
from fleet.settings import Settings
from fleet.store import connect
from tests.app.conftest import Api


def api_description(application: Flask) -> dict[str, Any]:
    described: dict[str, Any] = application.test_client().get("/openapi.json").json
    return described


def objects(found: Any) -> Iterator[dict[str, Any]]:
    """All objects in a piece of JSON."""
    if isinstance(found, dict):
        yield found
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    for item in inner:
        yield from objects(item)


def test_ping_answers_without_a_token(application: Flask) -> None:
    answer = application.test_client().get("/api/v1/public/ping")
    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "message": "Lightd is running", "version": "0.1.0"}


def test_the_process_says_that_it_is_up(application: Flask) -> None:
    assert application.test_client().get("/healthz").json == {"status": "ok"}


def test_readiness_names_hosts_and_queues_that_are_silent(application: Flask, api: Api, node: Node) -> None:
    answer = application.test_client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "nodes": ["n1"], "missing": ["n1/quick", "n1/long"]}


def test_readiness_names_the_store_that_does_not_answer(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, redis_url=f"unix://{tmp_path / 'none.sock'}")
    answer = create_app(settings, connect(settings), print).test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json["error"] == "The store does not answer; try again soon."
    assert answer.json["code"] == "store_unavailable"


def test_the_api_describes_itself_without_a_token(application: Flask) -> None:
    answer = application.test_client().get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json["security"] == [{"token": [], "vendorType": []}]
    assert answer.json["paths"]["/readyz"]["get"]["security"] == []
    assert "application/vnd.pkglatv1+json" in answer.json["info"]["description"]


def test_what_the_description_says_of_texts_holds_for_its_own_defaults_and_in_other_languages(
    application: Flask,
) -> None:
    described = [found for found in objects(api_description(application)) if isinstance(found.get("pattern"), str)]
    assert described
    for text in described:
        assert not re.search(r"\\[AZz]|\(\?[P<]", text["pattern"]), f"only Python understands {text['pattern']}"
        assert text.get("default") is None or re.search(text["pattern"], text["default"])


def test_the_description_tells_of_bodies_of_bytes_and_of_work_that_goes_on(application: Flask) -> None:
    paths = api_description(application)["paths"]
    for path in ("/volumes/{volume_id}/upload", "/links/{token}"):
        assert "application/octet-stream" in paths[path]["put"]["requestBody"]["content"]
    for path in ("/volumes/{volume_id}/download", "/links/{token}"):
        assert "application/octet-stream" in paths[path]["get"]["responses"]["200"]["content"]
    for kind in ("compress", "decompress", "pull"):
        assert "202" in paths[f"/volumes/{{volume_id}}/{kind}"]["post"]["responses"]


def test_every_route_but_the_public_ones_is_described_with_its_error(application: Flask) -> None:
    paths = api_description(application)["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            if method != "parameters":
                assert "default" in operation["responses"], f"{method} {path}"
