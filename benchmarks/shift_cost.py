"""Operations of the continuation shift beside those of generating and reading Phase 5's sweeps, counted, not measured.

    python benchmarks/shift_cost.py --profile quick --model smollm2_135m --json benchmarks/results/NAME.json
    python benchmarks/shift_cost.py --grid-texts 6 --control-texts 8

Nothing is run: the rows are those that the profile's parameters ask for, the tokens those of the data set's texts. A
token through a layer costs the multiplications of the layer's products, one whose distribution is read those of the
head; attention, scorers and whatever is not a product are left out. Generated texts count as if each had its full
length and were distinct, so that the sweeps' side is an upper limit.
"""

from __future__ import annotations

import argparse
from typing import Any

from measuring import run_main, table, write_json
from study_cost import DesignRows, design_rows, size_of, spec_named

from emolib.base.config import ModelSpec
from emolib.base.errors import UserError
from emolib.base.parameters import PatchingParameters, resolve
from emolib.study.phase5_steering import shift_design
from emolib.study.phase5_steering.shift_cost import shift_work
from emolib.study.run import Run

TARGET = 0.3  # of the sweeps' operations, at most


def products(spec: ModelSpec) -> tuple[float, float]:
    """Multiplications of one token through one layer, and through the head."""
    head = float(spec.d_vocab * spec.d_model)
    return (size_of(spec).flops_per_token / 2 - head) / spec.n_layers, head


def sweep_tokens(rows: DesignRows, params: PatchingParameters, n_layers: int) -> dict[str, tuple[int, int]]:
    """Tokens through layers and through the head: of writing every row, and of reading it once more for its fluency.

    What a row shares with others of its prompt is left out.
    """
    layers = params.candidate_layers(n_layers)
    window = params.window * (n_layers - layers[len(layers) // 2])
    new = rows.new_tokens
    written = rows.generated * (window + (new - 1) * n_layers), rows.generated * new
    return {"generate": written, "read": (rows.generated * new * n_layers, rows.generated * new)}


def counted(arguments: argparse.Namespace) -> dict[str, Any]:
    for name in ("grid_texts", "control_texts"):
        value = getattr(arguments, name)
        if value is not None and value < 2:
            raise UserError(f"expected --{name.replace('_', '-')} of at least 2, got {value}")
        if value is not None:
            setattr(shift_design, name.upper(), value)
    spec = spec_named(arguments.model)
    params = resolve(arguments.profile, spec.name, "phase5")
    per_layer, per_head = products(spec)
    sweeps = sweep_tokens(design_rows(arguments.profile, spec.name), params, spec.n_layers)
    work = shift_work(Run(params), n_layers=spec.n_layers)
    found = {name: {"layer_tokens": through, "head_tokens": read} for name, (through, read) in sweeps.items()}
    shift = work.set_index("work").to_dict("index")
    for one in (*found.values(), *shift.values()):
        one["products"] = one["layer_tokens"] * per_layer + one["head_tokens"] * per_head
    both = sum(one["products"] for one in found.values())
    ratio = sum(one["products"] for one in shift.values()) / both
    return {
        "per_token": {"layer": per_layer, "head": per_head},
        "sweeps": found,
        "shift": shift,
        "share": {name: one["products"] / both for name, one in shift.items()},
        "targets": {"shift/sweeps": {"most": TARGET, "reached": ratio, "met": ratio <= TARGET}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--model", default="smollm2_135m", help="a name of the table")
    parser.add_argument("--grid-texts", type=int, help="validation texts per style; as in a run when left out")
    parser.add_argument(
        "--control-texts", type=int, help="test texts per style under directions; as in a run when left out"
    )
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    result = counted(arguments)
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    write_json(arguments.json, {"benchmark": "shift_cost", "settings": settings, **result})
    lines = [{"work": name, **one} for name, one in {**result["sweeps"], **result["shift"]}.items()]
    print(table([{**line, "of the sweeps": result["share"].get(line["work"])} for line in lines]))
    target = result["targets"]["shift/sweeps"]
    met = "met" if target["met"] else "NOT met"
    print(f"shift/sweeps: {target['reached']:.3g} (at most {target['most']}) {met}")


if __name__ == "__main__":
    run_main(main)
