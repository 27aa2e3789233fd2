"""Images that Lightd pulled and that no container has used for a time are removed, if the operator wants that."""

from __future__ import annotations

import structlog

from fleet.errors import Conflict
from fleet.images import full_name, is_image_id
from fleet.repositories.containers import ContainerRepository
from fleet.settings import Settings
from worker.known_store import KnownStore
from worker.pulled_images import PulledImages
from worker.runtime.base import Runtime

_HOUR_SECONDS = 3600

log = structlog.get_logger()


class Pruning:
    """Looks at the images that were pulled for this host's containers."""

    def __init__(
        self, settings: Settings, runtime: Runtime, containers: ContainerRepository, store: KnownStore
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._containers = containers
        self._store = store
        self._pulled = PulledImages(settings)

    def prune(self) -> None:
        """Remove what is not used any more. An image that anybody's container has in the engine is left alone."""
        pulled = self._pulled.idle_seconds()
        since = self._store.known_since() if pulled else None
        if since is None:
            return
        in_use, images = self._in_use(), self._runtime.images_by_id()
        if self._store.known_since() != since:
            return
        for image, idle_seconds in pulled.items():
            is_id = is_image_id(image)
            if is_id and image not in images:
                self._pulled.forget(image)
            elif image in in_use or (is_id and images[image]):  # by its id goes only what has lost all names
                self._pulled.used(image)
            elif idle_seconds >= self._settings.image_prune_hours * _HOUR_SECONDS:
                self._remove(image)

    def _in_use(self) -> set[str]:
        """Names and ids of the images that containers of this host are, or are about to be, made from."""
        records = self._containers.of_node(self._settings.node)
        specs = [spec for record in records for spec in (record.spec, record.next_spec) if spec is not None]
        names = {full_name(spec.image) for spec in specs}
        return names | {image_id for name in names if (image_id := self._runtime.image_id(name)) is not None}

    def _remove(self, image: str) -> None:
        try:
            self._runtime.remove_image(image)
        except Conflict as error:
            log.info("an unused image is left as it is", image=image, reason=error.message)
            self._pulled.used(image)
            return
        log.info("an image that no container used was removed", image=image)
        self._pulled.forget(image)
