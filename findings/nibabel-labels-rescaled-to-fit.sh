#!/usr/bin/env bash
# Saving a label map as uint8 where one label is above 255 rescales all labels; they are no whole numbers any more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" nibabel==5.4.2 numpy
PYTHONPATH="$folder/packages" python3 - "$folder" <<'PY'
import pathlib
import sys
import warnings

import nibabel
import numpy as np

warnings.simplefilter("error")
print("nibabel", nibabel.__version__)
print("guess: a label that does not fit is refused or clipped, and labels that fit keep their values")
path = pathlib.Path(sys.argv[1]) / "labels.nii"
image = nibabel.Nifti1Image(np.array([[[0, 1, 2, 3, 300]]], np.int16), np.eye(4))
image.set_data_dtype(np.uint8)
nibabel.save(image, path)
again = nibabel.load(path)
seen = again.get_fdata().reshape(-1)
print(f"seen: 0, 1, 2, 3, 300 -> {np.round(seen, 4).tolist()}, slope {again.dataobj.slope:.4f}; rounded {np.rint(seen).astype(int).tolist()}")
assert abs(seen[1] - 300 / 255) < 1e-3
assert np.rint(seen).astype(int).tolist() == [0, 1, 2, 4, 300]
assert again.header.get_data_dtype() == np.uint8
PY
