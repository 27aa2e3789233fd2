"""`python -m scripts`, which `./lightd` runs."""

from __future__ import annotations

import sys

from scripts.command_line import commands, with_token_spelled_as_option

if __name__ == "__main__":
    commands(with_token_spelled_as_option(sys.argv[1:]), prog_name="./lightd")
