"""Calls to a files process that does not behave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from flask import Flask

from app.services import Services
from fleet.errors import NodeTimeout
from fleet.models import Node
from fleet.signing import check_call
from tests.app.conftest import NODE, Api


class Host:
    """A host's files process over TCP, that answers `answers[method]` and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.hangs_up = False
        self.meanwhile: Callable[[], object] = lambda: None
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                host.asked.append((self.command, self.path, self.headers["Authorization"]))
                host.meanwhile()
                status, body = host.answers[self.command]
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = host.hangs_up

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def host(offered: Services) -> Iterator[Host]:
    """A host whose files process is a `Host`."""
    host = Host()
    address = f"http://127.0.0.1:{host.server.server_port}"
    offered.nodes.announce(Node(NODE, address, time.time(), 1, 1, ""))
    yield host
    host.close()


def test_every_call_is_signed_for_just_itself(api: Api, host: Host, offered: Services) -> None:
    made = {"path": "/v", "quota_mb": 1024, "quota_driver": "loop"}
    host.answers = {"POST": (201, json.dumps(made).encode()), "GET": (200, b'{"files": []}')}
    volume_id = api.post("/volumes").json["id"]
    assert api.get(f"/volumes/{volume_id}/files?path=a%20b/%C3%BC&token=x").json == {"files": []}
    assert [asked[:2] for asked in host.asked] == [
        ("POST", f"/volumes/{volume_id}"),
        ("GET", f"/volumes/{volume_id}/files?path=a+b%2F%C3%BC&detailed=false"),
    ]
    for method, target, authorization in host.asked:
        check_call(offered.settings.signing_key(), NODE, method, target, authorization)


def test_a_volume_that_was_refused_leaves_nothing(api: Api, host: Host, offered: Services) -> None:
    refusal = {"error": "The disk of this host is full.", "code": "quota_exceeded"}
    host.answers = {"POST": (413, json.dumps(refusal).encode()), "DELETE": (204, b"")}
    answer = api.post("/volumes")
    assert (answer.status_code, answer.json["error"]) == (413, "The disk of this host is full.")
    assert [asked[0] for asked in host.asked] == ["POST", "DELETE"]
    assert offered.stores.record.keys("lightd:volume*") == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", b""])
def test_an_answer_that_is_no_problem_is_a_host_that_does_not_work(
    api: Api, host: Host, offered: Services, body: bytes
) -> None:
    host.answers = {"POST": (502, body)}
    answer = api.post("/volumes")
    assert (answer.status_code, answer.json["code"]) == (503, "files_unavailable")
    assert offered.volumes.unfinished(NODE, -1)


def test_a_volume_that_was_given_up_while_it_was_made_is_not_there(api: Api, host: Host, offered: Services) -> None:
    host.answers = {"POST": (201, b'{"path": "/v", "quota_mb": 8, "quota_driver": "loop"}')}
    host.meanwhile = lambda: [
        offered.volumes.mark_removing(volume.volume_id) for volume in offered.volumes.unfinished(NODE, -1)
    ]
    answer = api.post("/volumes")
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert "create it again" in answer.json["error"]
    assert api.get("/volumes").json["volumes"] == []


@pytest.mark.parametrize(("status", "is_there"), [(409, True), (503, False)])
def test_a_volume_whose_deletion_has_begun_goes_and_one_that_was_refused_stays(
    api: Api, host: Host, offered: Services, status: int, is_there: bool
) -> None:
    refusal = {"error": "The volume is busy.", "code": "volume_busy" if is_there else "unavailable"}
    made = b'{"path": "/v", "quota_mb": 8, "quota_driver": "loop"}'
    host.answers = {"POST": (201, made), "DELETE": (status, json.dumps(refusal).encode())}
    volume_id = api.post("/volumes").json["id"]
    assert api.delete(f"/volumes/{volume_id}").status_code == status
    assert (api.get(f"/volumes/{volume_id}").status_code == 200) is is_there
    assert [volume.state for volume in offered.volumes.unfinished(NODE, -1)] == ([] if is_there else ["deleting"])


def test_a_silent_files_process_is_a_timeout(application: Flask, offered: Services, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "silent.sock"))
    listener.listen()
    silent = Node(NODE, f"unix://{tmp_path / 'silent.sock'}", time.time(), 1, 1, "")
    with application.test_request_context("/healthz"):
        application.preprocess_request()
        with pytest.raises(NodeTimeout):
            offered.files.call(silent, "GET", "/healthz", timeout_seconds=0.05)
    listener.close()


def test_a_connection_that_the_host_closed_is_made_anew(api: Api, host: Host) -> None:
    host.answers = {"POST": (201, b'{"path": "/v", "quota_mb": 8, "quota_driver": "loop"}')}
    host.hangs_up = True
    assert [api.post("/volumes").status_code for _ in range(5)] == [201] * 5
