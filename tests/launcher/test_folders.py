"""Who may enter the folders of `LIGHTD_DATA`."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fleet.settings import Settings
from scripts.up import make_folders


@pytest.mark.parametrize("name", ["run", "volumes", "containers", "log", "store", "stream"])
def test_other_users_of_the_host_enter_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "volumes").mkdir(mode=0o755)
    make_folders(Settings(data=tmp_path))
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) & 0o007 == 0


@pytest.mark.parametrize("name", ["volumes", "containers"])
def test_what_clients_have_there_is_for_the_owner_only(tmp_path: Path, name: str) -> None:
    make_folders(Settings(data=tmp_path))
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
