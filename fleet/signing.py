"""Signed calls from the API to a host's files process: who holds the fleet's key may call, nobody else.

A call carries `Authorization: Lightd <signature>`; it covers node, method and target (path and query)
and is good for one minute.
"""

from __future__ import annotations

from itsdangerous import BadSignature, URLSafeTimedSerializer

from fleet.errors import Forbidden

_SALT = "lightd.files.call"
_LIFETIME_SECONDS = 60


def sign_call(key: str, node: str, method: str, target: str) -> str:
    """The value of the Authorization header for one call."""
    return "Lightd " + str(_serializer(key).dumps([node, method, target]))


def check_call(key: str, node: str, method: str, target: str, authorization: str) -> None:
    """Raise Forbidden unless `authorization` was made by `sign_call` for just this call, a minute ago at most."""
    scheme, _, signature = authorization.partition(" ")
    try:
        signed = _serializer(key).loads(signature, max_age=_LIFETIME_SECONDS)
    except BadSignature as error:
        raise Forbidden("This call is not signed by the API.", code="bad_signature") from error
    if scheme != "Lightd" or signed != [node, method, target]:
        raise Forbidden("This call is signed for something else.", code="bad_signature")


def _serializer(key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt=_SALT)
