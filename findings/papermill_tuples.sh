#!/usr/bin/env bash
# papermill 2.7.0: a tuple given as a parameter reaches the notebook as text, and the record says it was a list.
#
# `layers=(3, 5)` becomes `layers = "(3, 5)"` in the injected cell. Nothing warns, and much code goes on with the text:
# its length is 6, its first item "(". The notebook's metadata, which tools read to learn what was run, hold [3, 5].
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet papermill==2.7.0 nbformat==5.11.1 nbclient==0.11.0 ipykernel==7.4.0
cd "$home"
"$home/venv/bin/python" -m ipykernel install --prefix "$home/venv" --name finding >/dev/null 2>&1
cat >"$home/look.py" <<'PY'
import json

import nbformat
import papermill
from nbformat.v4 import new_code_cell, new_notebook

cells = [
    new_code_cell("layers = [0]\nnested = [0]", metadata={"tags": ["parameters"]}),
    new_code_cell("import json\nprint(json.dumps([type(layers).__name__, len(layers), layers[0], nested]))"),
]
kernel = {"name": "finding", "language": "python", "display_name": "finding"}
nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), "in.ipynb")
ran = {}
for name, layers in {"tuple": (3, 5), "list": [3, 5]}.items():
    given = {"layers": layers, "nested": [1, layers]}
    papermill.execute_notebook("in.ipynb", f"{name}.ipynb", given, progress_bar=False)
    report = json.load(open(f"{name}.ipynb"))
    ran[name] = json.loads("".join(report["cells"][-1]["outputs"][0]["text"]))
    recorded = report["metadata"]["papermill"]["parameters"]
    print(f"given {given}: the notebook had a {ran[name][0]} of length {ran[name][1]} that begins with "
          f"{ran[name][2]!r}, and {ran[name][3]}; the record says {recorded}")
    assert recorded == {"layers": [3, 5], "nested": [1, [3, 5]]}, "the record is the same for both"
assert ran["tuple"] == ["str", 6, "(", [1, "(3, 5)"]], "a tuple becomes text, inside a list too"
assert ran["list"] == ["list", 2, 3, [1, [3, 5]]], "a list stays a list"
PY
"$home/venv/bin/python" look.py 2>"$home/stderr" || { cat "$home/stderr"; exit 1; }
if grep -qi "tuple\|layers\|nested" "$home/stderr"; then
    echo "something is said about it now:"
    cat "$home/stderr"
    exit 1
fi
echo "papermill 2.7.0, nothing about it on stderr: as described"
