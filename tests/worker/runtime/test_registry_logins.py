"""Pulls from a registry that asks for a login, with the operator's file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from docker.models.images import Image

from fleet.errors import Conflict, Invalid
from fleet.settings import read_settings
from tests.support.registry import PASSWORD, USERNAME, Registry
from worker.runtime.docker import DockerRuntime
from worker.runtime.registry_logins import RegistryLogins

pytestmark = pytest.mark.engine


@pytest.fixture
def logins(tmp_path: Path) -> Path:
    path = tmp_path / "logins.json"
    path.touch(mode=0o600)
    path.write_text("{}")
    return path


@pytest.fixture
def runtime(logins: Path) -> Iterator[DockerRuntime]:
    with closing(DockerRuntime(read_settings().engine, 60, RegistryLogins(str(logins)))) as runtime:
        yield runtime


def write(path: Path, registry: Registry, **changes: Any) -> None:
    path.write_text(json.dumps({registry.address: {"username": USERNAME, "password": PASSWORD, **changes}}))


def test_an_image_is_pulled_with_the_login_of_its_registry(
    runtime: DockerRuntime, logins: Path, guarded_registry: Registry, busybox_image: Image
) -> None:
    reference = guarded_registry.push(busybox_image, "private:1")
    with pytest.raises(Invalid, match=reference):
        runtime.pull(reference, lambda _: None)
    assert not runtime.has_image(reference)
    write(logins, guarded_registry)
    runtime.pull(reference, lambda _: None)
    assert runtime.has_image(reference)
    runtime.remove_image(reference)


def test_a_wrong_password_is_told_by_the_image_and_not_shown(
    runtime: DockerRuntime, logins: Path, guarded_registry: Registry, busybox_image: Image
) -> None:
    reference = guarded_registry.push(busybox_image, "private:2")
    write(logins, guarded_registry, password="not-the-planted-one")
    with pytest.raises(Invalid) as refused:
        runtime.pull(reference, lambda _: None)
    assert reference in refused.value.message
    assert "not-the-planted-one" not in refused.value.message


def test_another_registry_gets_no_login(
    runtime: DockerRuntime, logins: Path, guarded_registry: Registry, registry: Registry, busybox_image: Image
) -> None:
    reference = guarded_registry.push(busybox_image, "private:3")
    write(logins, registry)
    with pytest.raises(Invalid, match=reference):
        runtime.pull(reference, lambda _: None)


def test_a_file_that_others_can_read_is_not_used(
    runtime: DockerRuntime, logins: Path, guarded_registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    write(logins, guarded_registry)
    logins.chmod(0o640)
    with pytest.raises(Conflict) as refused:
        runtime.pull(f"{guarded_registry.address}/private:1", lambda _: None)
    assert refused.value.code == "registry_logins"
    logged = capsys.readouterr()
    assert "chmod 600" in logged.out + logged.err
    assert PASSWORD not in refused.value.message + logged.out + logged.err


@pytest.mark.parametrize("content", ["", "[]", '{"%s": "operator"}', '{"%s": {"username": "x"}}', "{broken"])
def test_a_file_that_is_no_list_of_logins_is_told(
    runtime: DockerRuntime, logins: Path, guarded_registry: Registry, content: str
) -> None:
    logins.write_text(content.replace("%s", guarded_registry.address))
    with pytest.raises(Conflict):
        runtime.pull(f"{guarded_registry.address}/private:1", lambda _: None)


def test_a_login_never_shows_its_password(logins: Path, guarded_registry: Registry) -> None:
    write(logins, guarded_registry)
    login = RegistryLogins(str(logins)).login_for(f"{guarded_registry.address}/private:1")
    assert login is not None
    assert PASSWORD not in f"{login} {login!r}"
