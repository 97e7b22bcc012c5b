"""What the instruments ask of a model: rows, and tokens through how many layers and through the head.

Counted as in `shift_cost`: a token through a layer counts 1, one whose distribution over the vocabulary is read counts
1 through the head. A pair of prompt and text that rows share is read once, and a prompt once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from emolib.study.phase5_steering.instrument_design import (
    FEWEST_TEXTS,
    TRAINING,
    VALIDATION,
    context_table,
    english,
    families,
    few,
    lexicon_design,
    validation_design,
)
from emolib.study.phase5_steering.instrument_directions import further_texts, placebo_vectors
from emolib.study.phase5_steering.instrument_placebos import placebo_design
from emolib.study.phase5_steering.shift_design import ShiftDesign
from emolib.study.phase5_steering.sweep_settings import template_of
from emolib.study.run import Run

COLUMNS = ["work", "rows", "layer_tokens", "head_tokens"]
Lengths = Callable[[list[str]], list[int]]


def instrument_work(run: Run, *, lengths: Lengths | None = None, layer: int | None = None) -> pd.DataFrame:
    """The rows and tokens of every part of the stage.

    Args:
        lengths: number of tokens of each text; None asks the run's model.
        layer: at which placebo acts begin, and how far their texts are read; None takes the middle one of the model.

    Returns:
        work (`contexts/<family>`, `lexicon/<family>`, `placebo_texts`, `placebo_acts`, `directions`), rows,
        layer_tokens, head_tokens.
    """
    depth = run.lm.n_layers
    count = _Count(run, lengths or (lambda texts: [len(ids) for ids in run.lm.tokenizer(texts).input_ids]))
    first = depth // 2 if layer is None else layer
    rows: list[list[object]] = []
    for family in families(run):
        table = context_table(run, family)
        for split, name in ((VALIDATION, "contexts"), (TRAINING, "lexicon")):
            part = table[table["split"] == split]
            pairs = {
                (p, w) for way in ("with", "without") for p, w in zip(part[f"prompt_{way}"], part["words"], strict=True)
            }
            before, after = count.of_pairs(pairs)
            rows.append([f"{name}/{family.name}", len(pairs), depth * (before + after), after])
    if english(run):
        rows.append(["placebo_texts", *count.of_acts(placebo_design(run), ("a", "b"), len(run.emotions), depth, first)])
    whole = validation_design(run)
    some = ShiftDesign(few(run, whole.cells, fewest=FEWEST_TEXTS), whole.texts, whole.prompts)
    n_acts = len(placebo_vectors(run).emotions)
    rows.append(["placebo_acts", *count.of_acts(some, run.emotions, n_acts, depth, first)])
    plain = lexicon_design(run)
    for name, number in (("placebo_texts_lexicon", len(run.emotions)), ("placebo_acts_lexicon", n_acts)):
        rows.append([name, *count.of_acts(plain, (run.params.neutral,), number, depth, first)])
    texts = further_texts(run)["text"].tolist()
    rows.append(["directions", len(texts), first * sum(count.lengths(texts)) if texts else 0, 0])
    return pd.DataFrame(rows, columns=COLUMNS)


class _Count:
    """Counts the tokens of one run's rows."""

    def __init__(self, run: Run, lengths: Lengths) -> None:
        self.template = template_of(run)
        self.lengths = lengths

    def of_pairs(self, pairs: Iterable[tuple[str, str]]) -> tuple[int, int]:
        """Tokens of the different prompts, and of all texts."""
        listed = sorted(pairs)
        if not listed:
            return 0, 0
        before = sum(self.lengths(sorted({prompt for prompt, _ in listed})))
        return before, sum(self.lengths([text for _, text in listed]))

    def of_acts(
        self, design: ShiftDesign, labels: Iterable[str], n_acts: int, depth: int, first: int
    ) -> tuple[int, int, int]:
        """Rows, tokens through layers and through the head: unpatched once, then from the patched layer on."""
        texts = design.texts[design.texts["label"].isin(list(labels))]
        rows = design.cells[["prompt", "text"]].merge(texts, left_on="text", right_on="scenario")
        prompts = [self.template.replace("{text}", design.prompts[name]) for name in rows["prompt"]]
        before, after = self.of_pairs(zip(prompts, rows["words"], strict=True))
        through = depth * (before + after) + n_acts * (depth - first) * after
        return len(rows) * n_acts, through, after * (1 + n_acts)
