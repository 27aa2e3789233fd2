"""One line of input for a container's terminal."""

from __future__ import annotations

import unicodedata

from fleet.errors import Invalid

LONGEST_BYTES = 4000
"""Without the newline. A terminal cuts longer lines silently at 4,095."""


def input_line(text: str) -> str:
    """`text` as one line with its newline, which is added when missing.

    Raises Invalid for more than one line, control characters (on a terminal they act) and lines that are too long.
    """
    line = text.removesuffix("\n")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in line):
        raise Invalid("A command is one line without control characters.", code="invalid_command")
    if len(line.encode()) > LONGEST_BYTES:
        raise Invalid(f"A command has at most {LONGEST_BYTES} bytes.", code="invalid_command")
    return line + "\n"
