"""docs/settings.md tells the truth about the settings."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from fleet.settings import Settings

TABLE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_table_lists_every_setting_with_its_default_and_meaning() -> None:
    expected = [row(item) for item in fields(Settings)]
    assert rows() == expected, "docs/settings.md should hold these rows:\n" + "\n".join(expected)


def rows() -> list[str]:
    """The table's lines without its head."""
    return [line for line in TABLE.read_text().splitlines() if line.startswith("| `LIGHTD_")]


def row(item: Field[Any]) -> str:
    """The line that a setting should have."""
    return f"| `{item.metadata['variable']}` | {shown(default(item))} | {item.metadata['meaning']} |"


def default(item: Field[Any]) -> Any:
    """A setting's default."""
    return item.default_factory() if item.default_factory is not MISSING else item.default


def shown(value: Any) -> str:
    """A default as the variable would spell it; nothing for empty."""
    if isinstance(value, tuple):
        return shown(",".join(value))
    if isinstance(value, bool):
        return shown(str(value).lower())
    return f"`{value}`" if str(value) else ""
