"""Output of strangers' programs, made fit for a terminal."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(
    r"\x1b\[(?P<colour>[0-9;:]{0,40})m"  # SGR: colours and weights; nobody needs as many, and numbers stay short
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # other control sequences
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, clipboards, device strings
    r"|\x1b[ -/]*[0-~]?"  # the rest
    r"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\x80-\x9f]"
)


def safe_text(text: str) -> str:
    """`text` with its colours, but without what could move the cursor, answer for the user or rename the window.

    The forms of escape sequences are those of ECMA-48.
    """
    return _SEQUENCE.sub(lambda found: found[0] if found["colour"] is not None else "", text)
