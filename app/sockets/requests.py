"""What a client may ask for over its socket. Whatever goes wrong is told as a sentence; the connection stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from app.containers.command import send_command
from app.containers.power import request_action
from app.services import Services
from app.sockets.permissions import require_event
from fleet import messages
from fleet.errors import Invalid
from fleet.lifecycle import Action
from fleet.repositories.tokens import Principal

Request = dict[str, Any]
Answer = Callable[[str], None]
Handler = Callable[[Services, str, Answer, Request], None]

_POWER = (Action.START, Action.STOP, Action.RESTART, Action.KILL)
_DEFAULT_LINES = 200
_MOST_LINES = 5000
_CHARACTER_BYTES = 12
"""What a character takes up in JSON at most: two escapes."""


def parse(message: str | bytes) -> Request:
    """The request in a message; raises Invalid."""
    if isinstance(message, bytes):
        raise Invalid("Messages are text frames with a JSON object.")
    try:
        request = json.loads(message)
    except (ValueError, RecursionError):
        raise Invalid("This is not valid JSON.") from None
    if not isinstance(request, dict) or not isinstance(request.get("event"), str):
        raise Invalid('A message is a JSON object with an "event".')
    return request


def handle(services: Services, principal: Principal, container_id: str, answer: Answer, request: Request) -> None:
    """Do what a request asks of a container, and `answer` it; raises LightdError or RedisError."""
    handler = EVENTS.get(request["event"])
    if handler is None:
        raise Invalid(f"Unknown event {request['event'][:40]!r}; known are {', '.join(EVENTS)}.")
    require_event(principal, request["event"])
    handler(services, container_id, answer, request)


def _send_command(services: Services, container_id: str, _answer: Answer, request: Request) -> None:
    command = request.get("command")
    if not isinstance(command, str):
        raise Invalid('send_command needs a text "command".')
    send_command(services, container_id, command)


def _power(services: Services, container_id: str, _answer: Answer, request: Request) -> None:
    if request.get("action") not in _POWER:
        raise Invalid(f'power needs an "action": {", ".join(_POWER)}.')
    request_action(services, container_id, Action(request["action"]))


def _request_logs(services: Services, container_id: str, answer: Answer, request: Request) -> None:
    lines = request.get("lines", _DEFAULT_LINES)
    if type(lines) is not int or not 1 <= lines <= _MOST_LINES:
        raise Invalid(f'"lines" must be a number from 1 to {_MOST_LINES}.')
    text = services.console.tail(container_id, lines)
    answer(messages.logs(_last_lines(text, services.settings.socket_backlog_bytes // 4)))


def _last_lines(text: str, most_bytes: int) -> str:
    """As many of the last lines as fit, written as JSON, into so many bytes; of a line that is longer, its end."""
    lines, left_bytes = text.split("\n"), most_bytes
    first = len(lines)
    while first and (left_bytes := left_bytes - len(json.dumps(lines[first - 1]))) >= 0:
        first -= 1
    return "\n".join(lines[first:]) or text[-most_bytes // _CHARACTER_BYTES :]


EVENTS: dict[str, Handler] = {"send_command": _send_command, "power": _power, "request_logs": _request_logs}
