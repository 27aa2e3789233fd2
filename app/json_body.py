"""Reading and validating what clients send: strict JSON, strict types, problems named by dotted field."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flask import Request
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import UnsupportedMediaType

from fleet.errors import Invalid

_MOST_VALUES = 50_000
_MOST_FIELDS_TOLD = 1000


class StrictParser(FlaskParser):
    """Turns a request into validated arguments, or raises Invalid with all problems at once."""

    DEFAULT_VALIDATION_STATUS = 400

    def load_json(self, req: Request, schema: Schema) -> Any:  # noqa: ARG002 (webargs' signature)
        """The body, or `{}` where there is none."""
        return read_json(req)

    def handle_error(self, error: ValidationError, req: Request, schema: Schema, **_: Any) -> NoReturn:  # noqa: ARG002
        """Raise Invalid for the problems that marshmallow found, which webargs files under their location."""
        problems = next(iter(error.messages_dict.values()))
        raise invalid_fields(problems) from error


class Blueprint(SmorestBlueprint):
    """A resource's routes, with our parser."""

    ARGUMENTS_PARSER = StrictParser()


def read_body(req: Request, *, cache: bool = False) -> bytes:
    """The whole body of a request, kept for whoever reads it next if `cache`. Raises Invalid, RequestEntityTooLarge."""
    data = req.get_data(cache=cache)
    # A body without a stated length ends silently at the limit; asking for more makes werkzeug tell.
    req.stream.read(1)
    if len(data) < (req.content_length or 0):
        raise Invalid("The body ended before its stated length.", code="malformed_body")
    return data


def read_json(req: Request) -> Any:
    """The JSON body of a request, `{}` for none. Raises Invalid, UnsupportedMediaType, RequestEntityTooLarge."""
    data = read_body(req)
    if not data:
        return {}
    if not (req.mimetype == "application/json" or req.mimetype.endswith("+json")):
        raise UnsupportedMediaType
    try:
        found = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise Invalid("The body is not UTF-8.", code="malformed_json") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Invalid(f"The body is not valid JSON ({where}).", code="malformed_json") from error
    except (ValueError, RecursionError) as error:
        raise Invalid("The body is not JSON that can be read: too deep, or a number too long.") from error
    _require_few(found)
    return found


def invalid_fields(problems: Any) -> Invalid:
    """The error for marshmallow's nested messages; the sentence names the first field."""
    fields = dict(_flatten(problems, "")[:_MOST_FIELDS_TOLD])
    name, texts = next(iter(fields.items()), ("body", ["It is not valid."]))
    return Invalid(f"Invalid input: {name}: {texts[0]}", fields=fields)


def _flatten(problems: Any, path: str) -> list[tuple[str, list[str]]]:
    if not isinstance(problems, dict):
        texts = problems if isinstance(problems, list) else [problems]
        return [(path or "body", [str(text) for text in texts])]
    found = []
    for name, inner in problems.items():
        deeper = path if name == "_schema" else f"{path}.{name}" if path else str(name)
        found += _flatten(inner, deeper)
    return found


def _require_few(body: Any) -> None:
    """Raise Invalid for more values than any call takes: to validate them would hold up all other requests."""
    left, rest = _MOST_VALUES, [body]
    while rest:
        found = rest.pop()
        inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        left -= len(inner)
        if left < 0:
            raise Invalid(f"The body has more than {_MOST_VALUES} values.", code="too_many_values")
        rest.extend(inner)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
