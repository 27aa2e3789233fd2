"""Any order of writes, renames, copies and deletes leaves what a simple model says it must."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fleet.errors import LightdError
from storage.beneath import opened_root
from storage.copying import copy
from storage.folders import make_folder
from storage.renaming import delete, rename
from storage.staging import empty_folder
from storage.writing import write_file

NAMES = st.sampled_from(["a", "b", "c d", "ü", "n" * 255])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FOLDER = None


class VolumeModel(RuleBasedStateMachine):
    """The model: path to content, None for a folder. A call fails here exactly where it must fail there."""

    def __init__(self) -> None:
        super().__init__()
        self.held = ExitStack()
        self.folder = Path(self.held.enter_context(tempfile.TemporaryDirectory(prefix="lightd-model-")))
        self.root = self.held.enter_context(opened_root(self.folder, (os.getuid(), os.getgid())))
        self.model: dict[str, bytes | None] = {}

    def teardown(self) -> None:
        fd = os.open(self.folder, os.O_RDONLY)
        empty_folder(fd)
        os.close(fd)
        self.held.close()

    @rule(path=PATHS, content=st.binary(max_size=20), overwrite=st.booleans())
    def write(self, path: str, content: bytes, overwrite: bool) -> None:
        taken = path in self.model and (not overwrite or self.model[path] is None)
        allowed = self._can_make_parents(path) and not taken
        if self._succeeds(lambda: write_file(self.root, path.encode(), content, overwrite=overwrite), allowed):
            self._make_parents(path)
            self.model[path] = content

    @rule(path=PATHS)
    def folder_made(self, path: str) -> None:
        allowed = self._can_make_parents(path) and self.model.get(path) is None
        if self._succeeds(lambda: make_folder(self.root, path.encode()), allowed):
            self._make_parents(path)
            self.model[path] = FOLDER

    @rule(old=PATHS, new=PATHS)
    def renamed(self, old: str, new: str) -> None:
        if self._succeeds(lambda: rename(self.root, old.encode(), new.encode()), self._can_go(old, new)):
            moved = self._tree(old)
            for path in moved:
                del self.model[path]
            self._put(moved, old, new)

    @rule(old=PATHS, new=PATHS)
    def copied(self, old: str, new: str) -> None:
        if self._succeeds(lambda: copy(self.root, old.encode(), new.encode()), self._can_go(old, new)):
            self._put(self._tree(old), old, new)

    @rule(path=PATHS)
    def deleted(self, path: str) -> None:
        if self._succeeds(lambda: delete(self.root, [path.encode()]), path in self.model):
            for gone in self._tree(path):
                del self.model[gone]

    @invariant()
    def the_disk_is_what_the_model_says(self) -> None:
        found = {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else FOLDER
            for path in self.folder.rglob("*")
        }
        # A call that fails late may leave parents it made; they are folders and empty.
        extra = {path for path in found if path not in self.model}
        assert all(found[path] is FOLDER for path in extra), extra
        for path in extra:
            self.model[path] = FOLDER
        assert found == self.model

    def _succeeds(self, call: object, allowed: bool) -> bool:
        try:
            call()  # type: ignore[operator]
        except LightdError:
            assert not allowed
            return False
        assert allowed
        return True

    def _can_go(self, old: str, new: str) -> bool:
        inside = new == old or new.startswith(old + "/")
        return old in self.model and new not in self.model and not inside and self._can_make_parents(new)

    def _parents(self, path: str) -> list[str]:
        parts = path.split("/")
        return ["/".join(parts[:depth]) for depth in range(1, len(parts))]

    def _can_make_parents(self, path: str) -> bool:
        return all(self.model.get(parent) is FOLDER for parent in self._parents(path))

    def _make_parents(self, path: str) -> None:
        for parent in self._parents(path):
            self.model.setdefault(parent, FOLDER)

    def _tree(self, path: str) -> dict[str, bytes | None]:
        return {known: self.model[known] for known in self.model if known == path or known.startswith(path + "/")}

    def _put(self, tree: dict[str, bytes | None], old: str, new: str) -> None:
        self._make_parents(new)
        for path, content in tree.items():
            self.model[new + path[len(old) :]] = content


TestVolumeModel = VolumeModel.TestCase
TestVolumeModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
