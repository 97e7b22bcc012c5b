"""Steering by heads: an emotion's own vector added to the outputs of a few heads, matched to a residual steer.

A head's vector is the mean of its output z over an emotion's texts less that over the neutral ones (as in
inference-time intervention, Li et al. 2023, whose directions came from probes). One factor multiplies the vectors of
all heads, so that heads that write more of the emotion are moved more. The published claim is an equal effect with less
loss of coherence. So both steers are brought to one KL of the next token on validation texts, frozen there, and then
compared on test texts: S, and the fluency rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.data.activations import Activations
from emolib.interventions import Act, Head, Steer
from emolib.models.language_model import LanguageModel
from emolib.statistics.intervals import paired_effects
from emolib.steering.damage import next_token_kl

TOLERANCE = 0.05  # of the KL that is reached, relative to the one wanted
MOST_STEPS = 12
SLOPES = (1.0, 4.0)  # of log KL over log factor: 2 where it is small, less where it saturates
ALL = "all"
FARTHEST = 1000.0  # first factors; what has not reached the KL there never does

HeadVectors = Mapping[str, Mapping[Head, np.ndarray]]


def head_vectors(
    acts: Activations, heads: Sequence[Head], *, neutral: str = "neutral"
) -> dict[str, dict[Head, np.ndarray]]:
    """Per emotion and head the mean of z over the emotion's texts less that over the neutral ones, `[d_head]`.

    Args:
        acts: of `emolib.extract_activations(…, sites=("z",))`, at one row per text.

    Raises:
        UserError: activations without labels, without z, without a neutral text or with neutral texts alone.

    >>> import emolib
    >>> lm, data = emolib.load_model("smollm2_135m", device="cpu"), emolib.load_dataset()
    >>> some = data[data["scenario"].isin(data["scenario"].unique()[:2])]
    >>> acts = emolib.extract_activations(lm, some, sites=("z",), positions="mean", layers=[12])
    >>> vectors = head_vectors(acts, [(12, 3)])
    >>> sorted(vectors), vectors["anger"][12, 3].shape
    (['anger', 'apology', 'gratitude'], (64,))
    """
    if "z" not in acts.values or "emotion" not in acts.texts:
        raise UserError("expected activations of site z with a column emotion in their texts; extract sites=('z',)")
    labels = acts.texts["emotion"].to_numpy()
    emotions = [name for name in dict.fromkeys(labels) if name != neutral]
    if neutral not in labels or not emotions:
        raise UserError(f"expected texts of {shown(neutral)} and of an emotion, got {shown(sorted(set(labels)))}")
    found: dict[str, dict[Head, np.ndarray]] = {name: {} for name in emotions}
    for layer, head in heads:
        z = acts.layer("z", layer)[:, head]
        base = z[labels == neutral].mean(0)
        for name in emotions:
            found[name][layer, head] = (z[labels == name].mean(0) - base).astype(np.float32)
    return found


def head_steers(vectors: Mapping[Head, np.ndarray], factor: float, *, window: int = 3) -> tuple[Steer, ...]:
    """Steers of some heads' outputs: factor times each head's vector.

    >>> acts = head_steers({(3, 5): np.array([1.0, -1.0])}, 2.0)
    >>> acts[0].site, acts[0].head, acts[0].delta().tolist()
    ('z', 5, [2.0, -2.0])
    """
    return tuple(
        Steer(layer, vector, factor, unit="vector", site="z", head=head, window=window)
        for (layer, head), vector in vectors.items()
    )


@dataclass(frozen=True)
class Matched:
    """A strength at which an act changes the next token as much as it is wanted to.

    Attributes:
        factor: NaN where no factor does.
        kl: mean KL at that factor (at the last one tried, where none does).
    """

    factor: float
    kl: float

    @property
    def reached(self) -> bool:
        return bool(np.isfinite(self.factor))


def matched_to_kl(
    lm: LanguageModel,
    make: Callable[[float], Act | tuple[Act, ...]],
    prompts: Sequence[str],
    continuations: Sequence[Sequence[int]],
    *,
    kl: float,
    start: float = 1.0,
) -> Matched:
    """The factor at which an act's mean KL(unpatched ‖ patched) over fixed continuations is `kl`, by secant steps.

    Args:
        make: factor → the act.
        prompts: neutral texts.
        continuations: per prompt token ids of an unpatched continuation.
        kl: in nat.
        start: the first factor tried.

    Raises:
        UserError: as `emolib.steering.damage.next_token_kl`; a KL or start that is not above 0.
    """
    wanted = arguments.number("kl", kl, above=0)
    factor, value = arguments.number("start", start, above=0), float("nan")
    last = (float("nan"), float("nan"))
    for _ in range(MOST_STEPS):
        value = float(np.nanmean(next_token_kl(lm, prompts, continuations, [make(factor)] * len(prompts))))
        if abs(value / wanted - 1) <= TOLERANCE:
            return Matched(factor, value)
        here = (float(np.log(factor)), float(np.log(max(value, 1e-12))))
        slope = (here[1] - last[1]) / (here[0] - last[0]) if here[0] != last[0] else float("nan")
        slope = float(np.clip(slope, *SLOPES)) if np.isfinite(slope) else 2.0
        factor, last = float(np.exp(here[0] + (np.log(wanted) - here[1]) / slope)), here
        if factor > FARTHEST * start:
            break
    return Matched(float("nan"), value)


def damage_difference(texts: pd.DataFrame, *, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Broken shares and likelihoods of texts steered by heads and in the residual stream, and their difference.

    Args:
        texts: columns way (`heads`, `residual`), emotion, scenario, broken (truth), nll (nat per token).

    Returns:
        emotion (`all` too), n (scenarios); for `broken` and `nll` each, over scenarios where both ways have it:
        `_heads`, `_residual`, `_difference` (heads less residual) and its interval, `_low` and `_high` (NaN where
        nothing varies).

    >>> texts = pd.DataFrame({"way": ["heads", "residual"], "emotion": "joy", "scenario": "a", "broken": [0, 1]})
    >>> damage_difference(texts.assign(nll=[3.0, 4.0]))["broken_difference"].tolist()
    [-1.0, -1.0]
    """
    parts = [(name, part) for name, part in texts.groupby("emotion", sort=False)] + [(ALL, texts)]
    rows = []
    for name, part in parts:
        wide = part.assign(broken=part["broken"].astype(float)).pivot_table(
            index="scenario", columns="way", values=["broken", "nll"], aggfunc="mean"
        )
        row: dict[str, object] = {"emotion": name, "n": len(wide)}
        for value in ("broken", "nll"):
            by_heads, residual = (wide[value, way].to_numpy(float) for way in ("heads", "residual"))
            found = paired_effects((by_heads - residual)[None], n_resamples=n_resamples, seed=seed).iloc[0]
            both = np.isfinite(by_heads) & np.isfinite(residual)  # a text too short for a likelihood has none
            means = [float(side[both].mean()) if both.any() else float("nan") for side in (by_heads, residual)]
            row |= {f"{value}_heads": means[0], f"{value}_residual": means[1]}
            row |= {f"{value}_difference": float(found["mean"]), f"{value}_low": found["ci_low"]}
            row |= {f"{value}_high": found["ci_high"]}
        rows.append(row)
    return pd.DataFrame(rows)
