"""Token first, then the vendor type."""

from __future__ import annotations

import pytest
from flask import Flask

from app.services import Services
from tests.app.conftest import VENDOR_TYPE, Api

PROTECTED = "/no-such-route"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer lightd_wrong-wrong-wrong",
        "Basic bGlnaHRkXzEyMzQ=",
        "lightd_0123456789012345",
        "Bearer lightd_\xe4\xff",
    ],
)
def test_a_call_without_a_good_token_is_refused(api: Api, authorization: str | None) -> None:
    headers = {"Accept": VENDOR_TYPE} | ({} if authorization is None else {"Authorization": authorization})
    answer = api.client.get(PROTECTED, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json["error"] == "Missing or invalid authorization token"
    assert answer.json["code"] == "unauthenticated"


@pytest.mark.parametrize("accept", [None, "", "*/*", "application/json", "application/vnd.pkglatv2+json"])
def test_a_good_token_without_the_vendor_type_is_refused(api: Api, accept: str | None) -> None:
    headers = {"Authorization": f"Bearer {api.token}"} | ({} if accept is None else {"Accept": accept})
    answer = api.client.get(PROTECTED, headers=headers)
    assert answer.status_code == 403
    assert answer.json["error"] == "Invalid vendor header"


@pytest.mark.parametrize(
    "accept",
    [
        "Application/vnd.pkglatv1+json",
        "application/vnd.pkglatv1+json",
        "text/html, APPLICATION/VND.PKGLATV1+JSON;q=0.9",
    ],
)
def test_the_vendor_type_may_be_spelled_in_any_case_and_stand_in_a_list(api: Api, accept: str) -> None:
    assert api.get(PROTECTED, headers={"Accept": accept}).status_code == 404


def test_the_scheme_is_read_in_any_case(api: Api) -> None:
    assert api.get(PROTECTED, headers={"Authorization": f"bearer {api.token}"}).status_code == 404


def test_the_old_master_token_is_dead_at_once_after_a_reset(api: Api, offered: Services) -> None:
    offered.tokens.set_master("lightd_another-one-of-twenty")
    assert api.get(PROTECTED).status_code == 401


def test_a_single_use_token_is_good_for_one_request(api: Api, offered: Services) -> None:
    secret, _ = offered.tokens.issue(60, remove_on_use=True)
    once = Api(api.client, secret)
    assert [once.get(PROTECTED).status_code for _ in range(2)] == [404, 401]


def test_public_routes_need_no_header(application: Flask) -> None:
    assert application.test_client().get("/healthz").status_code == 200
