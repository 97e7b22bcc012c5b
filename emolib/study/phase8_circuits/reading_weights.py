"""What heads and MLPs write along the emotions' directions, by their weights: OV, promoted tokens, composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.circuits.composition import composition
from emolib.circuits.neuron_projection import NeuronProjection, neuron_differences, neuron_projection
from emolib.circuits.ov_projection import OvProjection, control_directions, ov_projection
from emolib.circuits.promoted_tokens import (
    LIST_COLUMNS,
    MatchedLists,
    PromotedTokens,
    matched_lists,
    promoted_tokens,
    token_log_frequencies,
    word_tokens,
)
from emolib.circuits.reconstruction import reconstruction_errors
from emolib.circuits.typical_inputs import TypicalInputs, typical_inputs
from emolib.data.keywords import load_keywords
from emolib.directions.controls import FAMILIES, ControlSource
from emolib.engine.extraction import extract_activations
from emolib.interventions import Head
from emolib.steering.placebo_acts import FEWEST_TEXTS, topic_vectors
from emolib.study.phase3_vectors import fitting
from emolib.study.phase6a_screening.contrast_design import digest_of
from emolib.study.phase7_claims.statistics_files import csv_bytes, read_csv
from emolib.study.run import Run, kept

TOPICS = "topic"
N_CHECKED = 2  # texts on which the folded weights are held against the model's own numbers
N_TOP = 8  # tokens per head and emotion
N_NEURONS = 12  # per emotion


def kept_table(run: Run, name: str, matched: Mapping[str, Any], compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table of the phase, found or computed."""
    return run.artifacts.table(run.paths.circuits(name), {"seed": run.params.seed, **matched}, compute)


def language_of(run: Run) -> str:
    """That of most texts: whose word lists are read."""
    return str(run.data["lang"].mode().iloc[0])


@kept
def neutral_texts(run: Run) -> list[str]:
    """The neutral training texts."""
    train = run.texts("train")
    return train.loc[train["emotion"] == run.params.neutral, "text"].tolist()


@kept
def _inputs(run: Run) -> TypicalInputs:
    return typical_inputs(run.lm, neutral_texts(run), seed=run.params.seed)


@kept
def _controls(run: Run) -> dict[str, np.ndarray]:
    """Directions per family at the input of every layer, and the topics' vectors beside them."""
    params, lm = run.params, run.lm
    train = fitting.training(run, params.vector_position)
    neutral = run.texts("train")
    neutral = neutral[neutral["emotion"] == params.neutral]
    acts = extract_activations(lm, neutral, sites=("resid_pre",), positions="all", batch_size=params.extraction_batch)
    later = np.ones(acts.offsets[-1], dtype=bool)
    later[acts.offsets[:-1]] = False
    tokens = {layer: acts.layer("resid_pre", layer)[later] for layer in acts.layer_numbers}
    source = ControlSource(tokens, train, params.neutral)
    found = control_directions(source, FAMILIES, lm.n_layers, params.n_controls, params.seed)
    topics = _topics(run)
    return found if topics is None else {**found, TOPICS: topics}


def _topics(run: Run) -> np.ndarray | None:
    """The topics' vectors `[topic, layer, d_model]`; None with fewer than two topics of enough texts."""
    train = fitting.training(run, run.params.vector_position)
    if "topic" not in train.texts:
        return None
    counts = train.texts.loc[train.texts["emotion"] == run.params.neutral, "topic"].value_counts()
    if (counts >= FEWEST_TEXTS).sum() < 2:
        return None
    vecs = fitting.vectors(run, run.params.vector_position)
    found = topic_vectors(train, like=vecs[vecs.emotions[0]], neutral=run.params.neutral)
    return np.stack([np.asarray(one.values) for one in found.values()])


def _made_from(run: Run) -> dict[str, Any]:
    position = run.params.vector_position
    return {"neutral_texts": store.digest(neutral_texts(run)), "position": position, **fitting.inputs(run, position)}


@kept
def _ov(run: Run) -> OvProjection:
    return ov_projection(run.lm, fitting.vectors(run, run.params.vector_position), _controls(run), _inputs(run))


@kept
def ov_heads(run: Run) -> pd.DataFrame:
    """Every head's projections: layer, head, emotion, target, cosine, gain, dot, `z_<measure>_<family>`; kept as
    `ov_head_projections.csv`."""
    matched = {"seed": run.params.seed, "n_controls": run.params.n_controls, **_made_from(run)}
    path = run.paths.circuits("ov_head_projections", "csv")
    return read_csv(run.artifacts.obtain(path, matched, lambda: csv_bytes(_ov(run).table())))


@kept
def ov_largest(run: Run) -> pd.DataFrame:
    """The head that stands out most per emotion, target, measure and family, as a maximum over all heads; see
    `OvProjection.largest`."""
    matched = {"n_controls": run.params.n_controls, **_made_from(run)}
    return kept_table(run, "ov_qk_results", matched, lambda: _ov(run).largest())


# promoted tokens


@kept
def words(run: Run) -> pd.DataFrame:
    """Tokens that stand for a whole word."""
    return word_tokens(run.lm)


@kept
def frequencies(run: Run) -> np.ndarray:
    """Log frequency of every token in neutral training texts."""
    return token_log_frequencies(run.lm, neutral_texts(run))


@kept
def _lists(run: Run) -> dict[str, MatchedLists]:
    """The words of every label that has a list with words of one token."""
    language = language_of(run)
    known, spelled = load_keywords(language), words(run)["word"]
    named = {label: known.label_of(label) for label in run.emotions}
    labels = [
        label
        for label, name in named.items()
        if name is not None and any(known.patterns[name].fullmatch(word) for word in spelled)
    ]
    given = {"n_draws": run.params.n_draws, "seed": run.params.seed, "language": language}
    return matched_lists(words(run), labels, frequencies(run), **given) if labels else {}


@kept
def _promoted(run: Run) -> PromotedTokens:
    vecs = fitting.vectors(run, run.params.vector_position)
    return promoted_tokens(run.lm, vecs, _inputs(run), _lists(run), n_top=N_TOP)


@kept
def promoted_lists(run: Run) -> pd.DataFrame:
    """Of every emotion that is read, the head that promotes each list's words most beyond words as frequent:
    `LIST_COLUMNS`, p corrected for all heads; no rows where no label has a list."""

    def compute() -> pd.DataFrame:
        table = _promoted(run).lists
        ranked = table.sort_values(["p", "z"], ascending=[True, False], kind="stable")
        return ranked.groupby(["emotion", "list"], sort=True).head(1)[LIST_COLUMNS].reset_index(drop=True)

    return kept_table(run, "promoted_lists", {"n_draws": run.params.n_draws, **_made_from(run)}, compute)


@kept
def promoted_top(run: Run, heads: tuple[Head, ...]) -> pd.DataFrame:
    """The first tokens that some heads promote: layer, head, emotion, rank, token_id, token, logit."""

    def compute() -> pd.DataFrame:
        table = _promoted(run).top
        named = pd.MultiIndex.from_frame(table[["layer", "head"]]).isin(list(heads))
        return table[named].reset_index(drop=True)

    return kept_table(run, "promoted_tokens", {"chosen_heads": list(map(list, heads)), **_made_from(run)}, compute)


@kept
def ov_chosen(run: Run) -> tuple[Head, ...]:
    """Of every emotion the head whose gain on its own direction stands out most from draws of the covariance."""
    table = ov_largest(run)
    own = table[(table["target"] == "self") & (table["measure"] == "gain") & (table["family"] == "covariance")]
    return tuple(dict.fromkeys((int(a), int(b)) for a, b in own[["layer", "head"]].to_numpy()))


@kept
def composed(run: Run, heads: tuple[Head, ...]) -> pd.DataFrame:
    """Composition scores of all pairs of some heads; see `emolib.circuits.composition`."""
    return kept_table(
        run, "composition", {"chosen_heads": list(map(list, heads))}, lambda: composition(run.lm, list(heads))
    )


# MLPs and neurons


@kept
def _neurons(run: Run) -> NeuronProjection:
    lm, table = run.lm, _paired(run)
    differences = {
        emotion: neuron_differences(lm, table[emotion].tolist(), table[run.params.neutral].tolist(), reduce="mean")
        for emotion in run.emotions
    }
    vecs = fitting.vectors(run, run.params.vector_position)
    return neuron_projection(lm, vecs, _controls(run), _inputs(run), differences, n_top=N_NEURONS)


def _paired(run: Run) -> pd.DataFrame:
    """Test scenarios that have every label, one column of texts per label."""
    texts = run.texts("test")
    return (
        texts.pivot_table(index="scenario", columns="emotion", values="text", aggfunc="first")
        .dropna()
        .head(run.params.n_texts)
    )


@kept
def mlps(run: Run) -> pd.DataFrame:
    """What every MLP adds along each emotion's direction; see `NeuronProjection.mlps`."""
    return kept_table(run, "mlps", _of_neurons(run), lambda: _neurons(run).mlps)


@kept
def neurons(run: Run) -> pd.DataFrame:
    """The neurons that add most; see `NeuronProjection.neurons` (its share is `of_mlp`)."""
    return kept_table(
        run, "neurons", _of_neurons(run), lambda: _neurons(run).neurons.rename(columns={"share": "of_mlp"})
    )


def _of_neurons(run: Run) -> dict[str, Any]:
    return {"texts": digest_of(_paired(run)), "n_controls": run.params.n_controls, **_made_from(run)}


@kept
def reconstruction(run: Run) -> pd.DataFrame:
    """How far the folded weights lie from the model's own numbers: layer, check, error."""
    some = neutral_texts(run)[:N_CHECKED]
    return kept_table(run, "reconstruction", {"texts": store.digest(some)}, lambda: reconstruction_errors(run.lm, some))
