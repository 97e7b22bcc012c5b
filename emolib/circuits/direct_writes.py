"""Road (i): what every head writes along an emotion's direction, in the emotion's texts minus in the neutral ones.

A head writes z W_O (for Gemma 3 before the norm behind attention, in which heads no longer add up). Its direction is
that of the layer behind it, where what it wrote is read first. Two nulls: rotations of what the head writes, which keep
its norm (drawn as random directions: a rotation of the one is a rotation of the other back), for each head alone; and
labels shuffled within scenarios with the vectors fitted anew, for the largest of all heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.data.keywords import load_keywords
from emolib.directions.controls import isotropic_direction, shuffled_difference
from emolib.directions.vectors import EmotionVectors, scenario_cube
from emolib.engine.observation import observe
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.tokens import encode, pad_left
from emolib.statistics.intervals import max_statistic_p
from emolib.steering.shift_tables import check_columns

POSITIONS = ("mean", "without_keywords", "last")
BATCH = 32
KEYS = ["layer", "head", "emotion", "position", "style"]


@dataclass(frozen=True)
class HeadOutputs:
    """Mean outputs z of every head in every text.

    Attributes:
        values: by position `[layer, text, head, d_head]`; `mean` is over tokens, the first left out, of which
            `without_keywords` leaves out those that share a character with a word of the emotions' lists.
        n_keywords: `[text]`, the tokens that are left out there.
    """

    values: dict[str, np.ndarray]
    n_keywords: np.ndarray


def head_outputs(lm: LanguageModel, data: pd.DataFrame) -> HeadOutputs:
    """One pass over the texts.

    Args:
        data: columns text, and lang where there is one.

    Raises:
        UserError: texts that the model cannot take, a site that never gave anything, values that are not finite.
    """
    checked_model(lm)
    texts = data["text"].tolist()
    ids, masks = encode(lm, texts), _keyword_tokens(lm, data)
    shape = (lm.n_layers, len(texts), lm.n_heads, lm.d_head)
    values = {position: np.zeros(shape, np.float32) for position in POSITIONS}
    counts = np.zeros(lm.n_layers, dtype=int)
    order = np.argsort([-len(row) for row in ids], kind="stable")
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        padded, mask = pad_left([ids[row] for row in rows], lm.pad_id)
        weights = _weights([ids[row] for row in rows], [masks[row] for row in rows], padded.shape[1])

        def take(site: str, layer: int, value: Tensor, rows: np.ndarray = rows, weights: Tensor = weights) -> None:
            counts[layer] += len(rows)
            means = torch.einsum("rphd,krp->krhd", value.float().cpu(), weights).numpy()
            for position, found in zip(POSITIONS, means, strict=True):
                values[position][layer, rows] = found

        observe(lm, padded, mask, [("z", layer) for layer in range(lm.n_layers)], take)
    if (counts != len(texts)).any():
        layer = int(np.flatnonzero(counts != len(texts))[0])
        raise UserError(f"expected the heads' outputs of layer {layer} in every text, {lm.spec.name} never gave them")
    for position, found in values.items():
        require_finite(lm, enumerate(np.moveaxis(found, 1, 0)), f"heads' outputs ({position})")
    return HeadOutputs(values, np.array([int(mask.sum()) for mask in masks]))


def _weights(rows: Sequence[Sequence[int]], keywords: Sequence[np.ndarray], width: int) -> Tensor:
    """`[position, row, column]`, what each token counts in each mean; where all is left out, the whole counts."""
    weights = np.zeros((len(POSITIONS), len(rows), width), np.float32)
    for number, (ids, mask) in enumerate(zip(rows, keywords, strict=True)):
        own = slice(width - len(ids), width)
        every = np.ones(len(ids))
        every[0] = len(ids) == 1
        plain = every * ~mask
        last = np.eye(len(ids))[-1]
        for place, chosen in enumerate((every, plain if plain.any() else every, last)):
            weights[place, number, own] = chosen / chosen.sum()
    return torch.from_numpy(weights)


def _keyword_tokens(lm: LanguageModel, data: pd.DataFrame) -> list[np.ndarray]:
    """Per text, which of its tokens share a character with a word of any emotion's list."""
    texts = data["text"].tolist()
    languages = data["lang"].tolist() if "lang" in data else ["en"] * len(data)
    read = lm.tokenizer(texts, add_special_tokens=True, return_offsets_mapping=True).offset_mapping
    lengths = [len(row) for row in encode(lm, texts)]
    found = []
    for text, language, offsets, n in zip(texts, languages, read, lengths, strict=True):
        lists = load_keywords(language)
        spans = [span for label in lists.labels for span in lists.find(text, label)]
        inside = [any(a < stop and b > start and b > a for start, stop in spans) for a, b in offsets]
        found.append(np.array(inside[len(inside) - n :], dtype=bool))  # a doubled first mark is not counted twice
    return found


def output_matrix(lm: LanguageModel, layer: int) -> np.ndarray:
    """W_O of one layer, `[head, d_head, d_model]`.

    Raises:
        UserError: a model that runs through its own code, whose weights the engine does not read.
    """
    if lm.blueprint is None:
        raise UserError(
            f"expected an architecture whose weights the engine reads, {lm.spec.name} ({type(lm.network).__name__}) "
            "runs through its own code; what its heads write is not measurable here"
        )
    weight = lm.blueprint.layers[layer].out.weight.float().cpu()
    return weight.unflatten(1, (lm.n_heads, lm.d_head)).permute(1, 2, 0).numpy()


def direct_writes(
    lm: LanguageModel,
    data: pd.DataFrame,
    vecs: EmotionVectors,
    train: Activations,
    *,
    emotions: Sequence[str] | None = None,
    neutral: str = "neutral",
    n_null: int = 199,
    seed: int = 0,
    outputs: HeadOutputs | None = None,
) -> pd.DataFrame:
    """What every head writes along every emotion's direction, emotion minus neutral text of the same scenario.

    Args:
        data: texts on which nothing was fitted: columns scenario, emotion, style, text.
        vecs: their directions, fitted on `train`.
        train: residuals of the training texts, from which vectors are fitted anew with shuffled labels.
        emotions: None takes all of `vecs`.
        n_null: rotations, and shuffles.
        outputs: as `head_outputs` gives them for `data`; found if not given.

    Returns:
        `KEYS` (style `all`, and every style alone), `written` (mean over scenarios, in activation units along the unit
        direction), `sd`, `n_scenarios`, `norm` (of the mean difference that the head writes), `cosine` with the
        direction, `p_rotation` (of this head, two-sided), `p_max` (corrected for all heads and layers).

    Raises:
        UserError: missing columns, an emotion without a vector or without texts, vectors of another model.
    """
    check_columns(data, ["scenario", "emotion", "style", "text"], "data")
    chosen = list(vecs) if emotions is None else [arguments.one_of("emotion", one, vecs.values) for one in emotions]
    if (vecs.model, vecs.revision) != (lm.spec.name, lm.revision):
        raise UserError(f"expected vectors of {lm.spec.name} {lm.revision[:12]}, got some of {vecs.model}")
    n_null = arguments.whole_number("n_null", n_null, least=19)
    found = head_outputs(lm, data) if outputs is None else outputs
    matrices = np.stack([output_matrix(lm, layer) for layer in range(lm.n_layers)])
    cube, fitted = _fitted(train, vecs, neutral)
    refitted = np.einsum("lhdm,nlm->nlhd", matrices, _refitted(cube, n_null, seed), optimize=True)
    rotations = [
        isotropic_direction(lm.d_model, int(n)) for n in np.random.SeedSequence([seed, 6]).generate_state(n_null)
    ]
    random = np.einsum("lhdm,nm->nlhd", matrices, np.stack(rotations), optimize=True)
    tables = []
    for style in ("all", *sorted(data["style"].unique())):
        here = np.ones(len(data), dtype=bool) if style == "all" else (data["style"] == style).to_numpy()
        for emotion in chosen:
            pairs = _pairs(data, here, emotion, neutral)
            if len(pairs) < 2:
                continue
            read = np.einsum("lhdm,lm->lhd", matrices, fitted[emotion], optimize=True)
            for position in POSITIONS:
                difference = found.values[position][:, pairs[:, 0]] - found.values[position][:, pairs[:, 1]]
                table = _judged(difference, read, (random, refitted), matrices, seed)
                tables.append(table.assign(emotion=emotion, position=position, style=style, n_scenarios=len(pairs)))
    joined = pd.concat(tables, ignore_index=True)
    return joined[[*KEYS, "written", "sd", "n_scenarios", "norm", "cosine", "p_rotation", "p_max"]]


def _pairs(data: pd.DataFrame, here: np.ndarray, emotion: str, neutral: str) -> np.ndarray:
    """Rows of the emotion's and of the neutral text, `[scenario, 2]`."""
    places = pd.Series(np.arange(len(data)), index=pd.MultiIndex.from_frame(data[["scenario", "emotion"]]))[here]
    wide = places.unstack("emotion")
    if emotion not in wide or neutral not in wide:
        return np.zeros((0, 2), dtype=int)
    found: np.ndarray = wide[[emotion, neutral]].dropna().to_numpy(int)
    return found


def _fitted(train: Activations, vecs: EmotionVectors, neutral: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The cube `[layer, scenario, label, d_model]` behind every block, and the emotions' unit directions there."""
    cube = scenario_cube(train, neutral)[0]
    units = {}
    for emotion in vecs:
        values = np.asarray(vecs.values[emotion], dtype=np.float64)[1:]
        units[emotion] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return cube[1:], units


def _refitted(cube: np.ndarray, n_null: int, seed: int) -> np.ndarray:
    """Unit directions `[null, layer, d_model]` fitted on shuffled labels, the same shuffle in all layers."""
    found = np.zeros((n_null, len(cube), cube.shape[-1]))
    for number, one in enumerate(np.random.SeedSequence([seed, 7]).generate_state(n_null)):
        for layer, of_layer in enumerate(cube):
            found[number, layer] = shuffled_difference(of_layer, int(one))
    return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)


def _judged(
    difference: np.ndarray,
    read: np.ndarray,
    nulls: tuple[np.ndarray, np.ndarray],
    matrices: np.ndarray,
    seed: int,
) -> pd.DataFrame:
    """Difference `[layer, scenario, head, d_head]` along `read` `[layer, head, d_head]`, against both nulls."""
    each = np.einsum("lshd,lhd->slh", difference, read)
    written = each.mean(0)
    mean = difference.mean(1)
    rotated = np.einsum("lhd,nlhd->nlh", mean, nulls[0])
    signs = np.random.default_rng([seed, 8]).choice([-1.0, 1.0], (len(nulls[1]), difference.shape[1]))
    # shuffled labels leave no difference: of a pair of texts either may be the emotion's
    flipped = np.einsum("ns,lshd->nlhd", signs, difference, optimize=True) / difference.shape[1]
    shuffled = np.einsum("nlhd,nlhd->nlh", flipped, nulls[1], optimize=True)
    p_rotation = (1 + (np.abs(rotated) >= np.abs(written)).sum(0)) / (1 + len(rotated))
    p_max = max_statistic_p(
        written.ravel(), shuffled.reshape(len(shuffled), -1), studentised=True, alternative="two-sided"
    )
    norm = np.linalg.norm(np.einsum("lhd,lhdm->lhm", mean, matrices, optimize=True), axis=-1)
    layers, heads = np.indices(written.shape)
    return pd.DataFrame(
        {
            "layer": layers.ravel(),
            "head": heads.ravel(),
            "written": written.ravel(),
            "sd": each.std(0, ddof=1).ravel(),
            "norm": norm.ravel(),
            "cosine": (written / np.maximum(norm, 1e-12)).ravel(),
            "p_rotation": p_rotation.ravel(),
            "p_max": p_max,
        }
    )
