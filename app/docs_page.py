"""The API's description as a page for people, at `/docs`: one document, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, render_template
from flask_smorest import Api

from app.auth import public

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. `parameters` are OpenAPI's objects; `answers` are status, description and schema."""

    method: str
    path: str
    summary: str
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None
    answers: list[tuple[str, str, dict[str, Any] | None]]


def init_docs_page(app: Flask, api: Api) -> None:
    """Serve the page to anybody; it is made when it is first asked for."""
    app.jinja_env.filters.update(kind=kind, schema_name=schema_name)

    @functools.cache
    def page() -> str:
        spec = api.spec.to_dict()
        sections = [(tag, list(_operations(spec, tag["name"]))) for tag in spec["tags"]]
        return render_template("docs.html", info=spec["info"], sections=sections, schemas=spec["components"]["schemas"])

    @app.route("/docs")
    @public
    def docs() -> Response:
        return Response(page(), mimetype="text/html", headers={"Content-Security-Policy": _POLICY})


def kind(schema: dict[str, Any]) -> str:
    """What a value is, in a few words; a schema with a name of its own is known by that."""
    if "$ref" in schema:
        return schema_name(schema)
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}"
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    words = [str(schema.get("format") or schema.get("type", "any"))]
    if "minimum" in schema and "maximum" in schema:
        words.append(f"from {schema['minimum']} to {schema['maximum']}")
    return " ".join(words)


def schema_name(schema: dict[str, Any]) -> str:
    """The name of the schema that is referred to here, also as the items of a list; none for others."""
    reference = schema.get("$ref") or schema.get("items", {}).get("$ref", "")
    return str(reference).rpartition("/")[2]


def _operations(spec: dict[str, Any], tag: str) -> Iterator[Operation]:
    for path, found in spec["paths"].items():
        for method in _METHODS:
            if tag in found.get(method, {}).get("tags", ()):
                yield _operation(method, path, found)


def _operation(method: str, path: str, found: dict[str, Any]) -> Operation:
    told = found[method]
    parameters = [one for one in [*found.get("parameters", ()), *told.get("parameters", ())] if "name" in one]
    # Refusals refer to a shared answer: the page tells of them once.
    answers = [
        (status, answer["description"], _content(answer))
        for status, answer in sorted(told["responses"].items())
        if "$ref" not in answer
    ]
    return Operation(
        method.upper(), path, told.get("summary", ""), parameters, _content(told.get("requestBody")), answers
    )


def _content(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The schema of a body, whatever its media type."""
    return next((media["schema"] for media in (found or {}).get("content", {}).values() if "schema" in media), None)
