#!/usr/bin/env bash
# safetensors 0.8.0: a transposed numpy array comes back with its values in another order, without an error.
#
# `safetensors.numpy.save` writes an array's memory as it lies and the array's shape beside it. For an array that is
# not in C order (a transposed one, or a Fortran-ordered one, which `astype` keeps) the two do not belong together.
# safetensors 0.4.5 gave back what was saved. A copy in C order (numpy.ascontiguousarray) is safe in both.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cat >"$home/look.py" <<'PY'
import sys
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load, save

whole = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {
    "C order": whole,
    "transposed": whole.T,
    "Fortran order": np.asfortranarray(whole),
    "Fortran order, astype": np.asfortranarray(whole.astype(np.float64)).astype(np.float32),
    "transposed, copied": np.ascontiguousarray(whole.T),
}
print(f"safetensors {version('safetensors')}, numpy {np.__version__}")
wrong = set()
for name, array in arrays.items():
    back = load(save({"x": array}))["x"]
    same = back.shape == array.shape and np.array_equal(back, array)
    wrong |= set() if same else {name}
    print(f"{name:22} {array.tolist()} came back {'the same' if same else back.tolist()}")
    assert back.shape == array.shape and sorted(back.ravel()) == sorted(array.ravel()), "values are only moved"
expected = {"transposed", "Fortran order", "Fortran order, astype"} if sys.argv[1] == "moved" else set()
assert wrong == expected, f"expected {sorted(expected)} to come back in another order, got {sorted(wrong)}"
PY
cd "$home"
look() {
    python3 -m venv "$home/$1"
    "$home/$1/bin/pip" install --quiet "safetensors==$1" numpy==2.4.6
    "$home/$1/bin/python" look.py "$2"
}
look 0.8.0 moved
look 0.4.5 same
echo "as described"
