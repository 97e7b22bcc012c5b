#!/usr/bin/env bash
# safetensors 0.8.0: the same tensors with the same metadata are written as different bytes from one call to the next.
#
# Tensors have a fixed order in a file, the entries of `__metadata__` have none: with two or more of them the header's
# text changes between calls and between processes, and with it the file's hash. One entry (or none) gives equal bytes.
# Whoever compares or caches weight files by their hash has to write the header's metadata in an order of their own.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cat >"$home/look.py" <<'PY'
import hashlib
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load, save

tensors = {"direction.1": np.ones(4, dtype=np.float32), "direction.2": np.zeros(4, dtype=np.float32)}
about = {"model": "tiny", "layer": "3", "emotion": "joy"}
print(f"safetensors {version('safetensors')}, numpy {np.__version__}")
found = {}
for count in range(len(about) + 1):
    entries = dict(list(about.items())[:count])
    files = {save(tensors, metadata=entries or None) for _ in range(200)}
    found[count] = len({hashlib.sha256(file).hexdigest() for file in files})
    print(f"{count} metadata entries: {found[count]} different files from 200 equal calls")
    for file in files:
        assert all(np.array_equal(values, tensors[name]) for name, values in load(file).items())
assert found[0] == found[1] == 1 and found[2] > 1 and found[3] > 1, found
PY
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
"$home/venv/bin/python" "$home/look.py"
echo "as described"
