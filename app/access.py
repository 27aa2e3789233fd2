"""What each route asks of its caller: declared at the view, enforced before it runs, listed in docs/permissions.md.

A token may be narrowed in two ways: to scopes, and to containers. A container's token reaches its containers, their
jobs and the files on their volumes; what it does not reach is refused in the same way whether it exists or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from flask import Flask, g, request
from werkzeug.routing import Rule

from app.services import services
from fleet.errors import Conflict, Forbidden, NotFound
from fleet.identifiers import volume_prefix
from fleet.models import Job, Volume
from fleet.repositories.tokens import Principal
from fleet.scopes import Scope

View = TypeVar("View", bound=Callable[..., Any])


class Reach(Enum):
    """What a route is about, as a container's token sees it. The value is the part of the URL that names it."""

    CONTAINER = "internal_id"
    VOLUME = "volume_id"
    JOB = "job_id"
    OWN = "own"
    """A list: its view leaves out what the token does not reach."""
    FLEET = "fleet"
    """Beyond every container's token."""


@dataclass(frozen=True, slots=True)
class Access:
    """One of `scopes`, within `reach`. Without scopes it is for the master token alone."""

    scopes: tuple[Scope, ...]
    reach: Reach


def needs(*scopes: Scope, reach: Reach) -> Callable[[View], View]:
    """Declare that a view's caller must have one of these scopes."""
    return lambda view: _declare(view, Access(scopes, reach))


def master_only(view: View) -> View:
    """Declare that only the master token may call a view."""
    return _declare(view, Access((), Reach.FLEET))


def access_of(view: Callable[..., Any]) -> Access | None:
    """What a view declares."""
    found: Access | None = getattr(view, "access", None)
    return found


def check_declarations(app: Flask) -> None:
    """Raise RuntimeError for a route whose view does not say who may call it, or names what its URL does not have."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        access = access_of(view)
        if getattr(view, "is_public", False) or (access is not None and _fits(rule, access)):
            continue
        raise RuntimeError(f"{rule.rule} must declare its access: see app/access.py.")


def enforce(principal: Principal, view: Callable[..., Any]) -> None:
    """Raise Forbidden unless the caller may do what the current request asks of this view."""
    access = access_of(view)
    if principal.is_master or (access is None and not principal.is_narrowed):
        return
    if access is None:
        raise Forbidden("Narrowed tokens may not call this route: it declares no access.", code="undeclared")
    if not access.scopes:
        raise Forbidden("Only the master token may do this.", code="master_only")
    require_scope(principal, *access.scopes)
    arguments = request.view_args or {}
    if access.reach is Reach.JOB:
        _require_job(principal, access, arguments["job_id"])
    elif access.reach is Reach.CONTAINER:
        require_reach(principal, arguments["internal_id"])
    elif principal.containers and access.reach is Reach.VOLUME:
        # From here on it is named in full, so that no other one that the prefix fits is ever looked at.
        arguments["volume_id"] = _volume_within(principal, arguments["volume_id"]).volume_id
    elif principal.containers and access.reach is Reach.FLEET:
        raise _out_of_reach()


def require_scope(principal: Principal, *scopes: Scope) -> None:
    """Raise Forbidden unless the caller has one of these scopes."""
    if not principal.may(*scopes):
        raise Forbidden(f"This token lacks the scope {' or '.join(scopes)}.", code="missing_scope")


def require_reach(principal: Principal, container_id: str) -> None:
    """Raise Forbidden when a container is beyond the caller's limit, whether it exists or not."""
    if not principal.reaches(container_id):
        raise _out_of_reach()


def caller() -> Principal:
    """Who makes the current request."""
    principal: Principal = g.principal
    return principal


def volumes_within(principal: Principal) -> list[Volume]:
    """The volumes of the containers that a caller is limited to, by id."""
    offered = services()
    names = {container.volume_id for container in offered.containers.many(principal.containers)}
    return offered.volumes.many(sorted(names))


def _volume_within(principal: Principal, text: str) -> Volume:
    prefix = volume_prefix(text)
    found = [volume for volume in volumes_within(principal) if prefix and volume.volume_id.startswith(prefix)]
    if not found:
        raise _out_of_reach()
    if len(found) > 1:
        raise Conflict(f"The volume id {text} fits {len(found)} volumes; give more digits.", code="ambiguous_id")
    return found[0]


def _require_job(principal: Principal, access: Access, job_id: str) -> None:
    """A job on a volume is about files, one on a container is not."""
    try:
        job = services().jobs.get(job_id)
    except NotFound:
        if principal.containers:
            raise _out_of_reach() from None
        raise
    foreign = Scope.POWER if job.volume_id else Scope.FILES
    require_scope(principal, *(scope for scope in access.scopes if scope is not foreign))
    if principal.containers and not _reaches_job(principal, job):
        raise _out_of_reach()


def _reaches_job(principal: Principal, job: Job) -> bool:
    if job.volume_id:
        return any(volume.volume_id == job.volume_id for volume in volumes_within(principal))
    return job.internal_id is not None and principal.reaches(job.internal_id)


def _declare(view: View, access: Access) -> View:
    view.access = access  # type: ignore[attr-defined]
    return view


def _fits(rule: Rule, access: Access) -> bool:
    return access.reach in (Reach.OWN, Reach.FLEET) or access.reach.value in rule.arguments


def _out_of_reach() -> Forbidden:
    return Forbidden("This token is limited to its containers; this is none of theirs.", code="out_of_reach")
