"""Any text at all as a path: refused, or it names something inside."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import LightdError
from storage.beneath import open_beneath, opened_root
from storage.paths import checked_path

PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "%2e", "%2f", "%5c", "%00", "\0", "C:", "~", "a", "ü", "\udcff", "\ud800", " "]
)


@given(st.one_of(st.text(max_size=50), st.lists(PIECES, max_size=12).map("".join)))
@settings(max_examples=1500, deadline=None)
def test_a_checked_path_never_names_anything_outside(text: str) -> None:
    with suppress(LightdError):
        path = checked_path(text)
        assert not path.startswith(b"/") and b".." not in path.split(b"/") and b"\0" not in path


@given(st.lists(st.sampled_from([b"..", b".", b"a", b"link", b"etc", b"", b"root"]), max_size=10).map(b"/".join))
@settings(max_examples=500, deadline=None)
def test_the_kernel_never_opens_anything_outside_whatever_the_path(path: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="lightd-beneath-") as name:
        folder = Path(name) / "volume"
        (folder / "a").mkdir(parents=True)
        (folder / "link").symlink_to("../..")
        (folder / "root").symlink_to("/")
        with opened_root(folder, (0, 0)) as root, suppress(LightdError, OSError):
            fd = open_beneath(root.fd, path, os.O_PATH)
            try:
                assert os.readlink(f"/proc/self/fd/{fd}").startswith(str(folder))
            finally:
                os.close(fd)
