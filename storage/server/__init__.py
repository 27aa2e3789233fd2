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

    Begins to mount this host's volumes again, and to sweep them. A call needs only its own volume, which it mounts
    where that was not done yet: it does not wait for others whose file systems take long to check.
    """
    settings = settings or read_settings()
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    store = Volumes(settings)
    threading.Thread(target=_put_in_order, args=(store,), name="put in order", daemon=True).start()
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


def _put_in_order(store: Volumes) -> None:
    store.restore_all()
    store.sweep_all()
