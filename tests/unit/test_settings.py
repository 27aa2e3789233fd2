"""The environment is read once, typed, and a bad variable is named."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fleet.settings import Settings, SettingsError, read_settings

WRONG = [
    ("LIGHTD_API_WORKERS", "many"),
    ("LIGHTD_LOG_LEVEL", "loud"),
    ("LIGHTD_NETWORK", "much-too-long-for-a-bridge"),
    ("LIGHTD_CONTAINER_USER", "root"),
    ("LIGHTD_BIND", "localhost"),
    ("LIGHTD_SOCKET_ORIGINS", "https://a.example,panel.example"),
    ("LIGHTD_DEFAULT_PIDS", "0"),
    ("LIGHTD_VOLUME_DRIVER", "zfs"),
    ("LIGHTD_NODE", "a b"),
    ("LIGHTD_API_WORKERS", "0"),
    ("LIGHTD_QUICK_THREADS", "-1"),
    ("LIGHTD_DEFAULT_MEMORY_MB", "-5"),
    ("LIGHTD_DEFAULT_CPU", "nan"),
    ("LIGHTD_REDIS_URL", "localhost:6379"),
    ("LIGHTD_STREAM_URL", "redis://"),
    ("LIGHTD_FILES_URL", "host:9000"),
    ("LIGHTD_FILES_PUBLIC_URL", "files.example.com"),
    ("LIGHTD_ALLOWED_MOUNTS", "srv/a"),
    ("LIGHTD_VOLUME_SIZE_MB", "8"),
    ("LIGHTD_VOLUME_MAX_MB", "1000"),
]


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        read_settings()


def test_sparse_volumes_need_some_disk_kept_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTD_DISK_FLOOR_MB", "0")
    assert read_settings().disk_floor_mb == 0
    monkeypatch.setenv("LIGHTD_VOLUME_ALLOCATION", "sparse")
    with pytest.raises(SettingsError, match="LIGHTD_DISK_FLOOR_MB must be at least"):
        read_settings()


def test_no_limit_and_no_delay_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTD_DEFAULT_MEMORY_MB", "0")
    monkeypatch.setenv("LIGHTD_DEFAULT_CPU", "0.5")
    monkeypatch.setenv("LIGHTD_STOP_TIMEOUT_SECONDS", "0")
    assert read_settings().stop_timeout_seconds == 0


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTD_ALLOWED_MOUNTS", "/srv/a,/srv/b")
    assert read_settings().allowed_mounts == ("/srv/a", "/srv/b")


def test_the_stream_store_is_the_record_store_unless_named() -> None:
    assert Settings(redis_url="redis://host/0").stream_address == "redis://host/0"
    assert Settings().store_address != Settings().stream_address


def test_a_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    assert settings.signing_key() == settings.signing_key() != ""
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
