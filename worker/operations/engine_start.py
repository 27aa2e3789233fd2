"""Starting an engine container so that it gets the host's folders that were looked at, and no others.

The engine follows symbolic links at each start. Whoever runs in a container that may write to `/srv/shared` could turn
`/srv/shared/maps` into a link between our look and the engine's, for another container that mounts it. So one with host
folders is started only while nobody can: under a lock of the whole host, and while none of Lightd's containers that run
has mounted a folder above.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from fleet.errors import Conflict
from worker.operations.locks import mounts_lock
from worker.operations.plans import server_plan
from worker.operations.work import Work


def start_engine_container(work: Work, engine_id: str) -> None:
    """Start it.

    Raises what the runtime's `start` does, Forbidden for a mount that the operator does not allow (any more), and
    Conflict for one that another container could turn into something else meanwhile.
    """
    if not work.spec.mount:
        work.host.runtime.start(engine_id)
        return
    with mounts_lock(work.host.settings):
        _check_mounts(work, engine_id)
        work.host.runtime.start(engine_id)


def _check_mounts(work: Work, engine_id: str) -> None:
    host = work.host
    volume = host.volumes.ensure_mounted(work.container.volume_id)
    plan = server_plan(host.settings, work.container, "", volume, host.data_folder(work.name))
    if "mounts" in host.runtime.differences(engine_id, plan):
        raise Conflict("A folder to mount became another one while the container was started; try again.")
    held = host.runtime.writable_folders(but=engine_id)
    for source in plan.mounts.values():
        above = held & {str(folder) for folder in PurePosixPath(source).parents}
        if above:
            raise Conflict(
                f"{source} cannot be mounted while another container that runs has mounted {min(above)}, the folder "
                "above it; mount the same folder in both, or stop the other one.",
                code="mount_in_use",
            )
