"""Residual patching: sweeps over layers, emotions and strengths, with random directions of the same norm beside them.

A sweep table has one row per generation: row_id, scenario, split, emotion, layer, alpha, unit, kind, index, seed,
text, then delta_ratio, n_tokens, finish_reason and the metric columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from emolib.activations import LayerVector
from emolib.config import check_layers
from emolib.errors import UserError
from emolib.generation import generate
from emolib.interventions import Intervention, Steer
from emolib.models import LanguageModel
from emolib.scoring import score_texts, version_of
from emolib.scoring.cache import ScoreCache
from emolib.vectors import EmotionVectors

KINDS = ("baseline", "emotion", "isotropic", "direct_path")
KEY_COLUMNS = ["row_id", "scenario", "split", "emotion", "layer", "alpha", "unit", "kind", "index", "seed", "text"]
CONTROLS_PER_SHARD = 20


class ShardStore(Protocol):
    """What a run offers to a computing function: finished shards by name, computed only if they are missing.

    Attributes:
        scores: scores that were worked out before.
    """

    scores: ScoreCache

    def begin(self, rows: int) -> None: ...

    def shard(
        self, name: str, matched: Mapping[str, Any], compute: Callable[[], pd.DataFrame], rows: int
    ) -> pd.DataFrame: ...


@dataclass(frozen=True)
class SweepSettings:
    """How every row of a sweep is generated and scored.

    Attributes:
        temperature, top_p: 0 is greedy; when sampling, the rows of one prompt share their random numbers, so that a
            steered text and its baseline differ by the patch alone.
        nll_limit: above it a text is broken (`scoring.fluency`); None leaves fluency out.
    """

    unit: str = "resid"
    window: int = 3
    max_new_tokens: int = 30
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    batch_size: int | Literal["auto"] = "auto"
    backend: str = "bundled"
    nll_limit: float | None = None

    def matched(self) -> dict[str, Any]:
        """Everything here that determines a row's values."""
        return {key: value for key, value in self.__dict__.items() if key != "batch_size"}


@dataclass(frozen=True)
class Cell:
    """One setting, generated once for every prompt."""

    kind: str
    emotion: str
    layer: int
    alpha: float
    index: int
    act: Intervention
    seed: int


def control_seed(seed: int, kind: str, layer: int, index: int) -> int:
    """The seed of one control direction: independent of how many there are and of the order in which they run."""
    return int(np.random.SeedSequence([seed, KINDS.index(kind), layer, index]).generate_state(1)[0])


def isotropic_direction(d_model: int, seed: int) -> np.ndarray:
    """A unit vector `[d_model]` drawn uniformly from the sphere."""
    values = np.random.default_rng(seed).standard_normal(d_model)
    return (values / np.linalg.norm(values)).astype(np.float32)


def residual_sweep(
    lm: LanguageModel,
    prompts: pd.DataFrame | Sequence[str],
    vecs: EmotionVectors,
    *,
    layers: Sequence[int],
    alphas: Sequence[float],
    n_controls: int = 0,
    direct_path: bool = False,
    settings: SweepSettings | None = None,
    run: ShardStore | None = None,
) -> pd.DataFrame:
    """Steers every prompt with every emotion at every layer and strength, and scores what the model writes.

    Args:
        prompts: neutral texts with columns scenario, split, text; or bare strings, each its own scenario.
        layers: blocks whose input is patched.
        alphas: strengths; negative ones suppress. 0 is the baseline, which is always there.
        n_controls: isotropic random directions per layer and strength, of the same norm as the steer. In unit
            `vector` every emotion's vector has its own norm, so the directions are drawn per emotion.
        direct_path: also steer at the final residual, with the emotion's vector of that layer.
        run: finds and stores shards (one for the baseline, one per layer, one per twenty controls); None keeps all
            in memory.

    Returns:
        The sweep table.

    Raises:
        UserError: layers out of range, alphas not finite, prompts without the columns, vectors of another model.
    """
    settings = settings or SweepSettings()
    check_layers(tuple(layers), lm.n_layers)
    if not np.isfinite(list(alphas)).all():
        raise UserError(f"expected finite alphas, got {list(alphas)}")
    if (vecs.model, vecs.revision) != (lm.spec.name, lm.revision):
        raise UserError(f"expected vectors of {lm.spec.name} {lm.revision[:12]}, got {vecs.model} {vecs.revision[:12]}")
    if not isinstance(prompts, pd.DataFrame):
        names = [f"prompt-{i}" for i in range(len(prompts))]
        prompts = pd.DataFrame({"scenario": names, "split": "unspecified", "text": list(prompts)})
    for name in ("scenario", "split", "text"):
        if name not in prompts:
            raise UserError(f"expected prompts with a column {name!r}, got {', '.join(prompts)}")
    shards = _plan(
        vecs, [int(layer) for layer in layers], [float(a) for a in alphas], n_controls, direct_path, settings
    )
    parts, scorers = [], version_of(settings.backend)
    if run:
        run.begin(sum(len(cells) for _, cells in shards) * len(prompts))
    for name, cells in shards:
        matched = {
            "prompts": prompts[["scenario", "text"]].to_dict("list"),
            "cells": [(c.kind, c.emotion, c.layer, c.alpha, c.index, c.seed) for c in cells],
            "vectors": _hash_of_deltas(cells),
            "settings": settings.matched(),
            "scorers": scorers,
        }
        compute = _computation(lm, prompts, cells, settings, run.scores if run else None)
        parts.append(run.shard(name, matched, compute, len(cells) * len(prompts)) if run else compute())
    return pd.concat(parts, ignore_index=True)


def _hash_of_deltas(cells: Sequence[Cell]) -> str:
    """What every cell adds to the residual stream, as one hash."""
    total = hashlib.sha256()
    for cell in cells:
        total.update(b"none" if cell.act is None else cell.act.delta().tobytes())
    return total.hexdigest()


def _plan(
    vecs: EmotionVectors,
    layers: Sequence[int],
    alphas: Sequence[float],
    n_controls: int,
    direct_path: bool,
    settings: SweepSettings,
) -> list[tuple[str, list[Cell]]]:
    """Shard names with their cells, in the order in which they run."""
    baseline = Cell("baseline", "none", -1, 0.0, 0, None, settings.seed)
    shards = [("baseline", [baseline])]
    strengths = [alpha for alpha in alphas if alpha != 0]
    for layer in layers:
        cells = [_emotion_cell("emotion", vecs, e, layer, alpha, settings) for alpha in strengths for e in vecs]
        shards.append((f"layer{layer:03d}", cells))
    if direct_path:
        cells = [
            _emotion_cell("direct_path", vecs, e, vecs.n_layers, alpha, settings) for alpha in strengths for e in vecs
        ]
        shards.append(("direct_path", cells))
    for layer in layers:
        for start in range(0, n_controls, CONTROLS_PER_SHARD):
            indices = range(start, min(start + CONTROLS_PER_SHARD, n_controls))
            cells = [
                cell for i in indices for alpha in strengths for cell in _control_cells(vecs, layer, alpha, i, settings)
            ]
            shards.append((f"isotropic_layer{layer:03d}_{start:04d}", cells))
    return [(name, cells) for name, cells in shards if cells]


def _steer(vector: LayerVector, alpha: float, settings: SweepSettings) -> Steer:
    return Steer(vector.layer, vector, alpha, unit=settings.unit, window=settings.window)


def _emotion_cell(
    kind: str, vecs: EmotionVectors, emotion: str, layer: int, alpha: float, settings: SweepSettings
) -> Cell:
    return Cell(kind, emotion, layer, alpha, 0, _steer(vecs[emotion][layer], alpha, settings), settings.seed)


def _control_cells(vecs: EmotionVectors, layer: int, alpha: float, index: int, settings: SweepSettings) -> list[Cell]:
    """One random direction; in unit `vector` once per emotion, scaled to that emotion's norm."""
    seed = control_seed(settings.seed, "isotropic", layer, index)
    like = vecs[vecs.emotions[0]][layer]
    direction = isotropic_direction(len(like.values), seed)
    named = {"any": 1.0} if settings.unit == "resid" else {e: vecs[e][layer].norm for e in vecs}
    cells = []
    for emotion, norm in named.items():
        vector = LayerVector(
            direction * np.float32(norm), like.model, like.revision, layer, like.position, like.neutral_norm
        )
        cells.append(Cell("isotropic", emotion, layer, alpha, index, _steer(vector, alpha, settings), seed))
    return cells


def _computation(
    lm: LanguageModel, prompts: pd.DataFrame, cells: Sequence[Cell], settings: SweepSettings, scores: ScoreCache | None
) -> Callable[[], pd.DataFrame]:
    def compute() -> pd.DataFrame:
        return _sweep_rows(lm, prompts, cells, settings, scores)

    return compute


def _sweep_rows(
    lm: LanguageModel, prompts: pd.DataFrame, cells: Sequence[Cell], settings: SweepSettings, kept: ScoreCache | None
) -> pd.DataFrame:
    texts = prompts["text"].tolist() * len(cells)
    per_prompt = [int(np.random.SeedSequence([settings.seed, 2, i]).generate_state(1)[0]) for i in range(len(prompts))]
    outs = generate(
        lm,
        texts,
        [cell.act for cell in cells for _ in range(len(prompts))],
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seeds=per_prompt * len(cells),
        batch_size=settings.batch_size,
    )
    rows = []
    for i, out in enumerate(outs):
        cell, prompt = cells[i // len(prompts)], prompts.iloc[i % len(prompts)]
        rows.append(
            {
                "row_id": f"{prompt.scenario}|{cell.kind}|{cell.emotion}|{cell.layer}|{cell.alpha:g}|{cell.index}",
                "scenario": prompt.scenario,
                "split": prompt.split,
                "emotion": cell.emotion,
                "layer": cell.layer,
                "alpha": cell.alpha,
                "unit": settings.unit,
                "kind": cell.kind,
                "index": cell.index,
                "seed": cell.seed,
                "text": out.text,
                "delta_ratio": out.delta_ratio,
                "n_tokens": len(out.token_ids),
                "finish_reason": out.finish_reason,
            }
        )
    fluent = settings.nll_limit is not None
    scores = score_texts(
        [out.text for out in outs],
        prompts=texts if fluent else None,
        lm=lm if fluent else None,
        backend=settings.backend,
        nll_limit=settings.nll_limit,
        cache=kept,
    )
    return pd.concat([pd.DataFrame(rows), scores], axis=1)


# What a sweep says


def success(sweep: pd.DataFrame, metric: str) -> pd.Series:
    """The metric with broken texts counted as 0: a broken text is no success."""
    broken = sweep.get("fluency/broken", False)
    return sweep[metric].astype(float).where(~pd.Series(broken, index=sweep.index).astype(bool), 0.0)


def add_effects(sweep: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Adds `Δ<metric>`: each row minus the unpatched text of the same prompt."""
    base = sweep[sweep["kind"] == "baseline"].set_index("scenario")
    added = {f"Δ{m}": sweep[m].astype(float) - sweep["scenario"].map(base[m].astype(float)) for m in metrics}
    return sweep.assign(**added)


@dataclass(frozen=True)
class OperatingPoint:
    """The layer and alpha chosen on validation scenarios, for all emotions together.

    Attributes:
        score: the criterion at the chosen point, see `choose_operating_point`.
        eligible: whether any point kept to the rule on broken texts; if False the point with the fewest is taken.
        table: every candidate with its score and broken shares.
    """

    layer: int
    alpha: float
    score: float
    eligible: bool
    table: pd.DataFrame


def choose_operating_point(
    sweep: pd.DataFrame, measures: Mapping[str, Sequence[str]], *, broken_margin: float = 0.1
) -> OperatingPoint:
    """Chooses one layer and alpha on validation rows.

    The criterion is the mean over emotions and their measures of [effect of the emotion's own vector − mean effect of
    the other vectors], broken texts counted as 0, each term divided by its standard error over scenarios so that rare
    and frequent words, counts and probabilities weigh alike. Eligible are points at which every emotion's broken share
    lies at most `broken_margin` above the baseline's. Ties go to the smaller alpha, then the lower layer.

    Args:
        measures: per emotion the metric columns that tell whether a text expresses it.
    """
    if set(sweep["split"]) != {"validation"}:
        raise UserError(f"expected validation rows only, got {', '.join(sorted(set(sweep['split'])))}")
    base_broken = float(sweep.loc[sweep["kind"] == "baseline", "fluency/broken"].mean())
    rows = []
    steered = sweep[sweep["kind"] == "emotion"]
    for (layer, alpha), cell in steered.groupby(["layer", "alpha"], sort=True):
        row = {"layer": int(layer), "alpha": float(alpha)}
        terms = []
        for emotion, metric in ((e, m) for e, names in measures.items() for m in names):
            difference = specific_difference(cell, emotion, metric, list(measures))
            spread = difference.std(ddof=1) / np.sqrt(len(difference))
            row[f"difference/{metric}"] = float(difference.mean())
            terms.append(float(difference.mean() / spread) if spread > 0 else 0.0)
        shares = cell.groupby("emotion")["fluency/broken"].mean()
        row["score"] = float(np.mean(terms))
        row["broken"] = float(shares.max())
        row["eligible"] = bool(shares.max() <= base_broken + broken_margin + 1e-9)
        rows.append(row)
    table = pd.DataFrame(rows)
    any_eligible = bool(table["eligible"].any())
    pool = table[table["eligible"]] if any_eligible else table[table["broken"] == table["broken"].min()]
    best = pool.sort_values(["score", "alpha", "layer"], ascending=[False, True, True], kind="stable").iloc[0]
    return OperatingPoint(int(best["layer"]), float(best["alpha"]), float(best["score"]), any_eligible, table)


def specific_difference(cell: pd.DataFrame, emotion: str, metric: str, emotions: Sequence[str]) -> pd.Series:
    """Per scenario: the metric under the emotion's own vector minus its mean under the other emotions' vectors."""
    wide = (
        cell.assign(value=success(cell, metric))
        .groupby(["scenario", "emotion"])["value"]
        .mean()
        .unstack("emotion")[list(emotions)]
    )
    others = [name for name in emotions if name != emotion]
    if not others:
        return wide[emotion]
    return wide[emotion] - wide[others].mean(axis=1)
