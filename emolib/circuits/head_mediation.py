"""Which part of a steer's effect on S goes through some heads: S with the heads ablated, beside S with them.

S is a difference of differences between two acts (`emolib.steering.specific_shift`), so the ablation's own effect on a
text, which both acts share, falls out; what is left is what the steers still do when the heads cannot answer to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.context_cells import ContextCells
from emolib.engine.continuation import continuation_shift
from emolib.interventions import AblateHead, Act, Head, acts_of, mean_head_output, record_heads
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode
from emolib.statistics.intervals import paired_effects
from emolib.statistics.ratios import fieller
from emolib.steering.shift_tables import shift_rows, shift_table
from emolib.steering.specific_shift import specific_shift

SOURCES = ("fourth", "fifth")  # scenarios whose neutral texts resampled heads have read: for the prompt, for the text
WITH = "with"  # the name of the steers with every head as it is
RESAMPLE: Literal["resample"] = "resample"  # primary
MEAN: Literal["mean"] = "mean"
ZERO: Literal["zero"] = "zero"
Acts = Act | tuple[Act, ...]
Ablations = Mapping[str, Sequence[tuple[Act, ...]]]  # by name, a tuple of acts per cell


def head_ablations(
    lm: LanguageModel, cells: ContextCells, sets: Mapping[str, Sequence[Head]], *, kinds: Sequence[str] = (RESAMPLE,)
) -> dict[str, list[tuple[Act, ...]]]:
    """Sets of heads ablated at once, by every kind, as `steered_shifts` takes them: `<set> <kind>`.

    Resampled heads take what they had in other scenarios' neutral texts, one behind the other, of no act: token by
    token, from the prompt's end. The source belongs to the cell, so that S compares two acts under one ablation.

    Args:
        sets: heads by name.
        kinds: of `resample`, `mean` (over the cells' bare prompts, first tokens left out) and `zero`.

    Raises:
        UserError: an unknown kind, a set without heads, a head that the model does not have.

    >>> import emolib
    >>> from emolib.circuits.context_cells import context_cells
    >>> lm, data = emolib.load_model("smollm2_135m", device="cpu"), emolib.load_dataset()
    >>> names = {split: list(part["scenario"].unique()) for split, part in data.groupby("split")}
    >>> cells = context_cells(data, names["test"][:2], names["validation"])
    >>> found = head_ablations(lm, cells, {"one": [(12, 3)]}, kinds=["resample", "zero"])
    >>> {name: [act.how for (act,) in acts] for name, acts in found.items()}
    {'one resample': ['resample', 'resample'], 'one zero': ['zero', 'zero']}
    """
    for kind in kinds:
        arguments.one_of("ablation", kind, (RESAMPLE, MEAN, ZERO))
    if not all(len(heads) for heads in sets.values()):
        raise UserError("expected at least one head in every set that is ablated, got none in one of them")
    every = list(dict.fromkeys(head for heads in sets.values() for head in heads))
    by_kind: dict[str, list[dict[Head, Act]]] = {}
    if RESAMPLE in kinds:
        before, behind = ([cells.text_of[name, cells.neutral] for name in cells.table[role]] for role in SOURCES)
        records = record_heads(lm, [f"{one} {other}" for one, other in zip(before, behind, strict=True)], every)
        lengths = [len(ids) for ids in encode(lm, before)]
        by_kind[RESAMPLE] = [
            {head: AblateHead(*head, RESAMPLE, source=record, source_prompt=length) for head in every}
            for record, length in zip(records, lengths, strict=True)
        ]
    if MEAN in kinds:
        bare = list(dict.fromkeys(cells.bare_prompt(cell) for cell in range(len(cells))))
        held = record_heads(lm, bare, every)
        by_kind[MEAN] = [{head: AblateHead(*head, MEAN, mean_head_output(held, *head)) for head in every}] * len(cells)
    if ZERO in kinds:
        by_kind[ZERO] = [{head: AblateHead(*head) for head in every}] * len(cells)
    return {
        f"{name} {kind}": [tuple(of_cell[head] for head in heads) for of_cell in by_kind[kind]]
        for name, heads in sets.items()
        for kind in kinds
    }


def steered_shifts(
    lm: LanguageModel,
    cells: ContextCells,
    steers: Mapping[str, Acts],
    ablations: Ablations | None = None,
    *,
    batch_size: int | Literal["auto"] = "auto",
) -> pd.DataFrame:
    """S of every cell and pair of emotions under the emotions' steers, with all heads and with each set ablated.

    Args:
        cells: their bare neutral prompts and their texts are used, no context.
        steers: one act (or several) per emotion.
        ablations: by name the acts of every cell (`head_ablations`), applied before the steer; None: without ablation
            alone.
        batch_size: rows at once.

    Returns:
        ablation (`with`: none), prompt, text, style, layer, alpha, emotion, other, specific (nat per token).

    Raises:
        UserError: fewer than two emotions with steers, an ablation called `with` or not of as many cells; as
            `emolib.continuation_shift`.
    """
    named = dict(ablations or {})
    for name, of_cells in named.items():
        if len(of_cells) != len(cells):
            raise UserError(f"expected acts of {len(cells)} cells in the ablation {name}, got {len(of_cells)}")
    if len(steers) < 2 or WITH in named:
        raise UserError(f"expected steers of at least two emotions and no ablation called {WITH}, got {sorted(steers)}")
    texts = pd.DataFrame(
        [
            {"scenario": text, "label": label, "style": style, "words": cells.words(cell, label)}
            for cell, (text, style) in enumerate(zip(cells.table["text"], cells.table["style"], strict=True))
            for label in steers
        ]
    )
    places = pd.DataFrame({"act": list(steers), "layer": 0, "alpha": 1.0})  # one strength: the acts are told by name
    rows = shift_rows(cells.table[["prompt", "text"]], texts, places)
    before = [cells.text_of[name, cells.neutral] for name in rows["prompt"]]
    number = dict(zip(cells.table["text"], range(len(cells)), strict=True))
    cell_of = [number[name] for name in rows["text"]]
    prompts, words, acts = list[str](), list[str](), list[tuple[Act, ...]]()
    for removed in ([()] * len(cells), *named.values()):
        prompts += before
        words += rows["words"].tolist()
        acts += [(*removed[cell], *acts_of(steers[name])) for cell, name in zip(cell_of, rows["act"], strict=True)]
    shifts = continuation_shift(lm, prompts, words, acts, batch_size=batch_size)
    found = []
    for place, name in enumerate((WITH, *named)):
        part = shifts.iloc[place * len(rows) : (place + 1) * len(rows)].reset_index(drop=True)
        table = shift_table(rows, part.assign(row=range(len(rows))))
        found.append(specific_shift(table).assign(ablation=name))
    joined = pd.concat(found, ignore_index=True)
    return joined[["ablation", *(name for name in joined if name != "ablation")]]


def mediated_shares(shifts: pd.DataFrame, *, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How much of S each ablation takes away, a mean over the other labels within each scenario.

    Args:
        shifts: as `steered_shifts` gives them.

    Returns:
        ablation, emotion, n; s_with and s_left (S in nat per token) with s_low and s_high (95 %, of S with all heads);
        mean, ci_low, ci_high, d_z, p_t and degenerate of what is lost (s_with − s_left); share with share_low and
        share_high, by Fieller: NaN where S itself is not told from 0, for then there is nothing to mediate.

    Raises:
        UserError: shifts without the steers alone.
    """
    wide = shifts.pivot_table(index=["ablation", "emotion"], columns="text", values="specific", sort=False)
    if WITH not in wide.index.get_level_values("ablation"):
        raise UserError("expected shifts of the steers with every head as it is, there are none")
    whole = pd.DataFrame(wide.xs(WITH, level="ablation"))
    of_whole = paired_effects(whole, n_resamples=n_resamples, seed=seed)
    rows = []
    for ablation, emotion in (key for key in wide.index if key[0] != WITH):
        x, y = whole.loc[emotion].to_numpy(float), wide.loc[(ablation, emotion)].to_numpy(float)
        lost = paired_effects((x - y)[None], n_resamples=n_resamples, seed=seed).iloc[0]
        row = {"ablation": ablation, "emotion": emotion, "n": len(x), "s_with": x.mean(), "s_left": y.mean()}
        row |= {"s_low": of_whole.loc[emotion, "ci_low"], "s_high": of_whole.loc[emotion, "ci_high"]}
        row |= {name: lost[name] for name in ("mean", "ci_low", "ci_high", "d_z", "p_t", "degenerate")}
        rows.append({**row, **_share(x - y, x)})
    return pd.DataFrame(rows)


def _share(part: np.ndarray, whole: np.ndarray) -> dict[str, float]:
    n = len(part)
    if n < 3:
        return dict.fromkeys(("share", "share_low", "share_high"), float("nan"))
    covariance = np.cov(part, whole) / n
    found = fieller(
        part.mean(),
        whole.mean(),
        var_x=covariance[0, 0],
        var_y=covariance[1, 1],
        covariance=covariance[0, 1],
        df=n - 1,
    )
    return {"share": found.value, "share_low": found.low, "share_high": found.high}
