"""The API's own description at `/openapi.json`."""

from __future__ import annotations

from flask import Flask, Response, jsonify
from flask_smorest import Api
from marshmallow import Schema, fields

from app.auth import VENDOR_TYPE, public
from fleet import __version__

_INTRODUCTION = f"""Docker hosts as one API for running other people's servers.

Every route that is not public needs two headers: `Authorization: Bearer lightd_…` and `Accept: {VENDOR_TYPE}`
(compared without regard to case, also within a list).

WebSockets are at `/ws/<internal_id>` and `/ws`; their messages are told of in docs/api.md."""


class Problem(Schema):
    """What went wrong."""

    error = fields.String(metadata={"description": "One sentence a person can act on."})
    code = fields.String(metadata={"description": "The same for the same problem, in all versions."})
    request_id = fields.String()
    fields_ = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        data_key="fields",
        metadata={"description": "For a validation error: dotted field names and their problems."},
    )


class _Api(Api):
    ERROR_SCHEMA = Problem

    def _register_error_handlers(self) -> None:
        """`app.errors` does this."""

    @public
    def _openapi_json(self) -> Response:
        return jsonify(self.spec.to_dict())


def init_openapi(app: Flask) -> Api:
    """The registry of documented blueprints; serves the description to anybody."""
    app.config["OPENAPI_URL_PREFIX"] = "/"
    app.config["OPENAPI_JSON_PATH"] = "openapi.json"
    api = _Api(
        app,
        spec_kwargs={
            "title": "Lightd",
            "version": __version__,
            "openapi_version": "3.0.3",
            "info": {"description": _INTRODUCTION},
            "security": [{"token": [], "vendorType": []}],
        },
    )
    schemes = api.spec.components
    schemes.security_scheme("token", {"type": "http", "scheme": "bearer", "bearerFormat": "lightd_<secret>"})
    vendor = {"type": "apiKey", "in": "header", "name": "Accept", "description": f"Must contain `{VENDOR_TYPE}`."}
    schemes.security_scheme("vendorType", vendor)
    return api
