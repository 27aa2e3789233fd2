"""What a client of the chaos suite makes of answers: no false alarm, and none missed."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.chaos.ledger import Server
from tests.chaos.load import Client
from tests.chaos.timeline import Timeline

NOT_FOUND = (404, {"error": "Container not found", "code": "container_not_found"})
SHOWN = (200, {"internal_id": "c0-0"})


class Answers:
    """Stands for a Lightd that gives these answers, one a call; None breaks the connection."""

    def __init__(self, *answers: tuple[int, dict[str, Any]] | None) -> None:
        self._answers = iter(answers)

    def api(self, *_: Any, **__: Any) -> requests.Response:
        """The next answer."""
        answer = next(self._answers)
        if answer is None:
            raise requests.ConnectionError
        response = requests.Response()
        response.status_code = answer[0]
        response._content = json.dumps(answer[1]).encode()
        return response


def client_of(*answers: tuple[int, dict[str, Any]] | None) -> tuple[Client, Server, Timeline]:
    timeline = Timeline()
    client = Client(0, 1, Answers(*answers), "127.0.0.1", timeline)  # type: ignore[arg-type]
    return client, Server("c0-0", "volume", there=True), timeline


def test_a_deletion_that_went_unanswered_may_be_done_after_another_was_refused() -> None:
    refused = (409, {"error": "Try again.", "code": "conflict"})
    client, server, timeline = client_of(None, SHOWN, refused, SHOWN, NOT_FOUND)
    client._delete(server)
    client._look(server)
    client._look(server)
    assert (server.there, timeline.violations) == (False, [])


def test_a_container_that_is_gone_unasked_is_told() -> None:
    client, server, timeline = client_of(NOT_FOUND)
    client._act(server, "repair")
    assert server.there is False
    assert timeline.violations == [
        "c0-0 was created, but a call for it is answered with 404: Container not found",
    ]


def test_one_whose_deletion_finds_nothing_is_told() -> None:
    client, server, timeline = client_of(NOT_FOUND)
    client._delete(server)
    assert (server.there, server.deletion_asked, len(timeline.violations)) == (False, False, 1)


def test_something_else_that_is_not_found_is_told_and_the_container_still_there() -> None:
    client, server, timeline = client_of((404, {"error": "Job not found", "code": "job_not_found"}))
    client._act(server, "repair")
    assert (server.there, len(timeline.violations)) == (True, 1)
