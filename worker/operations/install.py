"""Install and reinstall: from an image and a script to an engine container that can be started."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from fleet import messages
from fleet.errors import Conflict, NotFound
from fleet.lifecycle import Action, InstallState, State
from fleet.models import Spec
from fleet.repositories.containers import Superseded
from fleet.repositories.jobs import Cancelled
from storage.volumes.sparse import check_host_room
from worker.operations.container_folder import write_entrypoint
from worker.operations.failure import Ending
from worker.operations.handover import hand_over
from worker.operations.install_script import remove_install_container, run_install_script
from worker.operations.journal import Step, run_steps
from worker.operations.locks import copying_lock
from worker.operations.names import install_name, private_image, server_name
from worker.operations.plans import server_plan
from worker.operations.work import Work
from worker.pulled_images import PulledImages
from worker.runtime.base import ContainerPlan
from worker.second_copy import SecondCopy

_MB = 1024 * 1024
_LARGE_LAYER_BYTES = 64 * _MB


def install(work: Work) -> None:
    """Do all steps, then show the container as ready. Raises Undone when nothing of it remains.

    As long as a reinstall has not taken over its new spec, the old container is as it was.
    """
    if work.job.kind == Action.INSTALL:
        SecondCopy(work.host.settings).note(work.container)  # a host whose record gets lost then knows what was asked
    wanted = work.container.next_spec
    if wanted is not None:
        run_steps(work, [Step("pull", lambda: pull_image(work, wanted)), Step("take", lambda: _take(work, wanted))])
    run_steps(work, [*_steps(work), Step("finish", lambda: _show_ready(work))])


def _take(work: Work, wanted: Spec) -> None:
    """From here on the container is what the reinstall makes of it."""
    _write_unless_cancelled(work, spec=wanted, next_spec=None)
    work.container = work.host.containers.get(work.name)


def _show_ready(work: Work) -> None:
    _write_unless_cancelled(
        work,
        finish="done",
        tell=[messages.event(messages.INSTALLED)],
        state=State.READY,
        install_state=InstallState.READY,
        container_id=work.journal["create"],
        own_image=bool(work.journal.get("commit")),
    )


def _write_unless_cancelled(work: Work, **changes: Any) -> None:
    """Change the record; raises Cancelled when somebody asked for that before."""
    try:
        work.write(unless_cancelled=True, **changes)
    except Superseded as refusal:
        if str(refusal) == "cancelled":
            raise Cancelled from refusal
        raise


def end_install(work: Work, ending: Ending) -> None:
    """Show the container as failed; it holds no port any more. A reinstall that could not begin changed nothing."""
    if work.container.next_spec is not None and work.container.container_id is not None:
        _show_unchanged(work, ending)
        return
    work.write(
        finish=ending.state,
        error=ending.reason,
        tell=[messages.event(messages.FAILED), messages.error(ending.reason)],
        free_ports=True,
        state=State.FAILED,
        install_state=InstallState.FAILED,
        container_id=None,
        run=None,
        ended_run=None,
        own_image=False,
        next_spec=None,
    )


def _show_unchanged(work: Work, ending: Ending) -> None:
    """The old container is as it was before, and why it still is."""
    work.write(
        finish=ending.state,
        error=ending.reason,
        tell=[messages.at_rest(work.container.ended_run), messages.error(ending.reason)],
        state=State.READY,
        install_state=InstallState.READY,
        next_spec=None,
    )


def create_server(work: Work) -> str:
    """Make the engine container, from the private image where an install left one. Answers its engine id.

    The agent keeps the network there, so it is not looked for each time; a start that misses it makes it again.
    """
    return make(work, prepared_plan(work, server_image(work)))


def make(work: Work, plan: ContainerPlan) -> str:
    """Make an engine container, and its network where that is missing. Answers its engine id."""
    runtime = work.host.runtime
    try:
        return runtime.create(plan)
    except NotFound:
        runtime.ensure_network(work.host.settings.network)
        return runtime.create(plan)


def server_image(work: Work) -> str:
    """The private image where an install left one. Raises Conflict when that is lost."""
    private = private_image(work.name)
    if work.spec.install_script and work.host.runtime.has_image(private):
        return private
    if work.container.own_image:
        raise Conflict(
            "What the install script put into the image is lost; reinstall the container.", code="image_lost"
        )
    return work.spec.image


def prepared_plan(work: Work, image: str) -> ContainerPlan:
    """What the engine container is made from, with its folders and scripts in place."""
    data = work.host.data_folder(work.name)
    volume = work.host.volumes.ensure_mounted(work.container.volume_id)
    write_entrypoint(data, work.spec)
    return server_plan(work.host.settings, work.container, image, volume, data)


def _steps(work: Work) -> list[Step]:
    host = work.host
    steps = [Step("pull", lambda: pull_image(work, work.spec))]
    if work.job.kind == Action.REINSTALL:
        steps.append(Step("clear", lambda: _clear(work), lambda: _clear(work)))
    if work.spec.install_script:
        steps += [
            Step("install", lambda: _install(work), lambda: remove_install_container(work)),
            Step("handover", lambda: _hand_over(work)),
            Step("commit", lambda: _commit(work), lambda: host.runtime.remove_image(private_image(work.name))),
            Step("sweep", lambda: remove_install_container(work)),
        ]
    steps.append(Step("create", lambda: _create(work), lambda: host.remove_from_engine(server_name(work.name))))
    return steps


def pull_image(work: Work, spec: Spec) -> None:
    """Fetch the image of `spec` unless it is there; where that says `always`, also then.

    Raises Conflict, and gives up, when the host's own disk is nearly full.
    """
    check_host_room(work.host.settings, work.container.volume_id)
    runtime, image = work.host.runtime, spec.image
    is_there = runtime.has_image(image)
    if is_there and spec.pull_policy != "always":
        return
    before, pulled = runtime.images_by_id(), PulledImages(work.host.settings)
    tell = work.progress("pull")

    def look(fraction: float | None) -> None:
        if fraction != 1.0:  # a small archive may unpack to more than the disk has
            work.host.check_disk(_MB)
        tell(fraction)

    runtime.pull(image, look)
    image_id = runtime.image_id(image)
    if image_id is not None and image_id not in before:
        pulled.note(image_id)
    if not is_there:
        pulled.note(image)


def _clear(work: Work) -> None:
    """Remove what the last install made; the volume's files stay. A host whose record gets lost then knows why."""
    SecondCopy(work.host.settings).note(work.container)
    work.host.remove_from_engine(server_name(work.name))
    work.host.remove_from_engine(install_name(work.name))
    work.host.runtime.remove_image(private_image(work.name))


def _create(work: Work) -> str:
    image = private_image(work.name) if work.journal.get("commit") else work.spec.image
    return make(work, prepared_plan(work, image))


def _install(work: Work) -> dict[str, int]:
    work.host.runtime.ensure_network(work.host.settings.network)
    return run_install_script(work)


def _hand_over(work: Work) -> None:
    host, tell = work.host, work.progress("handover")
    hand_over(host.volumes.ensure_mounted(work.container.volume_id), host.settings.owner, lambda: tell(None))


def _commit(work: Work) -> bool:
    """Keep what the script changed outside the volume, in an image of the container's own. Answers whether it did."""
    runtime = work.host.runtime
    image = private_image(work.name)
    runtime.remove_image(image)  # of an attempt that died in this step
    layer_bytes = work.journal["install"]["layer_bytes"]
    if not layer_bytes:
        return False
    is_large = layer_bytes > _LARGE_LAYER_BYTES
    with copying_lock(work.host.settings, work.stop_if_cancelled) if is_large else nullcontext():
        work.host.check_disk(layer_bytes)  # it is copied
        runtime.commit(install_name(work.name), image)
    return True
