"""What anybody may ask, without a token."""

from __future__ import annotations

import pytest
import requests

from tests.support.answers import accepted, refused
from tests.support.stack import Stack

pytestmark = pytest.mark.engine


def test_ping_says_that_it_is_running_and_in_which_version(stack: Stack) -> None:
    body = accepted(requests.get(f"{stack.base_url}/api/v1/public/ping", timeout=60))
    assert body.keys() == {"status", "message", "version"}
    assert (body["status"], body["message"]) == ("ok", "Lightd is running")
    assert body["version"][0].isdigit()


def test_health_is_public(stack: Stack) -> None:
    assert requests.get(f"{stack.base_url}/healthz", timeout=60).status_code == 200


def test_readiness_is_public_and_lists_the_nodes_that_are_missing(stack: Stack) -> None:
    body = accepted(requests.get(f"{stack.base_url}/readyz", timeout=60))
    assert body["missing"] == [], "the only node is here"


def test_the_description_of_the_api_is_public_and_names_the_main_routes(stack: Stack) -> None:
    body = accepted(requests.get(f"{stack.base_url}/openapi.json", timeout=60))
    assert body["openapi"].startswith("3.")
    paths = " ".join(body["paths"])
    for route in ("/volumes", "/network/ports", "/containers", "/auth/tokens", "/jobs/"):
        assert route in paths


def test_the_page_about_the_api_is_public(stack: Stack) -> None:
    answer = requests.get(f"{stack.base_url}/docs", timeout=60)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "/containers/{internal_id}/start" in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/public/ping"), ("DELETE", "/healthz"), ("POST", "/readyz"), ("PUT", "/openapi.json")],
)
def test_a_public_route_refuses_other_methods(stack: Stack, method: str, path: str) -> None:
    answer = stack.api(method, path)
    refused(answer, 405)
    assert "GET" in answer.headers["Allow"]
