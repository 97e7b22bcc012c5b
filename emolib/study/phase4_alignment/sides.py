"""The two models of a pair, what their Phase 3 left, and their residual streams at the anchors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.base.parameters import parameter_names
from emolib.data.activations import Activations
from emolib.directions.vectors import scenario_cube
from emolib.engine.anchors import AnchorBlocks, find_anchors, joined
from emolib.study import phase2_activations
from emolib.study.phase3_vectors import companion_activations, fitting
from emolib.study.phase4_alignment.anchor_texts import anchor_texts
from emolib.study.run import Run, kept, prepared

MOST_KEPT = 8_000  # anchors whose activations stay in memory; of more the models are run again where they are needed
ALL = "all"
FEWEST_OF_STYLE = 4  # scenarios of a style for halves of two


class Pair(NamedTuple):
    """Each model's Phase 3, as a run that finds what it left."""

    a: Run
    b: Run


class Labels(NamedTuple):
    """Texts of many labels on the same scenarios, in one model.

    Attributes:
        cube: `[scenario, label, d_model]`, the neutral label first.
        styles: of each scenario.
    """

    cube: np.ndarray
    scenarios: tuple[str, ...]
    names: tuple[str, ...]
    styles: tuple[str, ...]


@kept
def pair(run: Run) -> Pair:
    """The Phase 3 of either model with this run's values."""
    params = run.params
    given = {key: value for key, value in run.overrides.items() if key in parameter_names("phase3")}
    a, b = (
        prepared(params.profile, name, "phase3", given, contents=run.contents) for name in (params.model, params.other)
    )
    return Pair(a, b)


def inputs(run: Run) -> dict[str, Any]:
    """What every artifact of the pair is made from: both models, the texts of the anchors, and both models' Phase 3."""
    return dict(_inputs(run))


@kept
def _inputs(run: Run) -> dict[str, Any]:
    texts = anchor_texts(run)
    found: dict[str, Any] = {"anchors": store.digest(texts.to_dict("list")), "seed": run.params.seed}
    found |= {name: getattr(run.params, name) for name in ("most_per_word", "method", "space", "neutral")}
    for name, side in zip(("a", "b"), pair(run), strict=True):
        found[name] = {"model": side.lm.identity, "texts": fitting.inputs(side, "mean")}
        if companion_activations.texts(side) is not None:
            found[name]["labels"] = companion_activations.inputs(side, "fifteen")
        for path in side.artifacts.made:
            run.artifacts.note(path)
    return found


# anchors


@kept
def anchors(run: Run) -> pd.DataFrame:
    """The words at which both models' residual streams are compared; stored."""
    a, b = pair(run)

    def compute() -> pd.DataFrame:
        texts = anchor_texts(run)
        found = find_anchors(
            a.lm, b.lm, texts["text"].tolist(), most_per_word=run.params.most_per_word, seed=run.params.seed
        )
        return found.assign(source=texts["source"].to_numpy()[found["text"]])

    return run.artifacts.table(run.paths.alignment("anchors"), inputs(run), compute, model=False)


@kept
def blocks(run: Run) -> Iterable[tuple[Activations, Activations]]:
    """Both models' residual streams at the anchors, all layers, some texts at a time."""
    found = anchors(run)
    run.progress.begin("anchors", 1)
    made = AnchorBlocks(
        pair(run).a.lm, pair(run).b.lm, anchor_texts(run)["text"].tolist(), found.drop(columns="source")
    )
    held = list(made) if len(found) <= MOST_KEPT else made
    run.progress.advance(1)
    return held


def at_layers(run: Run, layer_a: int, layer_b: int) -> tuple[Activations, Activations]:
    """The same at one layer of either model, in one piece."""
    parts = [(one_layer(a, layer_a), one_layer(b, layer_b)) for a, b in blocks(run)]
    first, second = zip(*parts, strict=True)
    return joined(first), joined(second)


def one_layer(acts: Activations, layer: int) -> Activations:
    """The same activations at one layer alone."""
    place = [acts.layer_numbers.index(layer)]
    values = {"resid_pre": acts.values["resid_pre"][place]}
    bulk = None if acts.bulk_norms is None else acts.bulk_norms[place]
    return replace(acts, values=values, token_norms=acts.token_norms[place], bulk_norms=bulk, layers=(layer,))


# labels


def label_texts(side: Run) -> pd.DataFrame:
    """The texts that the labels' vectors are made of: the companions' and the data set's on the same training
    scenarios, or the data set's own labels alone."""
    found = companion_activations.chosen(side, "fifteen")
    return side.texts("train") if found is None else found


@kept
def _label_activations(side: Run) -> Activations:
    if companion_activations.texts(side) is None:
        return fitting.training(side, "mean")
    return companion_activations.activations(side, "fifteen")


def labels(side: Run, layer: int) -> Labels:
    """All labels at one layer of a model."""
    return labels_of(one_layer(_label_activations(side), layer), side.params.neutral)


def validation_labels(side: Run, layer: int) -> Labels:
    """The data set's labels on the validation scenarios, by which layers are chosen."""
    return labels_of(one_layer(_validation(side), layer), side.params.neutral)


@kept
def _validation(side: Run) -> Activations:
    return fitting.split_of(side, "mean", "validation")


def labels_of(acts: Activations, neutral: str) -> Labels:
    """Of activations at one layer."""
    cube, scenarios, emotions = scenario_cube(acts, neutral)
    styles = acts.texts.drop_duplicates("scenario").set_index("scenario")["style"]
    named = tuple(str(styles[name]) for name in scenarios)
    return Labels(cube[0].astype(np.float64), tuple(scenarios), (neutral, *emotions), named)


def style_choices(found: Labels) -> dict[str, np.ndarray]:
    """Which scenarios count, by style: all, then each style with enough of them."""
    styles = np.array(found.styles)
    chosen = {ALL: np.ones(len(styles), dtype=bool)}
    for style in dict.fromkeys(found.styles):
        if FEWEST_OF_STYLE <= (styles == style).sum() < len(styles):
            chosen[style] = styles == style
    return chosen


def topics(side: Run, layer: int) -> dict[str, np.ndarray]:
    """The topics' vectors: each topic's mean over neutral texts less the mean over all topics' texts."""
    acts = phase2_activations.activations(side, "mean")
    acts = acts.where((acts.texts["emotion"] == side.params.neutral).to_numpy())
    values, named = acts.layer("resid_pre", layer).astype(np.float64), acts.texts["topic"].to_numpy()
    means = {str(name): values[named == name].mean(axis=0) for name in dict.fromkeys(named)}
    centre = np.mean(list(means.values()), axis=0)
    return {name: mean - centre for name, mean in means.items()} if len(means) > 1 else {}
