"""The spelling of paths."""

from __future__ import annotations

import pytest

from fleet.errors import PathTraversal
from storage.paths import ROOT, checked_folder, checked_path, shown
from tests.storage.escapes import EMPTY, HARMLESS, NOT_TEXT, TRAVERSALS


@pytest.mark.parametrize("text", TRAVERSALS)
def test_a_path_that_spells_a_way_out_is_refused(text: str) -> None:
    for check in (checked_path, checked_folder):
        with pytest.raises(PathTraversal):
            check(text)


@pytest.mark.parametrize("text", EMPTY + NOT_TEXT)
def test_a_path_that_names_nothing_is_refused(text: object) -> None:
    with pytest.raises(PathTraversal):
        checked_path(text)


@pytest.mark.parametrize("text", [None, *EMPTY])
def test_a_listing_without_a_path_means_the_root(text: object) -> None:
    assert checked_folder(text) == ROOT


@pytest.mark.parametrize("text", HARMLESS)
def test_an_odd_name_survives_the_way_to_disk_and_back(text: str) -> None:
    assert shown(checked_path(text)) == text


def test_dots_and_doubled_slashes_disappear() -> None:
    assert checked_path("./a//b/./c/") == b"a/b/c"
