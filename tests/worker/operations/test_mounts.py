"""Host folders in containers stay below what the operator allows, whatever containers do in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fleet.lifecycle import Action, State
from tests.worker.operations.conftest import Site


def test_a_folder_that_became_a_link_out_is_mounted_no_more(site: Site, tmp_path: Path) -> None:
    maps = tmp_path / "allowed" / "maps"
    maps.mkdir(parents=True)
    site.host = replace(site.host, settings=replace(site.host.settings, allowed_mounts=(str(maps.parent),)))
    site.ready("a", mount={"/maps": str(maps)})
    maps.rmdir()
    maps.symlink_to("/etc")

    job = site.run(site.ask("a", Action.START))

    assert job.state == "failed"
    assert job.error == "Mounting /etc is not allowed on this node; see LIGHTD_ALLOWED_MOUNTS."
    assert site.container("a").state is State.READY
