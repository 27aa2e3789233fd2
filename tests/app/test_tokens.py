"""Tokens that the master token issues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.services import Services
from tests.app.conftest import Api


def test_an_issued_token_can_do_all_but_make_tokens(api: Api) -> None:
    answer = api.post("/auth/tokens", {"ttl": "1h", "remove_on_use": False})
    assert answer.status_code == 200
    assert set(answer.json) == {"token", "expires_at", "id"}
    issued = Api(api.client, answer.json["token"])
    assert issued.get("/network/ports").status_code == 200
    refused = issued.post("/auth/tokens", {"ttl": "1h"})
    assert refused.status_code == 403
    assert refused.json["code"] == "master_only"
    assert issued.get("/auth/tokens").status_code == 403


@pytest.mark.parametrize(
    ("ttl", "seconds"), [("1s", 1), ("90m", 5400), ("1h", 3600), ("365d", 365 * 86400), ("0060s", 60)]
)
def test_expiry_is_given_in_utc(api: Api, ttl: str, seconds: int) -> None:
    text = api.post("/auth/tokens", {"ttl": ttl}).json["expires_at"]
    expires_at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(expires_at - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=3)


@pytest.mark.parametrize(
    "ttl", ["", "1", "h", "0s", "366d", "-1h", "1.5h", "1 h", "1w", "9" * 30 + "s", "\u0661h", 3600, None]
)
def test_a_strange_lifetime_is_refused(api: Api, ttl: object) -> None:
    answer = api.post("/auth/tokens", {"ttl": ttl})
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == ["ttl"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ttl"),
        ({"ttl": "1h", "remove_on_use": "yes"}, "remove_on_use"),
        ({"ttl": "1h", "remove_on_use": 1}, "remove_on_use"),
        ({"ttl": "1h", "scope": ["read"]}, "scope"),
        ({"ttl": "1h", "scopes": ["root"]}, "scopes.0"),
        ({"ttl": "1h", "scopes": []}, "scopes"),
        ({"ttl": "1h", "scopes": "read"}, "scopes"),
        ({"ttl": "1h", "scopes": None}, "scopes"),
        ({"ttl": "1h", "containers": []}, "containers"),
        ({"ttl": "1h", "containers": ["a/b"]}, "containers.0"),
        ({"ttl": "1h", "containers": "*"}, "containers"),
    ],
)
def test_a_bad_wish_for_a_token_names_the_field(api: Api, body: object, field: str) -> None:
    answer = api.post("/auth/tokens", body)
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == [field]


def test_the_list_shows_no_secrets_and_comes_in_pages(api: Api) -> None:
    made = [api.post("/auth/tokens", {"ttl": f"{hours}h"}).json for hours in (3, 1, 2)]
    first = api.get("/auth/tokens?limit=2")
    assert [token["id"] for token in first.json["tokens"]] == [made[1]["id"], made[2]["id"]]
    assert all(token["token"] not in first.text for token in made)
    second = api.get(f"/auth/tokens?limit=2&cursor={first.json['next_cursor']}").json
    assert [token["id"] for token in second["tokens"]] == [made[0]["id"]]
    assert "next_cursor" not in second


def test_the_list_shows_what_tokens_are_narrowed_to(api: Api) -> None:
    api.post("/auth/tokens", {"ttl": "1h"})
    api.post("/auth/tokens", {"ttl": "2h", "scopes": ["read", "power"], "containers": ["a", "b"]})
    everything, narrowed = api.get("/auth/tokens").json["tokens"]
    assert everything["scopes"] == ["read", "console", "command", "power", "files", "admin"]
    assert everything["containers"] is None
    assert (narrowed["scopes"], narrowed["containers"]) == (["read", "power"], ["a", "b"])


def test_a_revoked_token_is_dead_at_once(api: Api) -> None:
    made = api.post("/auth/tokens", {"ttl": "1h"}).json
    assert api.delete(f"/auth/tokens/{made['id']}").status_code == 204
    assert Api(api.client, made["token"]).get("/network/ports").status_code == 401
    again = api.delete(f"/auth/tokens/{made['id']}")
    assert (again.status_code, again.json["error"]) == (404, "Token not found")


def test_secrets_are_not_kept_in_the_store(api: Api, offered: Services) -> None:
    secret = api.post("/auth/tokens", {"ttl": "1h"}).json["token"]
    record = offered.stores.record
    kept = [key + str(record.hgetall(key) if record.type(key) == "hash" else "") for key in record.keys("*")]
    assert not any(secret in text or api.token in text for text in kept)
