"""Which test run this is. Whatever a run makes in the engine carries its tag, so that it removes only its own."""

from __future__ import annotations

import os
import secrets

from scripts.remains import RUN_VARIABLE, TEST_NETWORK, TEST_NODE

RUN = os.environ.get(RUN_VARIABLE) or secrets.token_hex(3)


def new_node_and_network() -> tuple[str, str]:
    """Names for a node and its engine network (at most 12 characters) that belong to this run alone."""
    tag = f"{RUN}{secrets.token_hex(2)}"
    return f"{TEST_NODE}{tag}", f"{TEST_NETWORK}{tag}"
