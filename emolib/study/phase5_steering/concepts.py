"""Vectors of other concepts in place of the emotions' acts: topics, an emotion's word where nobody feels it, the
feeling denied. Each has the norm of the emotions' vectors, and is read on the test texts that control directions are
read on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.directions.vectors import EmotionVectors
from emolib.engine.extraction import extract_activations
from emolib.steering.cells import steer_cell
from emolib.steering.claims import ANY, OWN, mean_contrasts
from emolib.steering.further_conditions import CONCEPT, LEXICAL, concept_ranks
from emolib.steering.placebo_acts import FEWEST_TEXTS
from emolib.study.phase5_steering.instrument_design import emotion_pairs, first_part, scaled
from emolib.study.phase5_steering.instrument_directions import like_norms, text_position
from emolib.study.phase5_steering.like_valent import at_one_layer
from emolib.study.phase5_steering.shift_design import control_design
from emolib.study.phase5_steering.shift_results import kept_alone
from emolib.study.phase5_steering.shift_sweeps import ShiftShard, begin, shift_points, test_shifts
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run, kept

MOST_TOPICS = 15  # those with the most neutral training texts
TEXTS_PER_TOPIC = 6
N_PAIRS = 12  # of each kind and emotion
TOPIC = "topic"
DENIED = "denied:"  # beginning of the name of the vector of a denied feeling


@kept
def concept_contrasts(run: Run) -> pd.DataFrame | None:
    """See `emolib.steering.further_conditions.concept_ranks`; None where the data set gives no such vector."""
    part, vecs = first_part(run), concept_vectors(run)
    if vecs is None:
        return None
    point, given = shift_points(run)[part.name], settings(run, part)
    cells = [
        replace(steer_cell(CONCEPT, vecs, name, point.layer, point.alpha, given), index=number)
        for number, name in enumerate(vecs)
    ]
    shard = ShiftShard(run, part, "test_concepts", control_design(run, part), run.emotions, tuple(cells))
    begin(run, "concepts", [shard])
    drawn = shard.shifts()
    drawn = drawn.assign(act=drawn["owner"], owner=ANY)  # the concept's name
    own = test_shifts(run)
    own = own[(own["part"] == part.name) & (own["kind"] == OWN)]
    held = pd.MultiIndex.from_frame(drawn[["prompt", "text"]].drop_duplicates())
    own = own[pd.MultiIndex.from_frame(own[["prompt", "text"]]).isin(held)]
    table = pd.concat([own, drawn], ignore_index=True)
    return concept_ranks(mean_contrasts(table[table["label"].isin(run.emotions)], run.emotions, beside=[CONCEPT]))


@kept
def concept_vectors(run: Run) -> EmotionVectors | None:
    """`topic:<topic>`, `lexical:<emotion>` and `denied:<emotion>` at the chosen layer; zero elsewhere.

    A topic is its neutral training texts minus those of all other topics; an emotion's word, texts with it where nobody
    feels it minus the same with another word; a denied feeling, texts that deny it minus neutral training texts.
    """
    part, texts = first_part(run), _texts(run)
    if texts.empty:
        return None
    layer, norm = shift_points(run)[part.name].layer, like_norms(run)

    def compute() -> pd.DataFrame:
        given = {"layers": (layer,), "batch_size": run.params.extraction_batch}
        acts = extract_activations(run.lm, texts, sites=("resid_pre",), positions=text_position(run), **given)
        values, length, found = acts.values["resid_pre"][0].astype(float), float(norm.norms[layer]), {}
        for name, (one, other) in _sides(acts.texts).items():
            difference = values[one].mean(axis=0) - values[other].mean(axis=0)
            own = float(np.linalg.norm(difference))
            found[name] = difference * (length / own if own else 0.0)
        tables = [pd.DataFrame({"direction": k, "dimension": range(len(v)), "value": v}) for k, v in found.items()]
        return pd.concat(tables, ignore_index=True)

    matched = {"layer": layer, "position": text_position(run), "norm": float(norm.norms[layer])}
    matched["texts"] = store.digest(texts[["kind", "role", "emotion", "text"]].to_dict("list"))
    table = kept_alone(run, part, "concept_vectors", matched, compute, len(texts))
    moved = table.groupby("direction", sort=False)["value"].transform(lambda values: values.any())
    return at_one_layer(vectors(run, part), layer, table[moved.astype(bool)])


def _sides(texts: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per concept the texts whose mean has it and those whose mean is taken off."""
    kind, role, emotion, topic = (texts[name].to_numpy() for name in ("kind", "role", "emotion", "topic"))
    neutral, found = kind == TOPIC, {}
    for name in dict.fromkeys(topic[neutral]):
        found[f"{TOPIC}:{name}"] = neutral & (topic == name), neutral & (topic != name)
    for name in dict.fromkeys(emotion[~neutral]):
        mine = ~neutral & (emotion == name)
        found[f"{LEXICAL}{name}"] = mine & (role == "with"), mine & (role == "without")
        found[f"{DENIED}{name}"] = mine & (role == "denied"), neutral
    return {name: sides for name, sides in found.items() if min(side.sum() for side in sides) >= FEWEST_TEXTS}


@kept
def _texts(run: Run) -> pd.DataFrame:
    """Neutral training texts by topic (kind `TOPIC`), and the pairs under the run's labels."""
    part, data = first_part(run), run.data
    columns = ["kind", "role", "emotion", "topic", "scenario", "text"]
    train = data["scenario"].isin(part.train) if part.name else data["split"] == "train"
    neutral = data[train & (data["emotion"] == run.params.neutral)]
    if "topic" in neutral:
        per_topic = scaled(run, TEXTS_PER_TOPIC, FEWEST_TEXTS)
        counts = neutral["topic"].value_counts()
        most = sorted(counts.index[counts >= FEWEST_TEXTS], key=lambda name: (-counts[name], name))[:MOST_TOPICS]
        neutral = neutral[neutral["topic"].isin(most)]
        neutral = neutral[neutral.groupby("topic").cumcount() < per_topic]
    else:
        neutral = neutral.head(0).assign(topic="")
    pairs = emotion_pairs(run)
    pairs = pairs[pairs["emotion"].isin(run.emotions) & pairs["role"].isin(["with", "without", "denied"])]
    pairs = pairs[pairs.groupby(["emotion", "role"]).cumcount() < scaled(run, N_PAIRS, FEWEST_TEXTS)]
    found = pd.concat([neutral.assign(kind=TOPIC, role=""), pairs.assign(topic="", scenario=pairs["pair"])])
    return found.reindex(columns=columns).astype(object).reset_index(drop=True)
