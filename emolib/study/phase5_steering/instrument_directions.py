"""Directions that hold no emotion, at the layer that S has chosen, as vectors that Phase 5 can steer with."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.data.activations import Activations, LayerVectors
from emolib.data.companions import companions_of
from emolib.data.pairs import load_lexical, load_placebo
from emolib.directions.vectors import EmotionVectors
from emolib.engine.extraction import extract_activations
from emolib.steering.placebo_acts import FEWEST_TEXTS, FORMALITY, pair_vectors, topic_vectors, valence_vector
from emolib.study.phase5_steering import design
from emolib.study.phase5_steering.instrument_design import english, first_part, scaled
from emolib.study.phase5_steering.instrument_gold import kept_shard
from emolib.study.phase5_steering.shift_sweeps import shift_points
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.run import Run, kept

MOST_TOPICS = 8  # those with the most texts
N_PAIRS = 16  # of each kind and emotion that a direction is fitted on
VALENCE_SCENARIOS = 12  # training scenarios on which the vector of valence is fitted


@kept
def placebo_vectors(run: Run) -> EmotionVectors:
    """Topics, an emotion's word that nobody feels, formality and courtesy, and valence; zero at all other layers.

    Each has at the chosen layer the mean norm of the emotions' vectors. What the texts do not give is left out: topics
    with fewer than four neutral texts, pairs of texts in another language than English, companions of another data set;
    so is what the model does not tell apart at all.
    """
    part, vecs = first_part(run), vectors(run, first_part(run))
    layer = shift_points(run)[part.name].layer
    topics = _topics(run, layer)
    texts = further_texts(run)

    def compute() -> pd.DataFrame:
        found = {**topics, **_fitted(run, texts, layer)}
        return pd.concat(
            [pd.DataFrame({"direction": name, "dimension": range(len(v)), "value": v}) for name, v in found.items()],
            ignore_index=True,
        )

    matched = {
        "layer": layer,
        "position": text_position(run),
        "texts": store.digest(texts["text"].tolist()),
        "topics": [list(topics), hashlib.sha256(b"".join(v.tobytes() for v in topics.values())).hexdigest()],
        "norm": float(like_norms(run).norms[layer]),
    }
    table = kept_shard(run, "directions", matched, compute, len(texts))
    values = {}
    for name, some in table.groupby("direction", sort=False):
        if not some["value"].any():  # a model that tells these texts apart by nothing
            continue
        values[str(name)] = np.zeros_like(vecs.values[vecs.emotions[0]])
        values[str(name)][layer] = some["value"].to_numpy(np.float32)
    return replace(vecs, values=values, whitened={}, discriminants={})


def text_position(run: Run) -> str:
    """Texts without an emotion have no trigger."""
    return "mean" if run.params.vector_position == "trigger" else run.params.vector_position


def like_norms(run: Run) -> LayerVectors:
    """An emotion's vectors with the mean norm of all."""
    vecs = vectors(run, first_part(run))
    one = vecs[vecs.emotions[0]]
    mean = np.mean([vecs[emotion].norms for emotion in vecs], axis=0)
    factor = mean / np.where(one.norms > 0, one.norms, 1.0)
    return replace(one, values=(one.values * factor[:, None]).astype(np.float32))


def _topics(run: Run, layer: int) -> dict[str, np.ndarray]:
    """The topics' directions at the layer, from the neutral training texts whose activations are stored."""
    part, acts = first_part(run), design.activations(run)
    held = acts.texts["scenario"].isin(part.train) if part.name else acts.texts["split"] == "train"
    train = acts.where(held)
    neutral = train.texts["emotion"] == run.params.neutral
    counts = train.texts.loc[neutral, "topic"].value_counts() if "topic" in train.texts else pd.Series(dtype=int)
    most = [topic for topic in counts.index if counts[topic] >= FEWEST_TEXTS]
    if len(most) < 2:
        return {}
    like = replace(like_norms(run), position=train.position)
    found = topic_vectors(train, like=like, neutral=run.params.neutral)
    chosen = sorted(most, key=lambda topic: (-counts[topic], topic))[:MOST_TOPICS]
    return {f"topic:{topic}": found[f"topic:{topic}"].values[layer] for topic in chosen}


@kept
def further_texts(run: Run) -> pd.DataFrame:
    """The pairs and the companions, with the columns that tell them apart; `kind` of companions is empty."""
    columns = ["scenario", "emotion", "kind", "role", "text"]
    tables = []
    if english(run):
        lexical, placebo = load_lexical(), load_placebo()
        kinds = lexical[lexical["kind"] == "lexical"], placebo[placebo["kind"].isin(FORMALITY)]
        by = ["emotion", "kind"], ["kind"]
        count = scaled(run, N_PAIRS, FEWEST_TEXTS)
        tables = [_first_pairs(table, keys, count) for table, keys in zip(kinds, by, strict=True)]
    companions = companions_of(run.data)
    if companions is not None:
        part = first_part(run)
        train = companions["scenario"].isin(part.train) if part.name else companions["split"] == "train"
        five = companions[train & (companions["set"] == "five")]
        first = five["scenario"].unique()[: scaled(run, VALENCE_SCENARIOS, FEWEST_TEXTS)]
        tables.append(five[five["scenario"].isin(set(first))])
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True).reindex(columns=columns).astype(object).fillna("")


def _first_pairs(table: pd.DataFrame, by: list[str], count: int) -> pd.DataFrame:
    """So many pairs of each kind."""
    pairs = table.drop_duplicates("pair")
    return table[table["pair"].isin(set(pairs.loc[pairs.groupby(by).cumcount() < count, "pair"]))]


def _fitted(run: Run, texts: pd.DataFrame, layer: int) -> dict[str, np.ndarray]:
    """The directions of the pairs and of valence at the layer."""
    if texts.empty:
        return {}
    acts = extract_activations(
        run.lm,
        texts,
        sites=("resid_pre",),
        positions=text_position(run),
        layers=(layer,),
        batch_size=run.params.extraction_batch,
    )
    whole = like_norms(run)
    like = replace(whole, values=whole.values[[layer]], position=acts.position)
    of_pairs = (acts.texts["kind"] != "").to_numpy()
    found = {}
    if of_pairs.any():
        found |= pair_vectors(_only(acts, of_pairs), like=like)
    if not of_pairs.all():
        found |= valence_vector(_only(acts, ~of_pairs), like=like)
    return {name: some.values[0] for name, some in found.items()}


def _only(acts: Activations, mask: np.ndarray) -> Activations:
    return acts.where(pd.Series(mask, index=acts.texts.index))
