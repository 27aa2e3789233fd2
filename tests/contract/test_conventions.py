"""What holds for every call: the two headers, the shape of errors, request ids, lists."""

from __future__ import annotations

import re

import pytest
import requests

from tests.support.answers import accepted, refused, refused_field
from tests.support.servers import Servers
from tests.support.stack import VENDOR_TYPE, Stack

pytestmark = pytest.mark.engine

NO_TOKEN = "Missing or invalid authorization token"
NO_VENDOR = "Invalid vendor header"
UNKNOWN = "d6764075-c5f1-4045-9fb3-85315b85cb0f"

PROTECTED = [
    ("GET", "/auth/tokens"),
    ("POST", "/auth/tokens"),
    ("DELETE", "/auth/tokens/x"),
    ("GET", "/volumes"),
    ("POST", "/volumes"),
    ("GET", f"/volumes/{UNKNOWN}"),
    ("DELETE", f"/volumes/{UNKNOWN}"),
    ("GET", f"/volumes/{UNKNOWN}/files"),
    ("POST", f"/volumes/{UNKNOWN}/files"),
    ("POST", f"/volumes/{UNKNOWN}/folders"),
    ("POST", f"/volumes/{UNKNOWN}/copy"),
    ("GET", "/network/ports"),
    ("POST", "/network/ports"),
    ("POST", "/network/ports/bulk"),
    ("POST", "/network/ports/bulk-delete"),
    ("GET", "/network/ports/random"),
    ("GET", "/network/ports/127.0.0.1/1"),
    ("PUT", "/network/ports/127.0.0.1/1/use"),
    ("DELETE", "/network/ports/127.0.0.1/1"),
    ("GET", "/containers"),
    ("POST", "/containers"),
    ("GET", "/containers/x"),
    ("DELETE", "/containers/x"),
    ("POST", "/containers/x/start"),
    ("POST", "/containers/x/stop"),
    ("POST", "/containers/x/kill"),
    ("POST", "/containers/x/restart"),
    ("POST", "/containers/x/reinstall"),
    ("GET", "/containers/x/logs"),
    ("GET", "/containers/x/jobs"),
    ("GET", "/jobs/x"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_a_protected_route_asks_for_the_token_first_and_then_for_the_vendor_type(
    stack: Stack, method: str, path: str
) -> None:
    def call(**headers: str) -> requests.Response:
        return requests.request(method, stack.base_url + path, headers=headers, timeout=60)

    for headers in ({}, {"Accept": VENDOR_TYPE}, {"Authorization": "Bearer lightd_" + "0" * 32, "Accept": VENDOR_TYPE}):
        answer = call(**headers)
        refused(answer, 401, NO_TOKEN)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    refused(call(Authorization=f"Bearer {stack.token}", Accept="application/json"), 403, NO_VENDOR)


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Bearer ", "Basic bGlnaHRkOmxpZ2h0ZA==", "lightd_x", "Bearer lightd_", "Bearer lightd_\xe9\xff"],
)
def test_an_authorization_header_of_another_form_is_no_token(stack: Stack, authorization: str) -> None:
    headers: dict[str, str | bytes] = {"Authorization": authorization.encode("latin-1"), "Accept": VENDOR_TYPE}
    refused(requests.get(f"{stack.base_url}/volumes", headers=headers, timeout=60), 401, NO_TOKEN)


def test_a_token_must_match_to_its_last_character(stack: Stack) -> None:
    for wrong in (stack.token[:-1], stack.token + "x", stack.token.swapcase(), stack.token.removeprefix("lightd_")):
        refused(stack.api("GET", "/volumes", token=wrong), 401, NO_TOKEN)


@pytest.mark.parametrize(
    "accept",
    [
        VENDOR_TYPE.lower(),
        VENDOR_TYPE.upper(),
        f"application/json, {VENDOR_TYPE}",
        f"text/html,{VENDOR_TYPE};q=0.9, */*;q=0.1",
    ],
)
def test_the_vendor_type_may_have_any_case_and_stand_in_a_list(stack: Stack, accept: str) -> None:
    accepted(stack.api("GET", "/volumes", headers={"Accept": accept}))


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json", f"x{VENDOR_TYPE}", f"{VENDOR_TYPE}x"])
def test_any_other_type_is_not_the_vendor_type(stack: Stack, accept: str) -> None:
    refused(stack.api("GET", "/volumes", headers={"Accept": accept}), 403, NO_VENDOR)


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("POST", "/volumes/a/b/c/d"), ("GET", "/")])
def test_an_unknown_route_is_404_in_the_shape_of_all_errors(stack: Stack, method: str, path: str) -> None:
    refused(stack.api(method, path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/volumes", {"GET", "POST"}),
        ("PUT", "/containers", {"GET", "POST"}),
        ("GET", "/containers/x/start", {"POST"}),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_ones(
    stack: Stack, method: str, path: str, allowed: set[str]
) -> None:
    answer = stack.api(method, path)
    refused(answer, 405)
    assert allowed <= {name.strip() for name in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_a_body_that_is_not_json_is_415(stack: Stack, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    refused(stack.api("POST", "/network/ports", data=b"ip=127.0.0.1&port=1", headers=headers), 415)


def test_a_json_body_may_name_its_charset(stack: Stack, servers: Servers) -> None:
    volume = servers.volume()["volume_id"]
    headers = {"Content-Type": "application/json; charset=utf-8"}
    body = '{"path": "grüße.txt", "content": "größer ✓"}'.encode()
    answer = stack.api("POST", f"/volumes/{volume}/files", data=body, headers=headers)
    assert accepted(answer)["path"] == "grüße.txt"


def test_all_wrong_fields_are_told_at_once_by_their_path(stack: Stack, servers: Servers) -> None:
    body = {**servers.body(), "image": 5, "limits": {"memory": "much", "cpu": 0.5}, "colour": "red"}
    answer = servers.post(body)
    for field in ("image", "limits.memory", "colour"):
        refused_field(answer, field)


def test_a_request_id_of_the_client_comes_back(stack: Stack) -> None:
    for status, path in ((200, "/volumes"), (404, "/containers/nobody"), (200, "/api/v1/public/ping")):
        answer = stack.api("GET", path, headers={"X-Request-ID": "client-id.42_a"})
        assert (answer.status_code, answer.headers["X-Request-ID"]) == (status, "client-id.42_a")


@pytest.mark.parametrize("insane", ["", "two words", "x" * 500, 'quote"quote', "<b>", "\xe9"])
def test_a_request_id_that_is_not_sane_is_replaced(stack: Stack, insane: str) -> None:
    answer = stack.api("GET", "/volumes", headers={"X-Request-ID": insane.encode("latin-1")})  # type: ignore[dict-item]
    accepted(answer)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{8,64}", answer.headers["X-Request-ID"])
    assert answer.headers["X-Request-ID"] != insane


def test_each_answer_without_a_request_id_gets_its_own(stack: Stack) -> None:
    ids = {stack.api("GET", "/volumes").headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


def test_a_list_is_read_in_pages_without_gap_or_repetition(stack: Stack, servers: Servers) -> None:
    wanted = sorted(servers.port()["port"] for _ in range(5))
    seen: list[int] = []
    cursor = ""
    for _ in range(3):
        page = accepted(stack.api("GET", f"/network/ports?limit=2{cursor}"))
        seen += [port["port"] for port in page["ports"]]
        if not page.get("next_cursor"):
            break
        assert len(page["ports"]) == 2
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == wanted
    assert len(seen) == 5


@pytest.mark.parametrize("path", ["/network/ports", "/volumes", "/containers"])
def test_a_list_that_fits_has_no_next_cursor(stack: Stack, path: str) -> None:
    assert not accepted(stack.api("GET", f"{path}?limit=1000")).get("next_cursor")


@pytest.mark.parametrize("path", ["/network/ports", "/volumes", "/containers"])
@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=1001", "limit=many", "cursor=%00%ff!"])
def test_a_list_refuses_a_page_that_makes_no_sense(stack: Stack, path: str, query: str) -> None:
    refused(stack.api("GET", f"{path}?{query}"), 400)
