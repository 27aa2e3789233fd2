"""The API: Flask routes that validate, write the record, enqueue and answer."""

from __future__ import annotations

from flask import Flask

from app.access import check_declarations
from app.auth import init_auth
from app.containers.history import blueprint as history
from app.containers.resources import blueprint as resources
from app.containers.routes import blueprint as containers
from app.containers.stats import blueprint as stats
from app.docs_page import init_docs_page
from app.errors import init_errors
from app.idempotency import init_idempotency
from app.jobs.routes import blueprint as jobs
from app.network.routes import blueprint as network
from app.openapi import init_openapi
from app.public.routes import blueprint as public
from app.request_id import init_request_id
from app.services import Dispatch, make_services
from app.sockets import init_sockets
from app.tokens.routes import blueprint as tokens
from app.unread_body import init_unread_body
from app.volumes.archives import blueprint as archives
from app.volumes.files import blueprint as files
from app.volumes.links import blueprint as links
from app.volumes.routes import blueprint as volumes
from app.volumes.transfers import blueprint as transfers
from fleet.settings import Settings
from fleet.store import Stores

_CONTAINERS = (containers, resources, history, stats)
_RESOURCES = (public, tokens, volumes, files, transfers, links, archives, network, *_CONTAINERS, jobs)


def create_app(settings: Settings, stores: Stores, dispatch: Dispatch) -> Flask:
    """The WSGI application on the given stores; `dispatch` puts a recorded job into its host's queue."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    # A path with a doubled slash is another path; the redirect to the plain one would be HTML.
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["lightd"] = make_services(settings, stores, dispatch)
    init_request_id(app)
    init_unread_body(app)
    init_auth(app)
    init_idempotency(app)
    api = init_openapi(app)
    for blueprint in _RESOURCES:
        api.register_blueprint(blueprint)
    init_docs_page(app, api)
    init_sockets(app)
    init_errors(app)
    check_declarations(app)
    return app
