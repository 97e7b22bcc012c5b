"""Which sealed texts follow which prompts of the pool: one crossed design for all nine labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from emolib.data.sealed_texts import NEUTRAL, SealedTexts
from emolib.data.styles import IMPLICIT, in_style_order
from emolib.steering.shift_tables import crossed_cells
from emolib.study.phase5_steering.shift_design import PER_TEXT, ShiftDesign, balanced_shape

SEED_PLACE = 21  # of this design's random order among those of a run's seed


def sealed_design(sealed: SealedTexts, *, seed: int, per_text: int = PER_TEXT) -> ShiftDesign:
    """Every text after `per_text` prompts, every prompt before as many texts; each style a design of its own.

    Where the number of texts does not divide, the few that are left over are not read. Which ones, and which prompts
    stand before which texts, follows from the seed alone.

    Args:
        sealed: the texts and the pool of prompts.
        seed: of the run.
    """
    texts = sealed.texts
    named = texts.drop_duplicates("scenario").set_index("scenario")["style"]
    pool = sorted(sealed.prompts["scenario"])
    cells = []
    for number, style in enumerate(sorted(set(named))):
        rng = np.random.default_rng([seed, SEED_PLACE, number])
        scenarios = sorted(named.index[named == style])
        if len(scenarios) < 2:
            continue
        each, before = balanced_shape([len(scenarios)], [len(pool)], per_text)
        n_texts = len(scenarios) - len(scenarios) % max(1, before // each)
        drawn = [scenarios[place] for place in np.sort(rng.permutation(len(scenarios))[:n_texts])]
        first = [pool[place] for place in rng.permutation(len(pool))][: n_texts * each // before]
        given = {"per_text": each, "seed": int(rng.integers(2**31))}
        cells.append(crossed_cells(first, drawn, **given).assign(style=style))
    words = texts.rename(columns={"emotion": "label", "text": "words"})[["scenario", "label", "style", "words"]]
    prompts = dict(zip(sealed.prompts["scenario"], sealed.prompts["text"], strict=True))
    return ShiftDesign(in_style_order(pd.concat(cells, ignore_index=True)), words, prompts)


def few_texts(design: ShiftDesign, most: int) -> ShiftDesign:
    """The first texts of every style, each after one of its prompts, no prompt twice as far as there are enough.

    Args:
        most: texts of a style.
    """
    return replace(design, cells=pd.concat([_few(part, most) for _, part in design.cells.groupby("style", sort=False)]))


def _few(cells: pd.DataFrame, most: int) -> pd.DataFrame:
    texts = list(dict.fromkeys(cells["text"]))[:most]
    mine = cells[cells["text"].isin(texts)]
    prompts = list(dict.fromkeys(mine["prompt"]))
    places = prompts * -(-len(texts) // len(prompts))
    held = set(zip(mine["text"], mine["prompt"], strict=True))
    cost = np.array([[(text, prompt) not in held for prompt in places] for text in texts], dtype=float)
    pairs = {(texts[i], places[j]) for i, j in zip(*linear_sum_assignment(cost), strict=True)} & held
    kept = mine[[pair in pairs for pair in zip(mine["text"], mine["prompt"], strict=True)]]
    left = mine[~mine["text"].isin(set(kept["text"]))].drop_duplicates("text")
    return pd.concat([kept, left]).sort_index()


def study_texts(sealed: SealedTexts, labels: tuple[str, ...]) -> pd.DataFrame:
    """The sealed texts of these labels and the neutral ones, as test texts of a data set."""
    held = sealed.texts[sealed.texts["emotion"].isin([*labels, NEUTRAL])]
    return held.assign(split="test").reset_index(drop=True)


def style_counts(design: ShiftDesign) -> dict[str, int]:
    """Texts that are read, by style, the implicit ones first."""
    counts = design.cells.groupby("style", sort=False)["text"].nunique()
    return {str(style): int(counts[style]) for style in sorted(counts.index, key=lambda name: name != IMPLICIT)}
