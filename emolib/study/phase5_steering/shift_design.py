"""Which texts follow which prompts in Phase 5's continuation shifts.

Texts of validation scenarios follow neutral texts of training scenarios, those on which no steering vector was fitted
first; texts of test scenarios follow neutral texts of validation scenarios. Every style is a crossed design of its own
(`emolib.steering.shift_tables.crossed_cells`), balanced over all parts together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from emolib.base.errors import UserError
from emolib.data.styles import FLAG, IMPLICIT, of_style, opposite
from emolib.steering.claims import IDIOMATIC
from emolib.steering.shift_tables import crossed_cells, shift_rows
from emolib.study import phase2_activations
from emolib.study.phase5_steering.design import Part, parts
from emolib.study.run import Run, kept

PER_TEXT = 4  # prompts per text under the emotions' acts on test texts; elsewhere one
FEWEST_PROMPTS = 24
GRID_POINTS: Literal["all", "choosable"] = "choosable"  # candidates at which S is measured: all, or those it can choose
GRID_TEXTS: int | None = None  # per style, on which candidates are compared; None: all validation texts
CONTROL_TEXTS: int | None = 4  # per style, under control directions; None: all test texts
FEWEST_TRAINING = 6  # scenarios below which nothing is predicted from
MOST_TRAINING = 24  # scenarios that the adjustment is fitted on, and whose neutral texts are the lexicon's contexts
MIXED = "mixed"  # of a scenario whose texts are of several styles
Split = Literal["validation", "test", "training"]
SPLITS: tuple[Split, ...] = ("validation", "test", "training")


@dataclass(frozen=True)
class ShiftDesign:
    """A crossed design of texts and prompts.

    Attributes:
        cells: scenario of the prompt, scenario of the text, and the text's style; every style balanced.
        texts: scenario, label, style, words: a row per text.
        prompts: neutral texts by scenario.
    """

    cells: pd.DataFrame
    texts: pd.DataFrame
    prompts: Mapping[str, str]

    def rows(self, acts: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
        """Every cell's texts of these labels under every act, as `emolib.steering.shift_tables.shift_rows` gives them.

        Args:
            acts: columns act, layer, alpha.
        """
        texts = self.texts[self.texts["label"].isin(labels)]
        return shift_rows(self.cells[["prompt", "text"]], texts, acts)

    def once(self, most: int | None = None) -> ShiftDesign:
        """The same texts, each after one of its prompts; within a style every prompt before as many of them.

        Args:
            most: texts per style at most, the first of the design; None takes all.
        """
        parts = [_once(cells, most) for _, cells in self.cells.groupby("style", sort=False)]
        return replace(self, cells=pd.concat(parts, ignore_index=True))

    def written(self) -> list[object]:
        """Everything that the model is fed, for an artifact's identity."""
        fed = {name: self.prompts[name] for name in dict.fromkeys(self.cells["prompt"])}
        return [self.cells.to_dict("list"), self.texts.to_dict("list"), fed]


def _once(cells: pd.DataFrame, most: int | None) -> pd.DataFrame:
    texts, prompts = (list(dict.fromkeys(cells[name])) for name in ("text", "prompt"))
    if most is not None and most < len(texts) and len(prompts) >= len(texts):  # else prompts would not be balanced
        texts = texts[:most]
    places = [*prompts] * max(1, len(texts) // len(prompts))
    held = set(zip(cells["text"], cells["prompt"], strict=True))
    cost = np.array([[(text, prompt) not in held for prompt in places] for text in texts], dtype=float)
    chosen = {(texts[i], places[j]) for i, j in zip(*linear_sum_assignment(cost), strict=True)}
    kept = [pair in chosen for pair in zip(cells["text"], cells["prompt"], strict=True)]
    return cells[kept]


@kept
def shift_design(run: Run, part: Part, split: Split) -> ShiftDesign:
    """The design of a part's `validation` or `test` texts, or of the `training` texts beside those of the test.

    Raises:
        UserError: texts or prompts that there are none of.
    """
    data = _whole(run)
    pool, texts = _pool(run, part, split), _texts(run, part, split)
    if not pool or texts.empty:
        raise UserError(
            f"expected scenarios for the prompts and for the texts of {split}, got {len(pool)} and {len(texts)}"
        )
    named = texts.drop_duplicates("scenario").set_index("scenario")["style"]
    cells = []
    for number, (style, scenarios) in enumerate(named.groupby(named, sort=True)):
        per_text, per_prompt = _shape(run, split, style)
        seed = _seed(run, SPLITS.index(split), number)
        n_texts = len(scenarios) - len(scenarios) % max(1, per_prompt // per_text)
        if n_texts:
            order = np.random.default_rng(seed).permutation(len(scenarios))[:n_texts]
            drawn, first = scenarios.index[np.sort(order)].tolist(), pool[: n_texts * per_text // per_prompt]
            cells.append(crossed_cells(first, drawn, per_text=per_text, seed=seed).assign(style=style))
    neutral = data[data["emotion"] == run.params.neutral].set_index("scenario")["text"]
    return ShiftDesign(
        pd.concat(cells, ignore_index=True),
        texts.rename(columns={"emotion": "label", "text": "words"})[["scenario", "label", "style", "words"]],
        {name: neutral[name] for name in pool},
    )


def test_prompts(run: Run, part: Part) -> dict[str, str]:
    """The neutral texts by scenario that can stand before test texts, in the order in which they are taken."""
    data = _whole(run)
    neutral = data[data["emotion"] == run.params.neutral].set_index("scenario")["text"]
    return {name: neutral[name] for name in _pool(run, part, "test")}


def training_prompts(run: Run, part: Part) -> dict[str, str]:
    """The neutral texts by scenario that can stand before training and validation texts, those on which no vector was
    fitted first."""
    data = _whole(run)
    neutral = data[data["emotion"] == run.params.neutral].set_index("scenario")["text"]
    return {name: neutral[name] for name in _pool(run, part, "validation")}


def grid_design(run: Run, part: Part) -> ShiftDesign:
    """The validation texts, each after one prompt, on which the candidates are compared."""
    return shift_design(run, part, "validation").once(GRID_TEXTS)


@kept
def control_design(run: Run, part: Part) -> ShiftDesign:
    """The test texts, each after one of its prompts, that are looked at under control directions.

    All of them where there are two emotions: their own contrast has no act of a third label to stand against.
    """
    return shift_design(run, part, "test").once(CONTROL_TEXTS if len(run.emotions) > 2 else None)


def dose_design(run: Run, part: Part) -> ShiftDesign:
    """All test texts, each after one of its prompts, that are looked at under other doses."""
    return shift_design(run, part, "test").once()


def _texts(run: Run, part: Part, split: Split) -> pd.DataFrame:
    """All labels' texts of the scenarios whose texts are looked at, with the style that counts."""
    data = _whole(run)
    scenarios = _training(run, part) if split == "training" else sorted(getattr(part, split))
    texts = data[data["scenario"].isin(scenarios)].reset_index(drop=True)
    styles = pd.Series("any", texts["scenario"].unique()) if split == "training" else counted_styles(texts)
    return texts.assign(style=texts["scenario"].map(styles))


def counted_styles(texts: pd.DataFrame) -> pd.Series:
    """By scenario the style that its texts count as: `idiomatic` where one of the implicit ones holds a stock phrase.

    >>> texts = pd.DataFrame({"scenario": ["a", "a", "b"], "style": "implicit", "idiomatic": [False, True, False]})
    >>> counted_styles(texts).to_dict()
    {'a': 'idiomatic', 'b': 'implicit'}
    """
    by_scenario = texts.groupby("scenario", sort=False)
    styles = by_scenario["style"].agg(lambda found: found.iloc[0] if found.nunique() == 1 else MIXED)
    if FLAG not in texts:
        return styles
    flagged = by_scenario[FLAG].any()
    return styles.where(~flagged | (styles != IMPLICIT), IDIOMATIC)


def _shape(run: Run, split: Split, style: str) -> tuple[int, int]:
    """Prompts per text and texts per prompt of a style, the same in all parts, whose cells are taken together."""
    counts, pools = [], []
    for part in parts(run):
        texts = _texts(run, part, split)
        counts.append(texts.loc[texts["style"] == style, "scenario"].nunique())
        pools.append(len(_pool(run, part, split)))
    return balanced_shape(counts, pools, PER_TEXT if split == "test" else 1)


def balanced_shape(n_texts: Sequence[int], n_pool: Sequence[int], per_text: int) -> tuple[int, int]:
    """How often a text and a prompt stand in a balanced design, the same in all parts.

    Every text stands after `per_text` prompts, or fewer where there are no more. Prompts stand before as many texts as
    leave `FEWEST_PROMPTS` of them, or else before one; before more than `per_text` only where a pool is smaller than
    the number of texts, of which the few that do not divide are then left out.

    Args:
        n_texts, n_pool: per part, the scenarios of texts and those that prompts can be of.

    >>> balanced_shape([24], [45], 4), balanced_shape([12], [45], 4), balanced_shape([12], [45], 1)
    ((4, 4), (4, 2), (1, 1))
    >>> balanced_shape([2], [4], 4), balanced_shape([23], [10], 4)
    ((4, 2), (4, 12))
    """
    present = [count for count in n_texts if count]
    fewest, most, room = min(present), max(present), min(n_pool)
    times = -(-most // room)
    if times > 1:
        per_text = max(1, min(per_text, fewest // times))
        return per_text, per_text * times
    while True:
        shares = [share for share in range(per_text, 0, -1) if per_text % share == 0]
        fitting = [share for share in shares if share <= fewest and most * per_text // share <= room]
        if fitting:
            enough = [share for share in fitting if fewest * per_text // share >= FEWEST_PROMPTS]
            return per_text, enough[0] if enough else fitting[-1]
        per_text -= 1


@kept
def unmeasurable(run: Run) -> Literal["", "one_emotion", "few_scenarios"]:
    """Why S cannot be measured in a run; empty where it can.

    One emotion has no second one that it could be specific against. Scenarios count that have a text of every label:
    it takes two of one style, and two for prompts, on validation and on test, and a few to fit the adjustment on.
    """
    if len(run.emotions) < 2:
        return "one_emotion"
    for part in parts(run):
        for split in SPLITS:
            texts = _texts(run, part, split).drop_duplicates("scenario")
            fewest = FEWEST_TRAINING if split == "training" else 2
            if texts.empty or texts["style"].value_counts().max() < fewest or len(_pool(run, part, split)) < 2:
                return "few_scenarios"
    return ""


# the pools


def counted_texts(run: Run, part: Part) -> list[str]:
    """The training texts in which the adjustment counts words, of every scenario that there is."""
    data = _whole(run)
    return data.loc[data["scenario"].isin(_of_split(run, part, "train")), "text"].tolist()


@kept
def _whole(run: Run) -> pd.DataFrame:
    """The scenarios that have a text of every label."""
    data = run.data
    labels = data.groupby("scenario")["emotion"].transform("nunique")
    return data[labels == data["emotion"].nunique()].reset_index(drop=True)


@kept
def _pool(run: Run, part: Part, split: Split) -> list[str]:
    """Scenarios whose neutral texts can be prompts, in the order in which they are taken."""
    if split == "validation":
        return _ordered(run, _of_split(run, part, "train"), _fitted(run, part))
    return _ordered(run, _of_split(run, part, "validation"), [part.validation])


def _training(run: Run, part: Part) -> list[str]:
    """Training scenarios for the adjustment, as many as there are to test on if that is neither few nor very many.

    Of every style as many as there are of the others, if there are.
    """
    pool = _ordered(run, _of_split(run, part, "train"), _fitted(run, part))
    styles = _whole(run).drop_duplicates("scenario").set_index("scenario")["style"].loc[pool]
    turn = styles.groupby(styles).cumcount()
    number = min(MOST_TRAINING, max(FEWEST_TRAINING, len(part.test)))
    return turn.sort_values(kind="stable").index[:number].tolist()


def _of_split(run: Run, part: Part, split: str) -> list[str]:
    """All scenarios of the data set's split, also those that the profile leaves unused; or the fold's."""
    data = _whole(run)
    if part.name:
        return sorted(set(data["scenario"]) & getattr(part, split))
    return sorted(set(data.loc[data["split"] == split, "scenario"]))


def _fitted(run: Run, part: Part) -> list[frozenset[str]]:
    """The scenarios that the steering vectors were fitted on, and those of the other style's vectors."""
    own, data = run.params.vector_style, run.data
    other = opposite(own)
    if part.name:
        return [frozenset(data.loc[of_style(data, style), "scenario"]) & part.train for style in (own, other)]
    texts = run.texts("train", style=own), phase2_activations.of_style(run, other)
    return [frozenset(table["scenario"]) for table in texts]


def _ordered(run: Run, scenarios: Sequence[str], last: Sequence[frozenset[str]]) -> list[str]:
    """Scenarios in random order, behind the others those of the groups in `last`, the first group at the end."""
    shuffled = np.random.default_rng(_seed(run, len(SPLITS), 0)).permutation(len(scenarios))
    names = [scenarios[i] for i in shuffled]
    return sorted(names, key=lambda name: tuple(name in group for group in last))


def _seed(run: Run, *place: int) -> int:
    return int(np.random.SeedSequence([run.params.seed, 3, *place]).generate_state(1)[0])
