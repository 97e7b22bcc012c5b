"""What Phase 5's continuation shifts ask of a model, counted before it is loaded: rows, and tokens through how many
layers and through the head.

A token through a layer counts 1, wherever the layer lies; a token whose distribution over the vocabulary is read counts
1 through the head. Attention is left out. A pair of prompt and text runs unpatched once per shard, a row under an act
from its first patched layer on; prompts before the window run once per shard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from emolib.base.parameters import PatchingParameters
from emolib.directions.controls import FAMILIES
from emolib.models.outlook import outlook_of
from emolib.study.phase5_steering.design import Part, parts
from emolib.study.phase5_steering.shift_design import (
    ShiftDesign,
    control_design,
    dose_design,
    grid_design,
    shift_design,
    unmeasurable,
)
from emolib.study.phase5_steering.shift_results import N_KL_PROMPTS
from emolib.study.phase5_steering.shift_sweeps import DIRECTIONS_PER_SHARD
from emolib.study.run import Run

COLUMNS = ["work", "acts", "rows", "layer_tokens", "head_tokens"]
FIRST_AND_MARK = 2  # tokens of a text that are not looked at


def shift_work(
    run: Run, *, lengths: Callable[[list[str]], list[int]] | None = None, n_layers: int | None = None
) -> pd.DataFrame:
    """The rows and tokens of every part of the stage, all parts of the design together.

    The chosen layer is not known: the middle one of the candidates stands for it.

    Args:
        lengths: number of tokens of each text; None asks the tokenizer of the run's model.
        n_layers: of the model; None asks the model's table or its configuration.

    Returns:
        work (`validation/emotion`, `test/emotion`, `test/zero`, `test/<family>`, `test/training`, `test/lexicon`,
        `test/dose`, `test/dose_kl`), acts (of a part of the design), rows, layer_tokens, head_tokens; empty where
        S cannot be measured.
    """
    if unmeasurable(run):
        return pd.DataFrame(columns=COLUMNS)
    if lengths is None or n_layers is None:
        outlook = outlook_of(run.params.model, random_weights=run.params.random_weights)
        tokenizer = outlook.tokenizer
        lengths = lengths or (lambda texts: [len(ids) for ids in tokenizer(texts).input_ids])
        n_layers = n_layers or outlook.n_layers
    count = _Count(run, lengths, n_layers)
    rows = [row for part in parts(run) for row in count.of_part(part)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    summed = table.groupby("work", sort=False)[["rows", "layer_tokens", "head_tokens"]].sum()
    return table.groupby("work", sort=False)[["acts"]].max().join(summed).reset_index()


@dataclass(frozen=True)
class _Count:
    run: Run
    lengths: Callable[[list[str]], list[int]]
    n_layers: int

    @property
    def params(self) -> PatchingParameters:
        return self.run.params

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Tokens of every text of the data set."""
        texts = self.run.data["text"].tolist()
        return dict(zip(texts, self.lengths(texts), strict=True))

    def of_part(self, part: Part) -> list[list[object]]:
        run, params, emotions = self.run, self.params, self.run.emotions
        everything = (*emotions, params.neutral)
        layers, strengths = params.candidate_layers(self.n_layers), [alpha for alpha in params.alphas if alpha]
        middle = layers[len(layers) // 2]
        test, training = (shift_design(run, part, split) for split in ("test", "training"))
        grid = [
            self._shard(grid_design(run, part), emotions, len(strengths) * len(emotions), layer) for layer in layers
        ]
        once = control_design(run, part)
        doses = dose_design(run, part)
        found = [["validation/emotion", len(layers) * len(strengths) * len(emotions), *_summed(grid)]]
        found.append(["test/emotion", len(emotions), *self._shard(test, everything, len(emotions), middle)])
        found.append(["test/zero", 1, *self._shard(once, emotions, 0, middle)])
        per_direction = len(emotions) if params.unit == "vector" else 1
        for family in FAMILIES:
            starts = range(0, params.n_controls, DIRECTIONS_PER_SHARD)
            counts = [min(DIRECTIONS_PER_SHARD, params.n_controls - start) * per_direction for start in starts]
            shards = [self._shard(once, emotions, count, middle) for count in counts]
            found.append([f"test/{family}", sum(counts), *_summed(shards)])
        found.append(["test/training", len(emotions), *self._shard(training, everything, len(emotions), middle)])
        found.append(["test/lexicon", len(emotions), *self._shard(training, [params.neutral], len(emotions), middle)])
        n_doses = len(strengths) * len(emotions)  # the chosen one with the opposite sign in its place
        found.append(["test/dose", n_doses, *self._shard(doses, emotions, n_doses, middle)])
        found.append(["test/dose_kl", n_doses + len(emotions), *self._kl(n_doses + len(emotions), middle)])
        return found

    def _shard(self, design: ShiftDesign, labels: Sequence[str], n_acts: int, layer: int) -> tuple[int, int, int]:
        """Rows, tokens through layers, tokens through the head."""
        texts = design.texts[design.texts["label"].isin(labels)]
        pairs = design.cells[["prompt", "text"]].merge(texts, left_on="text", right_on="scenario")
        counted = [max(self.tokens[words] - FIRST_AND_MARK, 1) for words in pairs["words"]]
        fed = sum(n + self.params.window for n in counted)  # hardly padded
        prompts = sum(max(self.tokens[design.prompts[name]] - self.params.window, 0) for name in set(pairs["prompt"]))
        through = fed * (self.n_layers + n_acts * (self.n_layers - layer)) + prompts * self.n_layers
        return len(pairs) * max(n_acts, 1), through, sum(counted) * (1 + n_acts)

    def _kl(self, n_acts: int, layer: int) -> tuple[int, int, int]:
        """The same for continuations of so many tokens as are generated; both distributions are read."""
        n_new, fed = self.params.max_new_tokens, N_KL_PROMPTS * (self.params.max_new_tokens + self.params.window - 1)
        through = fed * (self.n_layers + n_acts * (self.n_layers - layer))
        return N_KL_PROMPTS * n_acts, through, N_KL_PROMPTS * n_new * (1 + n_acts)


def _summed(parts: Sequence[tuple[int, int, int]]) -> list[int]:
    return [sum(values) for values in zip(*parts, strict=True)]
