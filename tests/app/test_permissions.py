"""docs/permissions.md tells the truth: what it lists is what the code declares, and what narrowed tokens meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.access import Reach, access_of, check_declarations
from app.services import Services
from app.sockets import many, permissions, requests
from fleet.models import Volume
from fleet.scopes import Scope
from tests.app.conftest import Api

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"
OWN, NO = "its own", "no"
PLAIN_SCOPES = [scope for scope in Scope if scope is not Scope.ADMIN]
URL_PARTS = {
    "internal_id": "theirs",
    "volume_id": "00000000-0000-4000-8000-000000000000",
    "job_id": "0" * 24,
    "token_id": "0" * 16,
    "ip": "127.0.0.1",
    "port": "1",
}


def table(first_column: str) -> list[list[str]]:
    """The rows of the page's table that begins with this column, without code marks."""
    _, _, after = PAGE.read_text().partition(f"| {first_column} |")
    rows = after.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]


def declared(application: Flask) -> Iterator[list[str]]:
    """What the table of routes should hold."""
    for rule in application.url_map.iter_rules():
        view = application.view_functions[rule.endpoint]
        access = access_of(view)
        if access is None:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            scopes = ", ".join(access.scopes) or "the master token"
            yield [f"{method} {rule.rule}", scopes, NO if access.reach is Reach.FLEET else OWN]


def narrowed(api: Api, **limits: Any) -> Api:
    """A client with an issued token of these `scopes` or `containers`."""
    made = api.post("/auth/tokens", {"ttl": "1h", **limits})
    assert made.status_code == 200, made.text
    return Api(api.client, made.json["token"])


def call(api: Api, route: str) -> TestResponse:
    """Call a route of the table with names that nothing has."""
    method, path = route.split(" ")
    for name, value in URL_PARTS.items():
        path = path.replace(f"<{name}>", value)
    return api.call(method, path, {} if method in ("POST", "PATCH") else None)


def code_of(answer: TestResponse) -> str | None:
    return answer.json.get("code") if answer.is_json and answer.status_code == 403 else None


def test_the_page_lists_every_route_as_the_code_declares_it(application: Flask) -> None:
    expected = sorted(declared(application), key=lambda row: row[0].split(" ")[::-1])
    lines = "\n".join(f"| `{route}` | {scopes} | {reach} |" for route, scopes, reach in expected)
    assert table("call") == expected, f"docs/permissions.md should hold these rows:\n{lines}"


def test_the_page_lists_every_event_as_the_code_declares_it() -> None:
    told = [[f"you get {name}", ", ".join(scopes)] for name, scopes in permissions.OUT.items()]
    asked = [[f"you send {name}", ", ".join(scopes)] for name, scopes in permissions.IN.items()]
    assert table("event") == told + asked
    assert set(permissions.IN) == {*requests.EVENTS, *many.EVENTS}


@pytest.mark.parametrize("scope", PLAIN_SCOPES)
def test_a_scope_opens_the_calls_of_its_rows_and_no_others(api: Api, scope: Scope) -> None:
    holder = narrowed(api, scopes=[scope])
    for route, scopes, _ in table("call"):
        code = code_of(call(holder, route))
        if scopes == "the master token":
            assert code == "master_only", route
        else:
            assert (code == "missing_scope") is (scope not in scopes.split(", ")), route


def test_admin_stands_for_all_scopes_but_makes_no_tokens(api: Api) -> None:
    holder = narrowed(api, scopes=["admin"])
    for route, scopes, _ in table("call"):
        assert code_of(call(holder, route)) == ("master_only" if scopes == "the master token" else None), route


def test_a_containers_token_is_refused_all_that_is_not_its_own(api: Api, volume: Volume) -> None:
    holder = narrowed(api, containers=["mine"])
    for route, scopes, reach in table("call"):
        code = code_of(call(holder, route))
        if scopes == "the master token":
            assert code == "master_only", route
        elif reach == NO or "<" in route:
            assert code == "out_of_reach", route
        else:
            assert code is None, route


def test_a_route_that_declares_nothing_keeps_the_api_from_starting(application: Flask) -> None:
    application.add_url_rule("/forgotten", view_func=lambda: "told")
    with pytest.raises(RuntimeError, match="/forgotten"):
        check_declarations(application)


def test_a_narrowed_token_is_refused_what_declares_nothing(application: Flask, api: Api, offered: Services) -> None:
    application.add_url_rule("/forgotten", view_func=lambda: "told")
    assert api.get("/forgotten").text == "told"
    assert narrowed(api).get("/forgotten").text == "told"
    assert code_of(narrowed(api, scopes=["admin"]).get("/forgotten")) == "undeclared"
    assert code_of(narrowed(api, containers=["mine"]).get("/forgotten")) == "undeclared"
