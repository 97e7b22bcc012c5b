"""What the residual stream tells of an emotion beyond the words, and whether a probe of one style reads the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from emolib.base.errors import UserError, nearest, shown
from emolib.data.activations import Activations
from emolib.data.styles import of_style
from emolib.readout.label_contrasts import MIN_SCENARIOS, SETS, Contrast, contrast_of, paired_scenarios
from emolib.readout.probe_sources import SOURCES, ChosenProbe, chosen_probe
from emolib.statistics.auc import auc_difference, auc_interval, auc_swap_p, pair_wins

INFORMATION_COLUMNS = (
    *("emotion", "source", "style", "layer", "c", "auc", "low", "high", "shuffled_mean", "shuffled_max"),
    *("advantage", "advantage_low", "advantage_high", "advantage_p", "advantage_best_p", "n"),
)
CROSS_STYLE_COLUMNS = (
    *("emotion", "source", "trained_on", "tested_on", "layer", "auc", "low", "high", "shuffled_max", "n"),
)


def information_table(
    train: Activations,
    validation: Activations,
    test: Activations,
    *,
    embedding: Sequence[Float[np.ndarray, "text d_model"]],
    neutral: str = "neutral",
    layers: Sequence[int] | None = None,
    n_shuffles: int = 20,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Does the residual stream tell an emotion from neutral better than the words do?

    One logistic probe per emotion and source, trained on the training scenarios and tested once:

    - `residual`: `resid_pre` at the layer with the best validation AUC (the lowest of equals), C = 0.01;
    - `embedding`: the mean token embedding;
    - `words`: TF-IDF of words and word pairs of the training texts, lower case;
    - `length`: tokens, characters and words.

    The last three are given their best chance: their C is the one of `PENALTIES` with the best validation AUC. All
    features are standardised by the training texts; TF-IDF, whose scale carries meaning, is only centred.

    Args:
        train, validation, test: activations of three sets of scenarios that share none.
        embedding: `[text, d_model]` for each of the three sets, in the order of their texts.
        layers: the layers to choose from; all by default.

    Returns:
        One row per emotion, source and style (`all`, and each with at least `MIN_SCENARIOS` test scenarios that have
        both labels). layer: missing except for `residual`. auc, low, high: see `auc_interval`. shuffled_mean,
        shuffled_max: over `n_shuffles` refits, at the same layer and C, on labels swapped within scenarios, those of
        the test texts too.
        advantage, advantage_low, advantage_high: AUC of `residual` minus this source's (`auc_difference`); advantage_p
        (one-sided, `auc_swap_p`) and advantage_best_p, the same for a score without any error in the residual's place:
        where it is large, this source leaves no room to be told from; NaN for `residual`. n: test texts.

    Raises:
        UserError: an absent label, a scenario in two sets, a layer out of range, values that are not finite, or
            embeddings that do not match the texts.
    """
    sets = _with_embedding((train, validation, test), embedding)
    emotions = _checked_sets(sets, neutral, n_shuffles)
    offered = _checked_layers(train, layers)
    resampling = {"n_resamples": n_resamples, "seed": seed}
    rows = []
    for index, emotion in enumerate(emotions):
        contrast = contrast_of(sets, emotion, neutral, n_shuffles, [seed, index])
        probes = {source: chosen_probe(contrast, source, offered) for source in SOURCES}
        for source, probe in probes.items():
            for style, kept in _tested_styles(contrast).items():
                found = _tested(probe, contrast, kept, resampling)
                found |= _advantage(probes["residual"], probe, contrast, kept, resampling)
                chosen = {"layer": probe.layer, "c": probe.c}
                rows.append({"emotion": emotion, "source": source, "style": style, **chosen, **found})
    return _table(rows, INFORMATION_COLUMNS)


def cross_style_table(
    train: Activations,
    validation: Activations,
    test: Activations,
    *,
    neutral: str = "neutral",
    styles: Sequence[str] = ("explicit", "implicit"),
    n_shuffles: int = 20,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Does a probe that learned an emotion from texts of one style read it in texts of the other?

    Probes on `residual` and `words` as in `information_table`, trained on the texts of each style and on `all` texts,
    each tested on the test texts of each style. Layer and C are chosen on validation texts of the style trained on.

    Args:
        train, validation, test: activations of three sets of scenarios that share none.
        styles: values of the column `style` of the texts.

    Returns:
        One row per emotion, source, trained_on and tested_on, with layer (missing for `words`), auc, low, high (see
        `auc_interval`), shuffled_max over `n_shuffles` refits on labels swapped within scenarios (tested on swapped
        ones), and n test texts. An emotion has no rows where a style lacks it: no training scenario with both labels,
        not both labels in validation, or fewer than `MIN_SCENARIOS` test scenarios with both. The table is then empty
        if no emotion is left.

    Raises:
        UserError: an absent label, a scenario in two sets, or values that are not finite.
    """
    sets = [replace(part, values={"resid_pre": part.values["resid_pre"]}) for part in (train, validation, test)]
    emotions = _checked_sets(sets, neutral, n_shuffles)
    offered = _checked_layers(train, None)
    resampling = {"n_resamples": n_resamples, "seed": seed}
    rows = []
    for index, emotion in enumerate(emotions):
        contrast = contrast_of(sets, emotion, neutral, n_shuffles, [seed, index])
        if not all(contrast.has(style) for style in styles):
            continue
        for trained_on in (*styles, "all"):
            part = contrast if trained_on == "all" else contrast.learning_from(trained_on)
            for source in ("residual", "words"):
                probe = chosen_probe(part, source, offered)
                for tested_on in styles:
                    found = _tested(probe, part, part.of_style(tested_on)[-1], resampling)
                    named = {"emotion": emotion, "source": source, "trained_on": trained_on, "tested_on": tested_on}
                    rows.append({**named, "layer": probe.layer, **found})
    return _table(rows, CROSS_STYLE_COLUMNS)


def _table(rows: list[dict], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns)).astype({"layer": "Int64"})


def _tested_styles(contrast: Contrast) -> dict[str, Bool[np.ndarray, " text"]]:
    """Test texts by style: `all`, and every style that has enough scenarios with both labels."""
    texts, truth = contrast.sets[-1].texts, contrast.truths[-1]
    found = {"all": np.ones(len(texts), dtype=bool)}
    for style in sorted(set(texts["style"])):
        kept = of_style(texts, style).to_numpy()
        if paired_scenarios(texts["scenario"][kept], truth[kept]) >= MIN_SCENARIOS:
            found[style] = kept
    return found


def _tested(probe: ChosenProbe, contrast: Contrast, kept: np.ndarray, resampling: dict[str, int]) -> dict[str, float]:
    truth, scenarios = contrast.truths[-1][kept], contrast.sets[-1].texts["scenario"][kept]
    auc, low, high = auc_interval(probe.scores[0, kept], truth, scenarios, **resampling)
    pairs = zip(probe.scores[1:, kept], contrast.test_targets[1:, kept], strict=True)
    null = [pair_wins(scores, target).mean() for scores, target in pairs]
    shuffled = {"shuffled_mean": float(np.mean(null)), "shuffled_max": float(np.max(null))}
    return {"auc": auc, "low": low, "high": high, **shuffled, "n": len(truth)}


def _advantage(
    residual: ChosenProbe, probe: ChosenProbe, contrast: Contrast, kept: np.ndarray, resampling: dict[str, int]
) -> dict[str, float]:
    named = ("advantage", "advantage_low", "advantage_high", "advantage_p", "advantage_best_p")
    if probe is residual:
        return dict.fromkeys(named, np.nan)
    truth, scenarios = contrast.truths[-1][kept], contrast.sets[-1].texts["scenario"][kept]
    own, other = residual.scores[0, kept], probe.scores[0, kept]
    found = auc_difference(own, other, truth, scenarios, **resampling)
    tests = (auc_swap_p(one, other, truth, scenarios, seed=resampling["seed"]) for one in (own, truth.astype(float)))
    return dict(zip(named, (*found, *tests), strict=True))


def _with_embedding(sets: Sequence[Activations], embedding: Sequence[np.ndarray]) -> list[Activations]:
    """The residual stream with the embeddings as a site of one layer: what selects texts then selects both."""
    found = [np.shape(rows) for rows in embedding]
    expected = [len(part.texts) for part in sets]
    if [shape[0] for shape in found if len(shape) == 2] != expected or len({shape[1] for shape in found}) > 1:
        raise UserError(f"expected embeddings [text, d_model] of {expected} texts ({', '.join(SETS)}), got {found}")
    return [
        replace(part, values={"resid_pre": part.values["resid_pre"], "embedding": np.asarray(rows)[None]})
        for part, rows in zip(sets, embedding, strict=True)
    ]


def _checked_sets(sets: Sequence[Activations], neutral: str, n_shuffles: int) -> list[str]:
    """The emotions of the training set."""
    if n_shuffles < 1:
        raise UserError(f"expected at least 1 label shuffle, got {n_shuffles}")
    names = list(dict.fromkeys(sets[0].texts["emotion"]))
    if neutral not in names:
        raise UserError(f"no training texts with the neutral label {shown(neutral)}: {nearest(neutral, names)}")
    if len(names) < 2:
        raise UserError(f"expected at least one label beside {shown(neutral)}, found none")
    scenarios = [set(part.texts["scenario"]) for part in sets]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        if shared := scenarios[first] & scenarios[second]:
            pair = f"{SETS[first]} and {SETS[second]}"
            raise UserError(
                f"expected no scenario in two sets, {pair} share {len(shared)}, such as {shown(min(shared))}"
            )
    if not all(np.isfinite(values).all() for part in sets for values in part.values.values()):
        raise UserError("the activations hold values that are not finite; extract them in float32")
    return [name for name in names if name != neutral]


def _checked_layers(acts: Activations, layers: Sequence[int] | None) -> list[int]:
    """The layers to choose from, the lowest first: of equals the first is taken."""
    offered = sorted(range(acts.n_layers + 1) if layers is None else set(layers))
    if not offered or not 0 <= offered[0] <= offered[-1] <= acts.n_layers:
        raise UserError(f"expected layers in 0-{acts.n_layers}, got {offered}")
    return offered
