"""Names of images: what is an id, what is private, what an operator's pattern means."""

from __future__ import annotations

import pytest

from fleet.errors import Forbidden
from fleet.images import full_name, is_image_name, is_private, registry_of, require_image_allowed

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12", "docker.io/library/debian:12"),
        ("acme/game", "docker.io/acme/game:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/acme/game:1", "docker.io/acme/game:1"),
        ("localhost/game", "localhost/game:latest"),
        ("ghcr.io/acme/game:1", "ghcr.io/acme/game:1"),
        ("127.0.0.1:5000/game", "127.0.0.1:5000/game:latest"),
        ("deadbeef", "docker.io/library/deadbeef:latest"),
        (f"debian:12@{DIGEST}", f"docker.io/library/debian@{DIGEST}"),
    ],
)
def test_a_full_name_says_everything(name: str, full: str) -> None:
    assert full_name(name) == full
    assert full_name(full) == full
    assert registry_of(name) == full.partition("/")[0]


@pytest.mark.parametrize("name", ["sha256:" + "a" * 64, "sha256:abcdef", "b" * 64])
def test_an_id_is_no_name(name: str) -> None:
    assert not is_image_name(name)


@pytest.mark.parametrize("name", ["lightd/x", "docker.io/lightd/x", "index.docker.io/lightd/x:latest"])
def test_what_installs_left_is_private_however_it_is_spelled(name: str) -> None:
    assert is_private(name)


@pytest.mark.parametrize("name", ["lightd", "acme/lightd", "ghcr.io/lightd/x", "lightd-test/busybox:1"])
def test_nothing_else_is_private(name: str) -> None:
    assert not is_private(name)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("debian:12", "debian"),
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12", "debian:1*"),
        (f"debian:12@{DIGEST}", "debian"),
        ("ghcr.io/acme/tools/game:1", "ghcr.io/acme/*"),
        ("acme/game:1", "acme/*"),
        ("127.0.0.1:5000/game", "127.0.0.1:5000/*"),
        ("anything/at:all", "*"),
    ],
)
def test_an_image_that_fits_a_pattern_is_allowed(name: str, pattern: str) -> None:
    require_image_allowed(name, ["nothing.example/x", pattern])


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("debian:11", "debian:12"),
        ("debian-evil", "debian"),
        ("evil.example/library/debian", "debian"),
        ("evil.example/debian", "debian"),
        (f"debian:12@{DIGEST}", "debian:12"),
        ("acme.evil/game", "acme/*"),
        ("ghcr.io.evil/acme/game", "ghcr.io/acme/*"),
        ("docker.io/acme/x", "library/*"),
    ],
)
def test_an_image_that_fits_none_is_not(name: str, pattern: str) -> None:
    with pytest.raises(Forbidden) as refused:
        require_image_allowed(name, [pattern])
    assert refused.value.code == "image_not_allowed"


def test_without_patterns_every_image_is_allowed() -> None:
    require_image_allowed("anything/at:all", [])
