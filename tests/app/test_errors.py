"""Every error leaves in one shape."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from fleet.settings import Settings
from fleet.store import connect
from tests.app.conftest import Api


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/no-such-route", 404, "route_not_found"),
        ("GET", "//healthz", 404, "route_not_found"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_errors_of_http_have_the_same_shape(api: Api, method: str, path: str, status: int, code: str) -> None:
    answer = api.call(method, path)
    assert answer.status_code == status
    assert answer.json["code"] == code
    assert set(answer.json) == {"error", "code", "request_id"}


def test_a_wrong_method_is_told_the_right_ones(api: Api) -> None:
    assert "GET" in api.post("/healthz").headers["Allow"]


def test_a_sane_request_id_comes_back(api: Api) -> None:
    answer = api.get("/no-such-route", headers={"X-Request-ID": "panel-7:42"})
    assert answer.headers["X-Request-ID"] == answer.json["request_id"] == "panel-7:42"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "<script>", "-"])
def test_a_strange_request_id_is_replaced(api: Api, sent: str) -> None:
    made = api.get("/healthz", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    assert made != sent
    assert len(made) == 16


def test_an_unreachable_store_is_503_with_a_time_to_try_again(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, redis_url=f"unix://{tmp_path / 'none.sock'}")
    answer = Api(create_app(settings, connect(settings), print).test_client(), "lightd_1234567890123").get("/volumes")
    assert answer.status_code == 503
    assert answer.json["code"] == "store_unavailable"
    assert answer.headers["Retry-After"] == "2"


def test_a_bug_shows_no_internals_but_is_logged_with_its_request_id(
    application: Flask, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    @application.route("/broken")
    def broken() -> str:
        raise RuntimeError("the secret of the inside")

    answer = api.get("/broken", headers={"X-Request-ID": "find-me"})
    assert answer.status_code == 500
    assert answer.json["code"] == "internal"
    assert "secret" not in answer.text
    logged = capsys.readouterr()
    assert "the secret of the inside" in logged.out + logged.err
    assert "find-me" in logged.out + logged.err


def test_flasks_own_logger_stays_silent(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="app"):
        api.get("/no-such-route?token=lightd_secret-secret")
    assert "secret" not in caplog.text
