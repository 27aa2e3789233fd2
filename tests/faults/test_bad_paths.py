"""No spelling of a path, and no link that a container makes, leads out of a volume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from docker.models.images import Image

from tests.support.answers import TRAVERSAL, accepted, refused
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

OUTSIDE = Path("/etc/lightd-test-outside")
ESCAPES = [
    "..",
    "../",
    "../outside",
    "a/../../outside",
    "a/..",
    "./../x",
    "a/./../../x",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "..\\..\\windows",
    "a\\..\\..\\x",
    "C:\\windows",
    "C:/windows",
    "c:x",
    "\\\\server\\share",
    "nul\x00byte",
    "a/\x00",
    "",
]
FIELDS = ["write", "folder", "copy from", "copy to"]


@pytest.fixture(scope="module")
def volume(stack: Stack, busybox_image: Image) -> Iterator[str]:
    """A volume with a file `a/file`, and with links to everywhere outside that a container made."""
    servers = Servers(stack)
    links = {"root": "/", "up": "../../../../../../..", "a/etc": "/etc", "proc": "/proc/1/root", "loop": "loop"}
    made = "; ".join(f"ln -s {target} {name}" for name, target in links.items())
    servers.output_of(f"mkdir a; echo inside > a/file; {made}")
    yield str(servers.body()["volume_id"])
    servers.clean()


@pytest.fixture(autouse=True)
def nothing_came_of_it(volume: str) -> Iterator[None]:
    """Nothing was made outside."""
    assert not OUTSIDE.exists()
    yield
    assert not OUTSIDE.exists()


def call(stack: Stack, volume: str, field: str, path: str) -> requests.Response:
    bodies = {
        "write": ("files", {"path": path, "content": "out"}),
        "folder": ("folders", {"path": path}),
        "copy from": ("copy", {"source": path, "destination": "copied"}),
        "copy to": ("copy", {"source": "a/file", "destination": path}),
    }
    route, body = bodies[field]
    return stack.api("POST", f"/volumes/{volume}/{route}", json=body)


@pytest.mark.parametrize("path", ESCAPES, ids=repr)
def test_a_path_that_leads_out_is_refused_in_every_field(stack: Stack, volume: str, path: str) -> None:
    for field in FIELDS:
        refused(call(stack, volume, field, path), 400, TRAVERSAL)
    if path:
        refused(stack.api("GET", f"/volumes/{volume}/files", params={"path": path}), 400, TRAVERSAL)


@pytest.mark.parametrize("query", ["%2e%2e", "%2e%2e%2f", "a%2f..%2f..", "%2fetc", "..%5c..", "..%2f..%2fetc", "%00"])
def test_an_encoded_path_is_decoded_before_it_is_judged(stack: Stack, volume: str, query: str) -> None:
    refused(stack.api("GET", f"/volumes/{volume}/files?path={query}"), 400, TRAVERSAL)


@pytest.mark.parametrize(
    "path", ["%2e%2e/x", "%252e%252e%252fx", "..%2fx", "\uff0e\uff0e/x", "\u2025/x", "...", "a..b", "..x", "~"]
)
def test_what_only_looks_like_a_way_out_stays_inside(stack: Stack, servers: Servers, path: str) -> None:
    made = servers.volume()
    root = Path(made["path"])
    answer = stack.api("POST", f"/volumes/{made['volume_id']}/files", json={"path": path, "content": "x"})
    if answer.status_code == 400:
        refused(answer, 400, TRAVERSAL)
    else:
        assert accepted(answer)["path"] == path
        assert (root / path).read_text() == "x"


@pytest.mark.parametrize("link", ["root", "up", "a/etc", "proc", "loop"])
def test_a_link_of_a_container_leads_nowhere(stack: Stack, volume: str, link: str) -> None:
    inside = f"{link}/lightd-test-outside" if link == "a/etc" else f"{link}/etc/lightd-test-outside"
    for field in ("write", "folder", "copy to"):
        refused(call(stack, volume, field, inside), 400, TRAVERSAL)
    secret = f"{link}/passwd" if link == "a/etc" else f"{link}/etc/passwd"
    refused(call(stack, volume, "copy from", secret), 400, TRAVERSAL)
    refused(stack.api("GET", f"/volumes/{volume}/files", params={"path": link}), 400, TRAVERSAL)


@pytest.mark.parametrize("link", ["passwd", "proc-passwd"])
def test_a_link_to_a_file_outside_is_neither_followed_nor_its_target_changed(
    stack: Stack, servers: Servers, link: str
) -> None:
    before = Path("/etc/passwd").read_bytes()
    servers.output_of("ln -s /etc/passwd passwd; ln -s /proc/1/root/etc/passwd proc-passwd")
    volume = servers.body()["volume_id"]
    root = Path(accepted(stack.api("GET", f"/volumes/{volume}"))["path"])
    assert call(stack, volume, "copy from", link).status_code in (200, 400)
    copied = root / "copied"
    assert copied.is_symlink() or not copied.exists(), "a copied link is a link, never what it points to"
    assert call(stack, volume, "write", link).status_code in (200, 400)
    assert Path("/etc/passwd").read_bytes() == before
    assert (root / link).is_symlink() or (root / link).read_text() == "out"


def test_a_pipe_that_a_container_made_keeps_nobody_waiting(stack: Stack, servers: Servers) -> None:
    servers.output_of("mkfifo pipe")
    volume = servers.body()["volume_id"]
    listed = accepted(stack.api("GET", f"/volumes/{volume}/files", timeout=60))["files"]
    assert "pipe" in [file["name"] for file in listed]
    body = {"source": "pipe", "destination": "copied"}
    assert stack.api("POST", f"/volumes/{volume}/copy", json=body, timeout=60).status_code < 500


def test_links_are_listed_as_links(stack: Stack, volume: str) -> None:
    files = accepted(stack.api("GET", f"/volumes/{volume}/files"))["files"]
    kinds = {file["name"]: file["type"] for file in files if file["name"] != "lost+found"}
    assert kinds == {"a": "directory", "root": "symlink", "up": "symlink", "proc": "symlink", "loop": "symlink"}


@pytest.mark.parametrize("name", ["a" * 256, "a/" * 5000 + "a"])
def test_a_name_that_no_file_system_takes_is_refused(stack: Stack, volume: str, name: str) -> None:
    for field in FIELDS:
        answer = call(stack, volume, field, name)
        refused(answer, answer.status_code)
        assert answer.status_code in (400, 404, 413)


@pytest.mark.parametrize("made_up", ["..", "%2e%2e", "..%2f..%2fetc", "%00", "a%2fb", "%ff%fe", "x" * 3000, "*"])
@pytest.mark.parametrize(
    "route", ["/volumes/{}", "/volumes/{}/files", "/containers/{}", "/containers/{}/logs", "/jobs/{}"]
)
def test_an_id_in_the_url_is_never_a_path(stack: Stack, route: str, made_up: str) -> None:
    answer = stack.api("GET", route.format(made_up))
    refused(answer, answer.status_code)
    assert answer.status_code in (400, 404)
