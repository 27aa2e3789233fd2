"""Issuing, listing and revoking tokens: for the master token only."""

from __future__ import annotations

from typing import Any

from app.access import master_only
from app.idempotency import never_kept
from app.json_body import Blueprint
from app.paging import PageQuery, page_of, whole_list
from app.services import services
from app.tokens.schemas import IssuedToken, NewToken, TokenPage, expiry_text, listed_token
from fleet.models import Token

blueprint = Blueprint("tokens", __name__, description="Tokens that end by themselves. Master token only.")


@blueprint.route("/auth/tokens", methods=["POST"])
@blueprint.arguments(NewToken)
@blueprint.response(200, IssuedToken)
@never_kept
@master_only
def issue_token(wanted: dict[str, Any]) -> dict[str, Any]:
    """Make a token that can do all but make tokens, or only what its scopes name, or only on its containers."""
    ttl_seconds = wanted.pop("ttl_seconds")
    secret, token = services().tokens.issue(ttl_seconds, **wanted)
    return {"token": secret, "expires_at": expiry_text(token), "id": token.id}


@blueprint.route("/auth/tokens")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, TokenPage)
@master_only
def list_tokens(query: dict[str, Any]) -> dict[str, Any]:
    """List the tokens that are good now, never their secrets."""
    read = whole_list(services().tokens.every(), _name)
    return page_of("tokens", read, _name, query, show=listed_token)


@blueprint.route("/auth/tokens/<token_id>", methods=["DELETE"])
@blueprint.response(204)
@master_only
def revoke_token(token_id: str) -> None:
    """End a token at once."""
    services().tokens.revoke(token_id)


def _name(token: Token) -> str:
    return f"{token.expires_at:020} {token.id}"
