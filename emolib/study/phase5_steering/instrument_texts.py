"""Gold and placebos for scores of texts.

*Gold*: the data set's own validation texts in place of the steered ones. *Placebo words*: the commonest words of the
steered validation texts that are no emotion words, in place of the emotions' words; what they show holds for word
counts. *Placebo texts*: pairs that differ in no emotion in place of the steered and the unpatched text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.data.pairs import load_placebo
from emolib.data.styles import EVERY
from emolib.scoring import version_of
from emolib.scoring.measures import expressed_columns, measures, with_targets
from emolib.steering.claims import IDIOMATIC
from emolib.steering.instruments import judged_pairs, passes
from emolib.steering.placebos import placebo_words, word_counts
from emolib.steering.text_gold import text_score_cells
from emolib.study.phase5_steering.instrument_design import english, first_part
from emolib.study.phase5_steering.instrument_gold import CELL_COLUMNS, kept_shard
from emolib.study.phase5_steering.instrument_placebos import PLACEBO_COLUMNS, others, placebo_design
from emolib.study.phase5_steering.shift_design import counted_styles
from emolib.study.phase5_steering.shift_sweeps import shift_points
from emolib.study.phase5_steering.validation_sweeps import validation_sweep
from emolib.study.run import Run, kept

GOLD_TEXTS, WORDS = "gold_texts", "keywords"
N_WORDS = 72  # per emotion
N_HALVINGS = 3


@kept
def text_cells(run: Run) -> pd.DataFrame:
    """The own text's score minus the neutral one's and minus the other labels' texts', in every validation scenario.

    Returns:
        The columns of `instrument_gold.CELL_COLUMNS`; the measure is the score's family (`keywords`, `target`,
        `expressed`), the scenario stands in `text`, prompt and third are empty.
    """
    columns = ["scenario", "emotion", "style", "text"]
    data = run.data.assign(style=run.data["scenario"].map(counted_styles(run.data)))[columns]
    whole = data.groupby("scenario")["emotion"].transform("nunique") == data["emotion"].nunique()
    counted = whole & data["scenario"].isin(first_part(run).validation) & (data["style"] != IDIOMATIC)
    table = data[counted].reset_index(drop=True)
    scores = _scored(run, "gold_scores", table)
    cells = text_score_cells(scores, _measures(run, scores), neutral=run.params.neutral)
    cells = cells.assign(measure=_families(cells["measure"]), instrument=GOLD_TEXTS, stand_in="")
    return cells.assign(prompt=None, third=None)[CELL_COLUMNS]


@kept
def word_placebos(run: Run) -> pd.DataFrame:
    """Whether common words pass as an emotion's words would, at the chosen point on the validation prompts.

    Returns:
        `PLACEBO_COLUMNS`; the word is what stands in.
    """
    part, sweep = first_part(run), validation_sweep(run)
    point, sweep = shift_points(run)[part.name], sweep[sweep["part"] == part.name]
    steered = (sweep["kind"] == "emotion") & (sweep["layer"] == point.layer) & (sweep["alpha"] == point.alpha)
    rows = sweep[steered | (sweep["kind"] == "baseline")].reset_index(drop=True)
    written = rows.loc[rows["kind"] == "emotion", "text"].tolist()
    words = placebo_words(written, N_WORDS, labels=run.emotions) if english(run) else []
    if not words:
        return pd.DataFrame(columns=PLACEBO_COLUMNS)
    labels = rows["emotion"].where(rows["kind"] == "emotion", run.params.neutral)
    counts = word_counts(rows["text"].tolist(), words)
    means = counts.groupby([rows["scenario"], labels.rename("emotion")]).mean().reset_index().assign(style=EVERY)
    cells = text_score_cells(means, dict.fromkeys(run.emotions, words), neutral=run.params.neutral)
    pairs = judged_pairs(cells.assign(instrument="placebo_words"))
    flags = passes(pairs, ["measure", "emotion"]).rename(columns={"measure": "stand_in"})
    found = flags.assign(measure=WORDS, style=EVERY, instrument="placebo_words", number=range(len(flags)))
    return found[PLACEBO_COLUMNS]


@kept
def score_placebos(run: Run) -> pd.DataFrame:
    """Whether pairs of texts that differ in no emotion pass by the scores, as gold has to. In none of them stands a
    word that is counted, so that counts have none of these placebos.

    A placebo is an emotion, a kind of difference, one of its directions and one half of the kind's pairs. One text of
    a pair stands for the own text and the other for the neutral one; for the other labels' texts stand those of pairs
    of other kinds.

    Returns:
        `PLACEBO_COLUMNS`; empty in another language than English.
    """
    if not english(run):
        return pd.DataFrame(columns=PLACEBO_COLUMNS)
    read = set(placebo_design(run).cells["text"])
    pairs = load_placebo()
    pairs = pairs[pairs["pair"].isin(read)].reset_index(drop=True)
    scores = _scored(run, "placebo_scores", pairs)
    wanted = {
        emotion: [name for name in names if not name.startswith(WORDS)]
        for emotion, names in _measures(run, scores).items()
    }
    generator, parts = np.random.default_rng(run.params.seed), []
    for kind, some in scores.groupby("kind", sort=False):
        by_role = {role: part.set_index("pair") for role, part in some.groupby("role")}
        names, beside = some["pair"].unique(), scores[scores["kind"] != kind]
        for halving in range(N_HALVINGS):
            order = generator.permutation(names)
            for half, chosen in enumerate((order[: len(order) // 2], order[len(order) // 2 :])):
                for own, plain in (("a", "b"), ("b", "a")):
                    name = f"{kind} {own}_for_{plain} {halving}{half}"
                    kept = [pair for pair in names if pair in set(chosen)]
                    mine, reference = (by_role[role].loc[kept] for role in (own, plain))
                    for emotion, some_others in others(run).items():
                        held = {run.params.neutral: reference}
                        held |= {other: _drawn(beside, len(mine), generator) for other in some_others}
                        cells = _stood_in(mine, held, wanted[emotion])
                        parts.append(cells.assign(emotion=emotion, stand_in=name))
    cells = pd.concat(parts, ignore_index=True)
    flags = passes(judged_pairs(cells.assign(instrument="placebo_texts")), ["measure", "emotion", "stand_in"])
    flags = flags.assign(measure=_families(flags["measure"]), style=EVERY, instrument="placebo_texts")
    return flags.assign(number=flags.groupby("measure").cumcount())[PLACEBO_COLUMNS]


def _drawn(texts: pd.DataFrame, n: int, generator: np.random.Generator) -> pd.DataFrame:
    """So many of the texts at random, all of them before one comes again."""
    return texts.iloc[list(islice(cycle(generator.permutation(len(texts))), n))]


def _stood_in(mine: pd.DataFrame, held: Mapping[str, pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """The cells that `text_score_cells` would give with these texts in place of the own ones and of the other labels'.

    Args:
        mine: by pair.
        held: per other label, neutral among them, as many texts, in the order of the pairs.
        names: of the scores.
    """
    cells = []
    for name in names:
        own = mine[name].to_numpy(float)
        for other, texts in held.items():
            table = pd.DataFrame({"text": mine.index, "specific": own - texts[name].to_numpy(float)})
            cells.append(table.assign(measure=name, style=EVERY, other=other))
    return pd.concat(cells, ignore_index=True)


def _scored(run: Run, name: str, texts: pd.DataFrame) -> pd.DataFrame:
    """The texts beside their scores, found or computed."""
    matched = {
        "texts": store.digest(texts.to_dict("list")),
        "scorers": version_of(run.params.backend),
    }
    table = kept_shard(run, name, matched, lambda: run.scored(texts), len(texts))
    return with_targets(table, run.emotions)


def _measures(run: Run, scores: pd.DataFrame) -> dict[str, list[str]]:
    """Per emotion what may be claimed with, and its writer's stance."""
    known = measures(scores, run.emotions)
    stance = set(expressed_columns(scores, run.emotions))
    return {e: [*names, *({f"expressed/{e}"} & stance)] for e, names in known.items()}


def _families(columns: pd.Series) -> pd.Series:
    return columns.str.partition("/")[0]
