"""What the command line costs before it does anything: processor time against a bare interpreter, in turns.

python benchmarks/start_up.py --times 15
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

SPEC = str(Path(__file__).parents[1] / "examples" / "quickstart.yaml")
COMMANDS = {
    "a bare interpreter": ("-c", "pass"),
    "sslkit --help": ("-m", "sslkit", "--help"),
    "sslkit validate": ("-m", "sslkit", "validate", SPEC),
    "import torch": ("-c", "import torch"),
}


def seconds(words: tuple[str, ...]) -> float:
    """Processor time of one start, so that what else the machine does counts little."""
    before = os.times()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Start each command in turns and print what it takes beyond the interpreter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=15, help="starts of each command (default: 15)")
    times = parser.parse_args().times
    spent: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(times):
        for name, words in COMMANDS.items():
            spent[name].append(seconds(words))
    bare = statistics.median(spent["a bare interpreter"])
    print(f"median of {times} starts, in turns\n")
    print("| Command | Over a bare interpreter | Of `import torch` |\n|---|---|---|")
    torch = statistics.median(spent["import torch"]) - bare
    for name in ("sslkit --help", "sslkit validate"):
        over = statistics.median(spent[name]) - bare
        print(f"| `{name}` | {1000 * over:.0f} ms | {over / torch:.2f} |")


if __name__ == "__main__":
    main()
