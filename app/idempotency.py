"""`Idempotency-Key`: the same POST sent again is answered with its first answer, and nothing is done twice.

A key belongs to its token. What is compared is a hash of method, path, query and body; bodies are never kept.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
import structlog
from flask import Flask, Response, current_app, g, jsonify, request
from redis.exceptions import RedisError

from app.containers.power import DEEDS
from app.json_body import read_body
from app.services import services
from fleet.errors import Invalid, StillRunning
from fleet.lifecycle import Action, State
from fleet.models import Job
from fleet.repositories.idempotency import (
    LEASE_SECONDS,
    LONGEST_KEPT,
    Claimed,
    Idempotency,
    KeptAnswer,
    TiedJob,
    current_idempotency,
)

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_SANE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.1

View = TypeVar("View", bound=Callable[..., Any])

_log = structlog.get_logger()


def init_idempotency(app: Flask) -> None:
    """Look at every POST that names a key; needs `init_auth` first."""
    app.before_request(_begin)
    app.after_request(_end)


def repeatable(view: View) -> View:
    """Mark a view whose only deed is one script that opens a job: that it died without one shows it did nothing."""
    view.is_repeatable = True  # type: ignore[attr-defined]
    return view


def never_kept(view: View) -> View:
    """Mark a view whose answer is a secret: keys are not looked at."""
    view.is_never_kept = True  # type: ignore[attr-defined]
    return view


def _begin() -> Response | None:
    current_idempotency.set(None)
    sent = request.headers.get(HEADER)
    view = current_app.view_functions.get(request.endpoint or "")
    if sent is None or request.method != "POST" or view is None or "principal" not in g:
        return None
    if getattr(view, "is_never_kept", False):
        return None
    if not _SANE.fullmatch(sent):
        raise Invalid(f"{HEADER} must be 1 to 255 plain characters.", code="invalid_idempotency_key")
    name = hashlib.sha256(f"{g.principal.digest} {sent}".encode()).hexdigest()
    found = _claim(name, repeatable=getattr(view, "is_repeatable", False))
    if not isinstance(found, Claimed):
        return _answer_again(found)
    current_idempotency.set(name)
    g.idempotency = name, found.number, gevent.spawn(_stay, services().idempotency, name)
    return None


def _fingerprint() -> str:
    """What stands for this request. Raises Invalid for a body that broke off: the whole one is another request."""
    digest = hashlib.sha256(f"{request.method} {request.full_path}\n".encode())
    digest.update(read_body(request, cache=True))
    return digest.hexdigest()


def _claim(name: str, *, repeatable: bool) -> KeptAnswer | TiedJob | Claimed:
    """Like the repository's, but waits a while for a first call that is still at work."""
    fingerprint, deadline = _fingerprint(), time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return services().idempotency.claim(name, g.principal.digest, fingerprint, repeatable=repeatable)
        except StillRunning:
            if time.monotonic() >= deadline:
                raise
            gevent.sleep(_LOOK_SECONDS)


def _stay(records: Idempotency, name: str) -> None:
    """Show that the call is at work, as long as that takes."""
    while True:
        gevent.sleep(LEASE_SECONDS / 3)
        try:
            records.renew(name)
        except RedisError as error:
            _log.warning("an idempotency key could not be renewed", reason=str(error))


def _end(response: Response) -> Response:
    found = g.pop("idempotency", None)
    if found is None:
        return response
    name, number, staying = found
    staying.kill(block=False)
    current_idempotency.set(None)
    try:
        if response.status_code == 500 or g.get("in_doubt"):
            services().idempotency.doubt(name, number)
        elif not _is_kept(response):
            services().idempotency.release(name, number)
        else:
            body = response.get_data(as_text=True)
            kept = KeptAnswer(response.status_code, response.content_type or "application/json", body)
            services().idempotency.keep(name, number, kept)
    except RedisError as error:
        # The deed is done; when its lease has run out the key tells what is known of it.
        _log.warning("the answer for an idempotency key was not kept", reason=str(error))
    return response


def _is_kept(response: Response) -> bool:
    """Whether the same call is answered so again. A long refusal needs no keeping: nothing was done."""
    if response.status_code >= 500 or response.status_code == 429 or response.is_streamed:
        return False
    return response.status_code < 400 or len(response.get_data()) <= LONGEST_KEPT


def _answer_again(found: KeptAnswer | TiedJob) -> Response:
    if isinstance(found, KeptAnswer):
        response = Response(found.body, found.status, content_type=found.content_type)
    else:
        job = services().jobs.get(found.job_id)
        body, status = _answer_of(job)
        response = jsonify(body)
        response.status_code = status
    response.headers[REPLAYED] = "true"
    return response


def _answer_of(job: Job) -> tuple[dict[str, Any], int]:
    """What the call that began this job would have been answered at once."""
    if job.kind == Action.INSTALL:
        begun = {"message": "Container creation started", "internal_id": job.internal_id, "state": State.INSTALLING}
        return {**begun, "job_id": job.job_id}, 200
    if job.internal_id is not None and job.kind in DEEDS:
        return {"message": DEEDS[Action(job.kind)].message, "internal_id": job.internal_id, "job_id": job.job_id}, 200
    return {"job_id": job.job_id, "state": "running" if job.is_open else job.state}, 202
