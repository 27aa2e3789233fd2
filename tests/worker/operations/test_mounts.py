"""Host folders in containers stay below what the operator allows, whatever containers do in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.lifecycle import Action, State
from fleet.settings import Settings
from tests.worker.operations.conftest import Site
from worker.operations import engine_start


def shared_maps(site: Site, folder: Path) -> Path:
    """A folder below the one that the operator allows, beside Lightd's own data."""
    maps = folder / "allowed" / "maps"
    maps.mkdir(parents=True)
    settings = replace(site.host.settings, data=folder / "data", allowed_mounts=(str(maps.parent),))
    site.host = replace(site.host, settings=settings)
    return maps


def test_a_folder_that_became_a_link_out_is_mounted_no_more(site: Site, tmp_path: Path) -> None:
    maps = shared_maps(site, tmp_path)
    site.ready("a", mount={"/maps": str(maps)})
    maps.rmdir()
    maps.symlink_to("/etc")

    job = site.run(site.ask("a", Action.START))

    assert job.state == "failed"
    assert job.error == "Mounting /etc is not allowed on this node; see LIGHTD_ALLOWED_MOUNTS."
    assert site.container("a").state is State.READY


def test_a_folder_is_not_mounted_while_another_container_could_turn_it_into_a_link(site: Site, tmp_path: Path) -> None:
    maps = shared_maps(site, tmp_path)
    site.running("editor", mount={"/shared": str(maps.parent)})
    site.ready("game", mount={"/maps": str(maps)})

    refused = site.run(site.ask("game", Action.START))

    assert refused.state == "failed"
    assert refused.error is not None and f"has mounted {maps.parent}" in refused.error

    site.run(site.ask("editor", Action.STOP))
    site.see_exit("editor")
    assert site.run(site.ask("game", Action.START)).state == "done"


def test_an_install_script_gets_no_folder_that_another_container_could_turn_into_a_link(
    site: Site, tmp_path: Path
) -> None:
    maps = shared_maps(site, tmp_path)
    site.running("editor", mount={"/shared": str(maps.parent)})

    refused = site.run(site.create("game", mount={"/maps": str(maps)}, install_script="echo hello"))

    assert refused.state == "failed"
    assert refused.error is not None and f"has mounted {maps.parent}" in refused.error


def test_two_containers_share_a_folder(site: Site, tmp_path: Path) -> None:
    maps = shared_maps(site, tmp_path)
    site.running("one", mount={"/maps": str(maps)})
    site.running("two", mount={"/maps": str(maps)})


def test_a_folder_that_changes_just_before_the_start_is_not_mounted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = shared_maps(site, tmp_path)
    elsewhere = maps.parent / "elsewhere"
    elsewhere.mkdir()
    site.ready("game", mount={"/maps": str(maps)})

    @contextmanager
    def after_a_swap(_: Settings) -> Iterator[None]:
        maps.rmdir()
        maps.symlink_to(elsewhere)
        yield

    monkeypatch.setattr(engine_start, "mounts_lock", after_a_swap)
    refused = site.run(site.ask("game", Action.START))

    assert refused.state == "failed"
    assert refused.error is not None and "became another one" in refused.error
