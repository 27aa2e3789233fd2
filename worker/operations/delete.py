"""Delete: everything a container had on this host, then its record. Every part is fine when repeated."""

from __future__ import annotations

from fleet import messages
from worker.operations.container_folder import remove_folder
from worker.operations.failure import Ending
from worker.operations.names import install_name, next_name, private_image, probe_name, server_name
from worker.operations.work import Work
from worker.second_copy import SecondCopy


def delete(work: Work) -> None:
    """Remove engine containers, private image, scripts, console and stats, then the record; the volume stays."""
    host = work.host
    work.update(step="delete")
    SecondCopy(host.settings).forget(work.name)  # first: a host whose record is lost brings back what the engine has
    for named in (server_name, install_name, next_name, probe_name):
        host.remove_from_engine(named(work.name))
    if work.container.container_id:
        host.remove_from_engine(work.container.container_id)  # somebody may have given it another name
    if work.spec.install_script or work.container.own_image:
        host.runtime.remove_image(private_image(work.name))
    remove_folder(host.data_folder(work.name))
    host.console.forget(work.name, work.container.container_id)
    host.stats.forget(work.name)
    host.containers.remove(work.name, work.job)


def end_delete(work: Work, ending: Ending) -> None:
    """Say why it is still there; it can be deleted again."""
    work.write(finish=ending.state, error=ending.reason, tell=[messages.error(ending.reason)])
