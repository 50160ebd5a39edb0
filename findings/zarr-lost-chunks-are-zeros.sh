#!/usr/bin/env bash
# A chunk file that is lost reads as the fill value: part of an image goes black without an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" zarr==3.1.6 numpy
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import pathlib
import sys
import warnings

import zarr

warnings.simplefilter("error")
print("zarr", zarr.__version__)
print("guess: an array whose chunks were all written tells of one that is missing")
path = pathlib.Path(sys.argv[1]) / "a.zarr"
array = zarr.create_array(str(path), shape=(4, 4), chunks=(2, 2), dtype="u2")
array[:] = 7
chunks = sorted(file for file in path.rglob("*") if file.is_file() and file.name != "zarr.json")
assert len(chunks) == 4
chunks[0].unlink()  # as an interrupted copy leaves it
again = zarr.open_array(str(path), mode="r")
print(f"seen: {again[:].tolist()}, initialized {again.nchunks_initialized} of {again.nchunks} chunks")
assert again[:].tolist()[0] == [0, 0, 7, 7]
assert again.nchunks_initialized == 3
PY
