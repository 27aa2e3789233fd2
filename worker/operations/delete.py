"""Delete: everything a container had on this host, then its record. Every part is fine when repeated."""

from __future__ import annotations

from fleet import messages
from worker.operations.container_folder import remove_folder
from worker.operations.failure import Ending
from worker.operations.names import install_name, private_image, server_name
from worker.operations.work import Work
from worker.second_copy import SecondCopy


def delete(work: Work) -> None:
    """Remove engine containers, private image, scripts, console and stats, then the record; the volume stays."""
    host = work.host
    work.update(step="delete")
    host.remove_from_engine(server_name(work.name))
    host.remove_from_engine(install_name(work.name))
    if work.spec.install_script:
        host.runtime.remove_image(private_image(work.name))
    remove_folder(host.data_folder(work.name))
    SecondCopy(host.settings).forget(work.name)
    host.console.forget(work.name, work.container.container_id)
    host.stats.forget(work.name)
    host.containers.remove(work.name, work.job)


def end_delete(work: Work, ending: Ending) -> None:
    """Say why it is still there; it can be deleted again."""
    work.write(finish=ending.state, error=ending.reason, tell=[messages.error(ending.reason)])
