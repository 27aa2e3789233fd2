"""When a container is started again without being asked: the field of a client, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from app.fields import Whole

_POLICIES = ["no", "on-crash", "always"]
_USUAL_TRIES = 10
_MOST_TRIES = 1000


class RestartPolicyObject(Schema):
    """The long form."""

    policy = fields.String(required=True, validate=validate.OneOf(_POLICIES))
    max_tries = Whole(low=1, high=_MOST_TRIES, allow_none=True)


class RestartPolicy(fields.Field[dict[str, Any]]):
    """A policy's name, or an object with its name and `max_tries`; it is loaded as the whole object."""

    def __init__(self, **more: Any) -> None:
        named = {"type": "string", "enum": _POLICIES}
        tries = {"type": "integer", "minimum": 1, "maximum": _MOST_TRIES, "nullable": True}
        whole = {"type": "object", "properties": {"policy": named, "max_tries": tries}}
        super().__init__(metadata={"oneOf": [named, whole]}, **more)

    def _deserialize(
        self,
        value: Any,
        attr: str | None,  # noqa: ARG002
        data: Mapping[str, Any] | None,  # noqa: ARG002
        **more: Any,  # noqa: ARG002
    ) -> dict[str, Any]:
        if isinstance(value, str):
            value = {"policy": value}
        if not isinstance(value, dict):
            raise ValidationError(f"Must be one of {', '.join(_POLICIES)}, or an object with policy and max_tries.")
        loaded: dict[str, Any] = RestartPolicyObject().load(value)
        return {"max_tries": usual_tries(loaded["policy"]), **loaded}


def usual_tries(policy: str) -> int | None:
    """How often a container is started again in a row where the client says nothing; None without limit."""
    return _USUAL_TRIES if policy == "on-crash" else None
