"""`.ci/audit` tells a database that cannot be reached from one that knows of no weakness."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).resolve().parents[2] / ".ci" / "audit"
SAFE = {"name": "numpy", "version": "2.0", "vulns": []}
WEAK = {"name": "pillow", "version": "9.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["9.1"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
OWN = {"name": "sslkit", "skip_reason": "Dependency not found on PyPI"}
STANDS_IN = """
import sys
report, words, code = {report!r}, {words!r}, {code}
if report is not None:
    open(sys.argv[sys.argv.index("--output") + 1], "w").write(report)
print(words, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(not AUDIT.is_file(), reason="a source distribution has no .ci")
@pytest.mark.parametrize(
    ("packages", "words", "code", "expected", "message"),
    [
        ([OWN, SAFE, UNKNOWN], "", 0, 0, "1 of 2 packages looked up, 0 with a known weakness"),
        ([OWN, SAFE, WEAK], "", 1, 1, "pillow 9.0: PYSEC-1, fixed in 9.1"),
        ([OWN, UNKNOWN], "No known vulnerabilities found", 0, 0, "NOT CHECKED: the advisory database knows none of 1"),
        (None, "requests.exceptions.ConnectionError: Max retries exceeded", 1, 0, "NOT CHECKED: the advisory"),
        (None, "requests.exceptions.ReadTimeout: Read timed out.", 1, 0, "cannot be reached"),
        (None, "error: unrecognized arguments: --format", 2, 1, "pip-audit failed: error: unrecognized"),
        (None, "", 1, 1, "pip-audit failed: no output"),
    ],
)  # fmt: skip
def test_what_is_known_what_is_not_and_what_was_not_asked(tmp_path, packages, words, code, expected, message):
    report = None if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    script = tmp_path / "audit.py"
    script.write_text(STANDS_IN.format(report=report, words=words, code=code))
    command = [sys.executable, AUDIT, sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == expected
    assert message in done.stdout + done.stderr
