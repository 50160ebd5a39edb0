"""`python -m sslkit` is the `sslkit` command."""

from __future__ import annotations

import sys

from sslkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
