"""The `sslkit` command, which `python -m sslkit` is too."""

from __future__ import annotations

import gc
import sys

from sslkit.cli.main import main


def command() -> int:
    """Run the command line of this process and return its exit code.

    Python looks for garbage once more when it ends. Without torch there is hardly any, and looking takes a fifth of
    the time of `sslkit validate`; what torch and its workers leave is cleared as ever.
    """
    try:
        return main()
    finally:
        if "torch" not in sys.modules:
            gc.freeze()


if __name__ == "__main__":
    sys.exit(command())
