"""The `files` process: the volumes' own HTTP side, for signed calls from the API only."""

from __future__ import annotations

import threading

from flask import Flask

from fleet.settings import Settings, read_settings
from storage.server import failures, files, links, names, transfers, volumes
from storage.server.calls import guard_calls
from storage.server.slots import TransferSlots
from storage.volumes import Volumes

__all__ = ["create_app"]


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application; with no settings given it reads the environment.

    Mounts this host's volumes again, and begins to sweep them.
    """
    settings = settings or read_settings()
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    store = Volumes(settings)
    store.restore_all()
    threading.Thread(target=store.sweep_all, name="sweep", daemon=True).start()
    slots = TransferSlots(settings.files_threads)
    guard_calls(app, settings)
    failures.install(app)
    app.register_blueprint(volumes.blueprint(store))
    app.register_blueprint(files.blueprint(store))
    app.register_blueprint(names.blueprint(store))
    app.register_blueprint(transfers.blueprint(store, slots))
    app.register_blueprint(links.blueprint(store, slots, settings))

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app
