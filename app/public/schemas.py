"""What the public routes answer."""

from __future__ import annotations

from marshmallow import Schema, fields


class Ping(Schema):
    """The API answers."""

    status = fields.String()
    message = fields.String()
    version = fields.String()


class Health(Schema):
    """The process is up."""

    status = fields.String()


class Readiness(Schema):
    """The fleet can work: who is online, who is silent."""

    status = fields.String()
    nodes = fields.List(fields.String(), metadata={"description": "Hosts that are online."})
    missing = fields.List(
        fields.String(), metadata={"description": "Silent hosts, and `host/queue` for a queue nobody works on."}
    )
