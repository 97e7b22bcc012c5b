"""S against labels of like valence on test texts: the companions' texts, and vectors all fitted on the same scenarios.

The emotions' own vectors are fitted anew for it, on the training scenarios that have companions, as theirs are: no
label has more texts, or other topics, than the one it is held against. Layer and strength are those that S has chosen
among the emotions. In a cross-fitted design the first part stands for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.data.styles import of_style
from emolib.directions.vectors import EmotionVectors
from emolib.engine.continuation import context_shift
from emolib.engine.continuation_tokens import continuations
from emolib.engine.extraction import extract_activations
from emolib.steering.cells import Cell, steer_cell
from emolib.steering.claims import IDIOMATIC, OWN, shift_conditions
from emolib.steering.cross_fitted import can_cross_fit, cross_fitted_shifts
from emolib.steering.shift_measures import measured_cells
from emolib.steering.shift_parts import lexicon, token_table
from emolib.steering.shift_tables import crossed_cells
from emolib.steering.specific_shift import specific_shift
from emolib.study.phase5_steering.instrument_design import (
    Family,
    companion_texts,
    families,
    first_part,
    lexicon_design,
    scaled,
)
from emolib.study.phase5_steering.instrument_directions import text_position
from emolib.study.phase5_steering.shift_design import ShiftDesign, balanced_shape, counted_texts, test_prompts
from emolib.study.phase5_steering.shift_results import kept_alone
from emolib.study.phase5_steering.shift_sweeps import ShiftShard, begin, shift_points
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run, kept

N_TRAINING = 20  # scenarios on which all vectors are fitted
FEWEST_TRAINING = 4
N_TEXTS = 10  # test scenarios per style with the usual number of validation texts; others scale alike
CONDITION_COLUMNS = ["style", "emotion", "other", "measure"]


def like_families(run: Run) -> tuple[Family, ...]:
    """Every emotion that has labels of like valence, with them."""
    return families(run)[1:]


def wanted_labels(run: Run) -> dict[str, tuple[str, ...]]:
    """Per emotion the labels of like valence that a claim of it needs."""
    return {family.labels[0]: family.labels[1:] for family in like_families(run)}


@kept
def like_conditions(run: Run) -> pd.DataFrame | None:
    """S of every emotion against its labels of like valence on test texts; None where there is nothing to read.

    Returns:
        As `emolib.steering.claims.shift_conditions` gives them.
    """
    if not like_families(run) or like_vectors(run) is None:
        return None
    design = like_design(run)
    if design is None:
        return None
    cells = [_family_cells(run, family, design) for family in like_families(run)]
    found = shift_conditions(pd.concat(cells, ignore_index=True))
    return found if len(found) else None


# the vectors


@kept
def like_vectors(run: Run) -> EmotionVectors | None:
    """The emotions and the labels of like valence, at the chosen layer; zero elsewhere. None without enough texts.

    The units of strength are those of the study's own vectors.
    """
    part, like = first_part(run), vectors(run, first_part(run))
    layer, texts = shift_points(run)[part.name].layer, _training_texts(run)
    if texts["scenario"].nunique() < FEWEST_TRAINING:
        return None
    position = text_position(run)

    def compute() -> pd.DataFrame:
        given = {"layers": (layer,), "batch_size": run.params.extraction_batch}
        acts = extract_activations(run.lm, texts, sites=("resid_pre",), positions=position, **given)
        values, label = acts.values["resid_pre"][0].astype(float), acts.texts["emotion"].to_numpy()
        means = {name: values[label == name].mean(axis=0) for name in dict.fromkeys(label)}
        plain = means.pop(run.params.neutral)
        tables = [
            pd.DataFrame({"direction": name, "dimension": range(len(plain)), "value": mean - plain})
            for name, mean in means.items()
        ]
        return pd.concat(tables, ignore_index=True)

    matched = {"layer": layer, "position": position, "texts": store.digest(texts[["scenario", "text"]].to_dict("list"))}
    table = kept_alone(run, part, "like_vectors", matched, compute, len(texts))
    return at_one_layer(like, layer, table)


def at_one_layer(like: EmotionVectors, layer: int, table: pd.DataFrame) -> EmotionVectors:
    """Vectors at one layer with the units of others.

    Args:
        table: direction, dimension, value.
    """
    values = {}
    for name, part in table.groupby("direction", sort=False):
        values[str(name)] = np.zeros_like(like.values[like.emotions[0]])
        values[str(name)][layer] = part["value"].to_numpy(np.float32)
    return replace(like, values=values, whitened={}, discriminants={})


def _training_texts(run: Run) -> pd.DataFrame:
    """All labels' texts of the first training scenarios with companions, of the style that vectors are fitted on."""
    part, texts = first_part(run), companion_texts(run)
    data = run.data.drop_duplicates("scenario").set_index("scenario")
    train = part.train if part.name else set(data.index[data["split"] == "train"])
    wanted = {run.params.neutral, *(label for family in like_families(run) for label in family.labels)}
    texts = texts[texts["scenario"].isin(train) & texts["emotion"].isin(wanted) & of_style(texts, _style(run))]
    whole = texts.groupby("scenario")["emotion"].nunique()
    held = sorted(whole.index[whole == len(wanted)])[: scaled(run, N_TRAINING, FEWEST_TRAINING)]
    return texts[texts["scenario"].isin(held)].reset_index(drop=True)


def _style(run: Run) -> str:
    return str(run.params.vector_style)


# the texts


@kept
def like_design(run: Run) -> ShiftDesign | None:
    """Test scenarios that have companions, each after one prompt, every style balanced; None with fewer than two."""
    part, texts = first_part(run), companion_texts(run)
    wanted = {run.params.neutral, *(label for family in like_families(run) for label in family.labels)}
    data = run.data.drop_duplicates("scenario").set_index("scenario")
    test = part.test if part.name else set(data.index[data["split"] == "test"])
    texts = texts[texts["scenario"].isin(test) & texts["emotion"].isin(wanted)]
    whole = texts.groupby("scenario")["emotion"].nunique()
    texts = texts[texts["scenario"].isin(whole.index[whole == len(wanted)]) & (texts["style"] != IDIOMATIC)]
    prompts, cells = test_prompts(run, part), []
    for number, (style, names) in enumerate(texts.groupby("style", sort=True)["scenario"]):
        drawn = sorted(set(names), key=lambda name: (name not in part.test, name))[: scaled(run, N_TEXTS, 2)]
        if len(drawn) < 2:
            continue
        per_text, per_prompt = balanced_shape([len(drawn)], [len(prompts)], 1)
        drawn = drawn[: len(drawn) - len(drawn) % max(1, per_prompt // per_text)]
        before = list(prompts)[: len(drawn) * per_text // per_prompt]
        cells.append(crossed_cells(before, drawn, per_text=per_text, seed=run.params.seed + number).assign(style=style))
    if not cells:
        return None
    named = texts.rename(columns={"emotion": "label", "text": "words"})[["scenario", "label", "style", "words"]]
    return ShiftDesign(pd.concat(cells, ignore_index=True), named, prompts)


# the measures


def _family_cells(run: Run, family: Family, design: ShiftDesign) -> pd.DataFrame:
    """S of every cell and measure of one emotion against its labels of like valence."""
    part, number = first_part(run), like_families(run).index(family)
    cells = tuple(_cells(run, family.labels))
    shard = ShiftShard(run, part, f"test_like_{number}", design, family.labels, cells)
    begin(run, f"like valence {number}", [shard])
    read = shard.tokens()
    tokens, table = token_table(shard.rows, read, counted_texts(run, part)), shard.shifts_of(read)
    lexical = _lexicon(run, number, cells, shard)
    given = {"tokens": tokens, "lexical": lexical, "own": len(family.labels) > 2}
    found = [measured_cells(table, pairs=family.pairs, **given)]
    for pair in family.pairs:
        both = tokens[tokens["act"].isin(pair)]
        if can_cross_fit(both, pair):
            adjusted = specific_shift(cross_fitted_shifts(both, pair), pairs=[pair])
            found.append(adjusted.assign(measure="adjusted"))
    return pd.concat(found, ignore_index=True)


def _cells(run: Run, labels: Sequence[str]) -> list[Cell]:
    part, vecs = first_part(run), like_vectors(run)
    assert vecs is not None, "asked for with vectors alone"
    point, given = shift_points(run)[part.name], settings(run, part)
    return [steer_cell(OWN, vecs, label, point.layer, point.alpha, given) for label in labels]


def _lexicon(run: Run, number: int, cells: tuple[Cell, ...], shard: ShiftShard) -> pd.DataFrame:
    """What every act does to each token of these texts in any sentence."""
    part = first_part(run)
    plain = ShiftShard(run, part, f"test_like_{number}_lexicon", lexicon_design(run), (run.params.neutral,), cells)
    words = shard.rows["words"].unique().tolist()
    token_ids = sorted({token for text in continuations(run.lm, words) for token in text.ids[1:]})

    def compute() -> pd.DataFrame:
        rows = plain.rows
        found = context_shift(run.lm, *plain.given(rows), token_ids, batch_size=plain.batch_size)
        return lexicon(rows, token_ids, found).astype({"layer": int, "token_id": int})

    matched = {**plain.matched(), "token_ids": store.digest(token_ids)}
    return kept_alone(run, part, plain.name, matched, compute, plain.n_rows)
