#!/usr/bin/env bash
# Where zarr is installed, every run of pytest imports all of it, in projects that never do.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" zarr==3.1.5 pytest==9.0.1
cat >"$folder/test_modules.py" <<'PY'
import sys


def test_modules():
    print("modules:", sum(name == "zarr" or name.startswith("zarr.") for name in sys.modules))
PY
echo "zarr 3.1.5, pytest 9.0.1"
echo "guess: a library for arrays leaves the test runner of other projects alone"
cd "$folder"
run() { PYTHONPATH="$folder/packages" python3 -m pytest -q -s -p no:cacheprovider "$@" test_modules.py | sed -n 's/^modules: //p'; }
with=$(run) without=$(run -p no:zarr)
echo "seen: $with modules of zarr are imported before the first test, $without with '-p no:zarr'"
[ "$with" -ge 50 ] && [ "$without" -eq 0 ]
