"""What is not a good JSON body gets one clear refusal, whatever it is."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from gunicorn.http.errors import InvalidChunkSize
from werkzeug.test import TestResponse

from app.services import Services
from tests.app.conftest import Api

PORT = {"ip": "0.0.0.0", "port": 25565}


def send(api: Api, body: bytes, content_type: str | None = "application/json") -> tuple[int, str]:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = api.post("/network/ports", data=body, headers=headers)
    assert "Traceback" not in answer.text
    return answer.status_code, answer.json["code"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"ip": "0.0.0.0", "port": NaN}',
        b'{"ip": "0.0.0.0", "port": Infinity}',
        b'{"ip": "0.0.0.0", "port": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'\xff\xfe{"ip"',
        '{"ip": "0.0.0.0", "port": 1}'.encode("utf-16"),
        '{"ip": "0.0.0.0", "port": 1}'.encode("utf-8-sig"),
        b'{"ip": "\x00"}',
    ],
    ids=range(11),
)
def test_what_is_not_json_is_refused(api: Api, body: bytes) -> None:
    status, code = send(api, body)
    assert status == 400
    assert code in ("malformed_json", "invalid")


@pytest.mark.parametrize("body", ["[]", '"text"', "7", "null", "true", '[{"ip": "0.0.0.0", "port": 1}]'])
def test_a_body_that_is_no_object_is_refused(api: Api, body: str) -> None:
    assert send(api, body.encode()) == (400, "invalid")


@pytest.mark.parametrize("port", ["25565", True, 25565.0, 1e3, -1, 0, 65536, 10**400, None, [], {}, 1.5])
def test_a_number_must_be_a_number_in_its_range(api: Api, port: object) -> None:
    answer = api.post("/network/ports", {**PORT, "port": port})
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == ["port"]


@pytest.mark.parametrize("text", [7, None, [], {}, "\ud800", "a\0b", "x" * 5000, ""])
def test_a_text_must_be_a_text_that_can_be_stored(api: Api, text: object) -> None:
    body = json.dumps({**PORT, "ip": text}).encode()
    answer = api.post("/network/ports", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert list(answer.json["fields"]) == ["ip"]


def test_unknown_fields_are_refused_by_name_all_at_once(api: Api) -> None:
    answer = api.post("/network/ports", {**PORT, "potr": 1, "\ud800": 2})
    assert answer.status_code == 400
    assert set(answer.json["fields"]) == {"potr", "\ud800"}


@pytest.mark.parametrize(
    "body",
    [
        {f"unknown {number}": 1 for number in range(60_000)},
        {"ip": {"a": [[1, 2]] * 30_000}},
        [[[]] * 60_000],
    ],
    ids=["fields", "nested", "lists"],
)
def test_a_body_of_more_values_than_any_call_takes_is_not_looked_at(api: Api, body: object) -> None:
    assert send(api, json.dumps(body).encode()) == (400, "too_many_values")


def test_a_refusal_tells_only_so_many_fields(api: Api) -> None:
    answer = api.post("/network/ports", {f"unknown {number}": 1 for number in range(2000)})
    assert (answer.status_code, len(answer.json["fields"])) == (400, 1000)


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/xml"]
)
def test_a_body_of_another_type_is_415(api: Api, content_type: str | None) -> None:
    assert send(api, json.dumps(PORT).encode(), content_type) == (415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"])
def test_json_may_be_announced_in_its_variants(api: Api, content_type: str) -> None:
    answer = api.post("/network/ports", data=json.dumps(PORT), headers={"Content-Type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain"])
def test_a_missing_body_is_told_by_its_missing_fields(api: Api, content_type: str | None) -> None:
    answer = api.post("/network/ports", headers={"Content-Type": content_type} if content_type else {})
    assert answer.status_code == 400
    assert set(answer.json["fields"]) == {"ip", "port"}


def test_a_body_over_the_limit_is_413(api: Api, offered: Services) -> None:
    assert send(api, b" " * (offered.settings.max_body_bytes + 1)) == (413, "body_too_large")


def stream(api: Api, body: Any, length: str = "", **headers: str) -> TestResponse:
    """Send a body as gunicorn hands it over; without a length it came in chunks."""
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": length}
    if not length:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    sent = {"Content-Type": "application/json", **headers}
    return api.post("/network/ports", headers=sent, environ_overrides=environ)


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}])
@pytest.mark.parametrize("length", ["", str(17 << 20)])
def test_a_refused_body_is_read_away_before_the_answer(api: Api, length: str, headers: dict[str, str]) -> None:
    body = BytesIO(b" " * (17 << 20))
    answer = stream(api, body, length, **headers)
    assert answer.status_code == (401 if headers else 413)
    assert body.read(1) == b""


@pytest.mark.parametrize(("more", "status"), [(-1, 200), (1, 413), (1 << 20, 413)])
def test_a_body_without_a_stated_length_has_the_same_limit(api: Api, offered: Services, more: int, status: int) -> None:
    body = json.dumps(PORT).encode()
    padding = b" " * (offered.settings.max_body_bytes - len(body) + more)
    assert stream(api, BytesIO(body + padding)).status_code == status


def test_a_body_that_broke_off_is_refused_even_if_its_begin_makes_sense(api: Api) -> None:
    answer = stream(api, BytesIO(json.dumps(PORT).encode()), "1000")
    assert (answer.status_code, answer.json["code"]) == (400, "malformed_body")


def test_a_body_in_broken_chunks_is_refused(api: Api) -> None:
    class Broken:
        def read(self, *_: object) -> bytes:
            raise InvalidChunkSize(b"zz")

    answer = stream(api, Broken())
    assert (answer.status_code, answer.json["code"]) == (400, "malformed_body")


def test_the_second_of_two_equal_keys_counts(api: Api) -> None:
    body = b'{"ip": "0.0.0.0", "port": 1, "port": 2}'
    answer = api.post("/network/ports", data=body, headers={"Content-Type": "application/json"})
    assert answer.json["port"] == 2
