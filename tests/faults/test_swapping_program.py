"""A program in a real container swaps folders for links while clients work on its volume through the whole API."""

from __future__ import annotations

import gzip
import io
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.models.images import Image

from tests.storage.swapping import NAIVE, SECRET, keep_calling, lay_trap
from tests.support.answers import accepted
from tests.support.images import DEBIAN
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.long]

SECONDS = 12
# `renameat2` with RENAME_EXCHANGE, by its number on x86-64.
PROGRAM = """exec perl -e '
$| = 1; print "swapping\\n";
while (1) {
    for (["dir", "dir-link"], ["dir/file", "file-link"], ["up/file", "up/file-link"]) {
        my ($one, $other) = @$_;
        for (1, 2) { syscall(316, -100, $one, -100, $other, 2); }
    }
}'"""


class Tenant:
    """The volume under attack, and what a panel does on it, each telling whether it was done."""

    def __init__(self, stack: Stack, volume: str, folder: Path) -> None:
        self._stack, self._files = stack, f"/volumes/{volume}"
        self.folder = folder

    def call(self, method: str, path: str, json: Any = None, **more: Any) -> requests.Response | None:
        """An answer that was a success, or None for a refusal; nothing else may come, nor the secret."""
        answer = self._stack.api(method, self._files + path, json=json, **more)
        assert answer.status_code in (200, 400, 404, 409), answer.text
        assert SECRET not in answer.text
        return answer if answer.ok else None

    def read(self) -> bool:
        paths = ("dir/file", "up/file", "dir/sub/file")
        return any(answer is not None for answer in [self.call("GET", f"/files/content?path={path}") for path in paths])

    def write(self) -> bool:
        new = self.call("POST", "/files", {"path": "dir/new", "content": "written"})
        return bool(self.call("POST", "/files", {"path": "up/file", "content": "harmless"}) and new)

    def upload(self) -> bool:
        return bool(self.call("PUT", "/upload?path=dir/uploaded", data=b"written"))

    def list_(self) -> bool:
        answer = self.call("GET", "/files?path=dir&detailed=true")
        files = answer.json()["files"] if answer else []
        assert all(one["size"] != len(SECRET) or one["type"] == "symlink" for one in files)
        return bool(answer)

    def download(self) -> bool:
        answer = self.call("GET", "/download?path=dir")
        if answer:
            assert SECRET.encode() not in gzip.decompress(answer.content)
        return bool(answer)

    def copy(self) -> bool:
        self.call("POST", "/delete", {"paths": ["copied"]})
        done = self.call("POST", "/copy", {"source": "dir", "destination": "copied"})
        self.call("GET", "/files/content?path=copied/file")
        return bool(done)

    def pack_and_unpack(self) -> bool:
        packed = self.call("POST", "/compress", {"format": "tar", "output_name": "packed", "paths": ["dir"]})
        self.call("GET", "/download?path=packed.tar")
        self.call("POST", "/delete", {"paths": ["packed.tar"]})
        unpacked = self.call("POST", "/decompress", {"archive_path": "in.zip", "destination": "dir"})
        return bool(packed and unpacked)


@pytest.fixture
def tenant(stack: Stack, servers: Servers, debian_image: Image, tmp_path: Path) -> Iterator[tuple[Tenant, Path]]:
    """A volume with a trap, on which the program is at work."""
    volume = servers.volume(32)
    folder = Path(volume["path"])
    outside = lay_trap(folder, tmp_path / "outside")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("unpacked", "x")
    accepted(stack.api("PUT", f"/volumes/{volume['volume_id']}/upload?path=in.zip", data=packed.getvalue()))
    servers.run(PROGRAM, image=DEBIAN, volume_id=volume["volume_id"], start_pattern="swapping")
    yield Tenant(stack, volume["volume_id"], folder), outside


def test_a_program_that_swaps_folders_for_links_gets_nothing_out_of_its_volume(tenant: tuple[Tenant, Path]) -> None:
    files, outside = tenant
    assert _falls_for_it(NAIVE["read"], files.folder, outside), "The naive way never escaped: this proves nothing."
    before = {path: path.stat() for path in (outside, outside / "file")}
    done = dict.fromkeys(("read", "write", "upload", "list_", "download", "copy", "pack_and_unpack"), 0)

    def count(name: str) -> None:
        done[name] += getattr(files, name)()

    keep_calling({name: partial(count, name) for name in done}, SECONDS)
    assert min(done.values()) > 0, done
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == SECRET
    for path, old in before.items():
        now = path.stat()
        assert (now.st_mode, now.st_uid, now.st_mtime_ns) == (old.st_mode, old.st_uid, old.st_mtime_ns)


def _falls_for_it(naive: Callable[[Path, Path], bool], folder: Path, outside: Path) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError, shutil.Error):
            if naive(folder, outside):
                return True
    return False
