"""The `emolib` program: `emolib.cli` with an eye on Ctrl-C while that is loaded."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the program and of `python -m emolib`."""
    try:
        from emolib.cli import main as begin
    except KeyboardInterrupt:
        print("emolib: stopped; start again with the same command", file=sys.stderr)
        sys.exit(130)
    begin()


if __name__ == "__main__":
    main()
