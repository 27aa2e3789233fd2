"""One difference: a sentence for the operator, and what may be done about it without asking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as it should be. `mend` is there only where nothing can be lost by it."""

    sentence: str
    mend: Callable[[], object] | None = field(default=None, compare=False)
