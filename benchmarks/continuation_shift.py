"""Seconds of the continuation shift, beside generating and scoring texts under the same acts, in one run.

    python benchmarks/continuation_shift.py --controls 8 --json benchmarks/results/NAME.json

The same acts, one after the other in every repeat; the median of the repeats:
- shift: `emolib.continuation_shift`, every text of four labels after each of its prompts (24 prompts, 4 texts each);
- generation: `emolib.generate`, thirty tokens after each of the 24 prompts, and `emolib.score_texts` with fluency;
- the same shifts from hooks on the model's own code, one act at a time, for the first acts alone: they must be equal.

Both ways run with all acts and with half of them: the difference is what one act more costs, from which the seconds for
`--acts-of-a-claim` acts are extrapolated. The result says so.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from measuring import described, run_main, seconds, table, write_json

import emolib
from emolib.base.errors import UserError
from emolib.engine.continuation import continuation_shift
from emolib.models.language_model import LanguageModel
from emolib.steering.shift_tables import crossed_cells, shift_rows

TARGET = 0.5  # of the seconds for generating and scoring, at most
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.1}  # nat per token
HELD_AGAINST_HOOKS = 2  # acts


def made_acts(lm: LanguageModel, count: int, layer: int, norm: float) -> list[emolib.Steer]:
    """Isotropic directions of one norm; what they say does not change what they cost."""
    vectors = np.random.default_rng(0).standard_normal((count, lm.d_model)).astype(np.float32)
    return [emolib.Steer(layer, vector, 0.2, unit="resid", resid_norm=norm) for vector in vectors]


def made_rows(arguments: argparse.Namespace, count: int) -> tuple[pd.DataFrame, dict[str, str]]:
    """The crossed design over the data set's first scenarios, with every text; and the prompts' neutral texts."""
    data = emolib.load_dataset()
    scenarios = data["scenario"].drop_duplicates().tolist()
    if not 1 <= 2 * arguments.prompts <= len(scenarios):
        raise UserError(f"expected 1 to {len(scenarios) // 2} prompts, got {arguments.prompts}")
    pools = scenarios[: arguments.prompts], scenarios[arguments.prompts : 2 * arguments.prompts]
    cells = crossed_cells(*pools, per_text=arguments.texts, seed=0)
    texts = data[data["scenario"].isin(pools[1])].rename(columns={"emotion": "label", "text": "words"})
    acts = pd.DataFrame({"act": range(count), "layer": arguments.layer, "alpha": 0.2})
    rows = shift_rows(cells, texts[["scenario", "label", "style", "words"]], acts)
    neutral = data[(data["emotion"] == "neutral") & data["scenario"].isin(pools[0])]
    return rows, dict(zip(neutral["scenario"], neutral["text"], strict=True))


def shifted(
    lm: LanguageModel, rows: pd.DataFrame, prompts: dict[str, str], acts: Sequence[emolib.Steer], size: Any
) -> pd.DataFrame:
    chosen = rows[rows["act"] < len(acts)]
    given = [prompts[name] for name in chosen["prompt"]]
    return continuation_shift(lm, given, chosen["words"].tolist(), [acts[i] for i in chosen["act"]], batch_size=size)


def generated(
    lm: LanguageModel, prompts: dict[str, str], acts: Sequence[emolib.Steer], arguments: argparse.Namespace
) -> dict[str, float]:
    """Seconds of writing and of scoring."""
    given = [(prompt, act) for act in acts for prompt in prompts.values()]
    texts = [prompt for prompt, _ in given]
    writing, outs = seconds(
        lambda: emolib.generate(
            lm, texts, [act for _, act in given], max_new_tokens=arguments.max_new_tokens, batch_size=arguments.batch
        ),
        lm.device,
    )
    # any limit of the fluency rule costs the same; the model's own would be built first
    scoring, _ = seconds(
        lambda: emolib.score_texts([out.text for out in outs], prompts=texts, lm=lm, nll_limit=5.0), lm.device
    )
    return {"generate": writing, "score": scoring, "both": writing + scoring}


def compared(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.controls < 2 or arguments.repeats < 1:
        raise UserError(f"expected at least 2 controls and 1 repeat, got {arguments.controls} and {arguments.repeats}")
    lm = emolib.load_model(
        arguments.model, device=arguments.device, dtype=arguments.dtype, random_weights=arguments.random_weights
    )
    arguments.layer = lm.n_layers // 3 if arguments.layer is None else arguments.layer
    rows, prompts = made_rows(arguments, arguments.controls)
    held = emolib.extract_activations(lm, list(prompts.values()), sites=("resid_pre",), positions="mean")
    norm = float(np.median(np.linalg.norm(held.values["resid_pre"][arguments.layer], axis=-1)))
    acts = made_acts(lm, arguments.controls, arguments.layer, norm)
    few = acts[:1]
    shifted(lm, rows, prompts, few, arguments.batch)  # warm-up
    generated(lm, prompts, few, arguments)
    counts = sorted({arguments.controls // 2, arguments.controls})
    taken: dict[str, dict[int, list[float]]] = {
        way: {n: [] for n in counts} for way in ("shift", "generate", "score", "both")
    }
    found = pd.DataFrame()
    for _ in range(arguments.repeats):
        for n in counts:
            spent, found = seconds(lambda n=n: shifted(lm, rows, prompts, acts[:n], arguments.batch), lm.device)
            taken["shift"][n].append(spent)
            for way, value in generated(lm, prompts, acts[:n], arguments).items():
                taken[way][n].append(value)
    median = {way: {n: statistics.median(values) for n, values in by.items()} for way, by in taken.items()}
    ratio = median["shift"][counts[-1]] / median["both"][counts[-1]]
    return {
        "layer": arguments.layer,
        "rows": {"shift": len(rows), "generate": len(prompts) * len(acts)},
        "tokens_that_count": int(found["n_tokens"].sum()),
        "seconds": {way: {str(n): value for n, value in by.items()} for way, by in median.items()},
        "repeats": {way: {str(n): values for n, values in by.items()} for way, by in taken.items()},
        "extrapolated": extrapolated(median, counts, arguments.acts_of_a_claim),
        "equal": held_against_hooks(lm, rows, prompts, acts, arguments),
        "targets": {"shift/both": {"most": TARGET, "reached": ratio, "met": ratio <= TARGET}},
    }


def extrapolated(median: dict[str, dict[int, float]], counts: Sequence[int], n_acts: int) -> dict[str, Any]:
    """Seconds for many acts: those of the largest number measured, and what each act more costs."""
    least, most = counts[0], counts[-1]
    each = {way: (median[way][most] - median[way][least]) / (most - least) for way in ("shift", "both")}
    whole = {way: median[way][most] + (n_acts - most) * each[way] for way in each}
    return {"acts": n_acts, "seconds_per_act": each, "seconds": whole, "shift/both": whole["shift"] / whole["both"]}


def held_against_hooks(
    lm: LanguageModel,
    rows: pd.DataFrame,
    prompts: dict[str, str],
    acts: Sequence[emolib.Steer],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """The first cells' shifts by the model's own code; as a control beside the next act's, which must not be equal."""
    part = rows[rows["act"] < HELD_AGAINST_HOOKS][: 8 * HELD_AGAINST_HOOKS]
    given = [prompts[name] for name in part["prompt"]], part["words"].tolist()
    own = [acts[i] for i in part["act"]]
    mine = continuation_shift(lm, *given, own)["shift"].to_numpy()
    theirs = continuation_shift(replace(lm, blueprint=None), *given, own)["shift"].to_numpy()
    others = continuation_shift(lm, *given, [acts[(i + 1) % len(acts)] for i in part["act"]])["shift"].to_numpy()
    limit = TOLERANCE[str(lm.dtype).removeprefix("torch.")]
    difference, control = (float(np.abs(mine - other).max()) for other in (theirs, others))
    return {"difference": difference, "limit": limit, "between_acts": control, "met": difference < limit < control}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--random-weights", action="store_true", help="full size, seeded random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=sorted(TOLERANCE))
    parser.add_argument("--prompts", type=int, default=24, help="and as many scenarios of texts")
    parser.add_argument("--texts", type=int, default=4, help="scenarios of texts per prompt, each with all its labels")
    parser.add_argument("--controls", type=int, default=8, help="directions, each an act on every row")
    parser.add_argument("--layer", type=int, help="a third of the model's depth when left out")
    parser.add_argument("--max-new-tokens", type=int, default=30)
    parser.add_argument("--acts-of-a-claim", type=int, default=180, help="for how many acts to extrapolate")
    parser.add_argument("--batch-size", type=int, help="rows at once; measured or fitted to memory when left out")
    parser.add_argument("--repeats", type=int, default=3, help="the median counts")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    arguments.batch = arguments.batch_size or "auto"
    result = compared(arguments)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("json", "batch")}
    about = described(torch.device(arguments.device))
    write_json(arguments.json, {"benchmark": "continuation_shift", **about, "settings": settings, **result})
    largest = str(arguments.controls)
    names = {"shift": "continuation shift", "generate": "generate", "score": "score", "both": "generate and score"}
    print(table([{"way": names[way], f"s for {largest} acts": by[largest]} for way, by in result["seconds"].items()]))
    more = result["extrapolated"]
    print(
        f"extrapolated to {more['acts']} acts: {more['seconds']['shift']:.0f} s against {more['seconds']['both']:.0f} s"
    )
    for name, target in result["targets"].items():
        print(f"{name}: {target['reached']:.3g} (at most {target['most']}) {'met' if target['met'] else 'NOT met'}")
    equal = result["equal"]
    print(f"equal to the model's own code within {equal['difference']:.1e} nat {'' if equal['met'] else 'NOT '}met")


if __name__ == "__main__":
    run_main(main)
