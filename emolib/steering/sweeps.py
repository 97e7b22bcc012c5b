"""Residual patching: sweeps over layers, emotions and strengths, with control directions of the same norm beside them.

A sweep table has one row per generation: row_id, scenario, split, emotion, layer, alpha, unit, kind, index, seed,
text, then sample, delta_ratio, n_tokens, finish_reason and the metric columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from emolib.base.errors import UserError, nearest
from emolib.base.parameters import check_layers
from emolib.data.activations import LayerVector
from emolib.directions.controls import FAMILIES, ControlSource, isotropic_direction
from emolib.directions.subspaces import Subspaces
from emolib.directions.vectors import EmotionVectors
from emolib.engine.generation import generate
from emolib.interventions import Decay, Intervention, Steer, SubspaceSteer
from emolib.models.loading import LanguageModel
from emolib.scoring import score_texts, version_of
from emolib.scoring.cache import ScoreCache

KINDS = (
    *("baseline", "emotion", "isotropic", "direct_path", "covariance", "shuffled"),
    *("pca", "probe", "subspace", "prompting", "prompting_baseline", "zero", "other_style"),
)
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
        schedule: `constant`, the rate of an exponential decay per step, or the factor of every step.
        template: what the model continues, with the prompt's text in place of `{text}`.
        n_samples: texts per prompt and cell, when sampling.
    """

    unit: str = "resid"
    window: int = 3
    schedule: str | float | tuple[float, ...] = "constant"
    template: str = "{text}"
    n_samples: int = 1
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
    """One setting, generated for every prompt.

    Attributes:
        template: instead of the settings'.
    """

    kind: str
    emotion: str
    layer: int
    alpha: float
    index: int
    act: Intervention
    seed: int
    template: str | None = None


def control_seed(seed: int, kind: str, layer: int, index: int) -> int:
    """The seed of one control direction: independent of how many there are and of the order in which they run."""
    return int(np.random.SeedSequence([seed, KINDS.index(kind), layer, index]).generate_state(1)[0])


def residual_sweep(
    lm: LanguageModel,
    prompts: pd.DataFrame | Sequence[str],
    vecs: EmotionVectors,
    *,
    layers: Sequence[int],
    alphas: Sequence[float],
    n_controls: int = 0,
    families: Sequence[str] = ("isotropic",),
    source: ControlSource | None = None,
    direct_path: bool = False,
    zero: bool = False,
    kind: str = "emotion",
    settings: SweepSettings | None = None,
    run: ShardStore | None = None,
) -> pd.DataFrame:
    """Steers every prompt with every emotion at every layer and strength, and scores what the model writes.

    Args:
        prompts: neutral texts with columns scenario, split, text; or bare strings, each its own scenario.
        layers: blocks whose input is patched.
        alphas: strengths; negative ones suppress. 0 is the baseline, which is always there.
        n_controls: control directions per family, layer and strength, of the same norm as the steer. In unit
            `vector` every emotion's vector has its own norm, so every direction is used once per emotion.
        families: of `emolib.directions.controls.FAMILIES`.
        source: what the families beside `isotropic` are drawn from.
        direct_path: also steer at the final residual, with the emotion's vector of that layer.
        zero: also pass every prompt through a steer of strength 0, whose texts have to be the baseline's.
        kind: how the rows are named: `emotion`, or another way of finding directions (`pca`, `probe`).
        run: finds and stores shards (one for the baseline, one per layer, one per twenty controls); None keeps all
            in memory.

    Returns:
        The sweep table.

    Raises:
        UserError: layers out of range, alphas not finite, prompts without the columns, vectors of another model, an
            unknown family or one without its source.
    """
    settings = settings or SweepSettings()
    _check_settings(settings)
    check_layers(tuple(layers), lm.n_layers)
    for family in families if n_controls else ():
        if family not in FAMILIES:
            raise UserError(f"unknown family of controls {family!r}: {nearest(family, FAMILIES)}")
        if source is None and family != "isotropic":
            raise UserError(f"expected source=ControlSource(…) for the control family {family}, got none")
    if not np.isfinite(list(alphas)).all():
        raise UserError(f"expected finite alphas, got {list(alphas)}")
    if (vecs.model, vecs.revision) != (lm.spec.name, lm.revision):
        raise UserError(f"expected vectors of {lm.spec.name} {lm.revision[:12]}, got {vecs.model} {vecs.revision[:12]}")
    strengths = [float(alpha) for alpha in alphas if alpha != 0]
    shards = _plan(vecs, [int(layer) for layer in layers], strengths, direct_path, kind, settings)
    if zero:
        cells = [steer_cell("zero", vecs, vecs.emotions[0], int(layer), 0.0, settings) for layer in layers]
        shards.append(("zero", cells))
    for family in families if n_controls else ():
        shards += _control_shards(vecs, layers, strengths, family, n_controls, source, settings)
    return sweep_cells(lm, prompts, shards, settings=settings, run=run)


def sweep_cells(
    lm: LanguageModel,
    prompts: pd.DataFrame | Sequence[str],
    shards: Sequence[tuple[str, Sequence[Cell]]],
    *,
    settings: SweepSettings,
    run: ShardStore | None = None,
) -> pd.DataFrame:
    """Generates and scores every cell for every prompt, shard by shard; `residual_sweep` for cells of any kind.

    Args:
        shards: a name and its cells each; a run stores every shard as an artifact of its own.
    """
    if not isinstance(prompts, pd.DataFrame):
        names = [f"prompt-{i}" for i in range(len(prompts))]
        prompts = pd.DataFrame({"scenario": names, "split": "unspecified", "text": list(prompts)})
    for name in ("scenario", "split", "text"):
        if name not in prompts:
            raise UserError(f"expected prompts with a column {name!r}, got {', '.join(prompts)}")
    _check_settings(settings)
    parts, scorers = [], version_of(settings.backend)
    if run:
        run.begin(sum(len(cells) for _, cells in shards) * len(prompts) * settings.n_samples)
    for name, cells in shards:
        matched = {
            "prompts": prompts[["scenario", "text"]].to_dict("list"),
            "cells": [(c.kind, c.emotion, c.layer, c.alpha, c.index, c.seed, c.template) for c in cells],
            "vectors": _hash_of_acts(cells),
            "settings": settings.matched(),
            "scorers": scorers,
        }
        compute = _computation(lm, prompts, cells, settings, run.scores if run else None)
        rows = len(cells) * len(prompts) * settings.n_samples
        parts.append(run.shard(name, matched, compute, rows) if run else compute())
    return pd.concat(parts, ignore_index=True)


def _check_settings(settings: SweepSettings) -> None:
    if settings.n_samples > 1 and settings.temperature == 0:
        raise UserError(f"expected one greedy text per prompt, got n_samples={settings.n_samples}; set a temperature")
    if "{text}" not in settings.template:
        raise UserError(f"expected a template that holds {{text}}, got {settings.template!r:.60}")


def _hash_of_acts(cells: Sequence[Cell]) -> str:
    """What every cell does to the residual stream, as one hash."""
    total = hashlib.sha256()
    for cell in cells:
        if cell.act is None:
            total.update(b"none")
        elif isinstance(cell.act, SubspaceSteer):
            for part in cell.act.coordinates():
                total.update(part.tobytes())
        else:
            total.update(cell.act.delta().tobytes())
    return total.hexdigest()


def baseline_shard(settings: SweepSettings) -> tuple[str, list[Cell]]:
    """Every prompt as the unpatched model continues it."""
    return "baseline", [Cell("baseline", "none", -1, 0.0, 0, None, settings.seed)]


def _plan(
    vecs: EmotionVectors,
    layers: Sequence[int],
    strengths: Sequence[float],
    direct_path: bool,
    kind: str,
    settings: SweepSettings,
) -> list[tuple[str, list[Cell]]]:
    """Shard names with their cells, in the order in which they run."""
    shards = [baseline_shard(settings)] if kind == "emotion" else []
    prefix = "" if kind == "emotion" else f"{kind}_"
    for layer in layers:
        cells = [steer_cell(kind, vecs, e, layer, alpha, settings) for alpha in strengths for e in vecs]
        shards.append((f"{prefix}layer{layer:03d}", cells))
    if direct_path:
        last = vecs.n_layers
        cells = [steer_cell("direct_path", vecs, e, last, alpha, settings) for alpha in strengths for e in vecs]
        shards.append(("direct_path", cells))
    return [(name, cells) for name, cells in shards if cells]


def _control_shards(
    vecs: EmotionVectors,
    layers: Sequence[int],
    strengths: Sequence[float],
    family: str,
    count: int,
    source: ControlSource | None,
    settings: SweepSettings,
) -> list[tuple[str, list[Cell]]]:
    shards = []
    for layer in layers:
        for start in range(0, count, CONTROLS_PER_SHARD):
            cells = [
                cell
                for index in range(start, min(start + CONTROLS_PER_SHARD, count))
                for alpha in strengths
                for cell in control_cells(vecs, layer, alpha, index, settings, family, source)
            ]
            shards.append((f"{family}_layer{layer:03d}_{start:04d}", cells))
    return shards


def _schedule(settings: SweepSettings) -> Any:
    given = settings.schedule
    return Decay(given) if isinstance(given, float) else given


def _steer(vector: LayerVector, alpha: float, settings: SweepSettings) -> Steer:
    return Steer(vector.layer, vector, alpha, unit=settings.unit, window=settings.window, schedule=_schedule(settings))


def steer_cell(
    kind: str, vecs: EmotionVectors, emotion: str, layer: int, alpha: float, settings: SweepSettings
) -> Cell:
    return Cell(kind, emotion, layer, alpha, 0, _steer(vecs[emotion][layer], alpha, settings), settings.seed)


def control_cells(
    vecs: EmotionVectors,
    layer: int,
    alpha: float,
    index: int,
    settings: SweepSettings,
    family: str = "isotropic",
    source: ControlSource | None = None,
) -> list[Cell]:
    """One control direction; in unit `vector` once per emotion, scaled to that emotion's norm."""
    seed = control_seed(settings.seed, family, layer, index)
    like = vecs[vecs.emotions[0]][layer]
    direction = source.direction(family, layer, seed) if source else isotropic_direction(len(like.values), seed)
    named = {"any": 1.0} if settings.unit == "resid" else {e: vecs[e][layer].norm for e in vecs}
    cells = []
    for emotion, norm in named.items():
        vector = LayerVector(
            direction * np.float32(norm), like.model, like.revision, layer, like.position, like.neutral_norm
        )
        cells.append(Cell(family, emotion, layer, alpha, index, _steer(vector, alpha, settings), seed))
    return cells


def subspace_shard(
    subs: Subspaces, sizes: Mapping[str, int], layer: int, alphas: Sequence[float], settings: SweepSettings
) -> tuple[str, list[Cell]]:
    """Moves to the mean coordinates of every emotion in its first k directions: h ← h + α U (μ − Uᵀh).

    Args:
        sizes: k per emotion.
    """
    cells = []
    for alpha in alphas:
        for emotion, k in sizes.items():
            part = subs[emotion][layer].leading(k)
            act = SubspaceSteer(
                layer, part.basis, part.target, alpha, window=settings.window, schedule=_schedule(settings)
            )
            cells.append(Cell("subspace", emotion, layer, float(alpha), k, act, settings.seed))
    return f"subspace_layer{layer:03d}", cells


def prompting_shard(templates: Mapping[str, str], plain: str, settings: SweepSettings) -> tuple[str, list[Cell]]:
    """The emotion asked for in words instead of steered, and the same format without asking.

    Args:
        templates: per emotion what the model continues, with `{text}` in it.
        plain: the same without the emotion; what the effect of asking is measured against.
    """
    base = Cell("prompting_baseline", "none", -1, 0.0, 0, None, settings.seed, plain)
    asked = [Cell("prompting", e, -1, 0.0, 0, None, settings.seed, template) for e, template in templates.items()]
    return "prompting", [base, *asked]


def _computation(
    lm: LanguageModel, prompts: pd.DataFrame, cells: Sequence[Cell], settings: SweepSettings, scores: ScoreCache | None
) -> Callable[[], pd.DataFrame]:
    def compute() -> pd.DataFrame:
        return _sweep_rows(lm, prompts, cells, settings, scores)

    return compute


def _sweep_rows(
    lm: LanguageModel, prompts: pd.DataFrame, cells: Sequence[Cell], settings: SweepSettings, kept: ScoreCache | None
) -> pd.DataFrame:
    plain = prompts["text"].tolist()
    samples = range(settings.n_samples)
    jobs = [(cell, i, sample) for cell in cells for sample in samples for i in range(len(prompts))]
    texts = [(cell.template or settings.template).replace("{text}", plain[i]) for cell, i, _ in jobs]
    outs = generate(
        lm,
        texts,
        [cell.act for cell, _, _ in jobs],
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seeds=[_prompt_seed(settings.seed, i, sample) for _, i, sample in jobs],
        batch_size=settings.batch_size,
    )
    rows = []
    for (cell, i, sample), out in zip(jobs, outs, strict=True):
        prompt = prompts.iloc[i]
        name = f"{prompt.scenario}|{cell.kind}|{cell.emotion}|{cell.layer}|{cell.alpha:g}|{cell.index}"
        rows.append(
            {
                "row_id": name if sample == 0 else f"{name}|{sample}",
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
                "sample": sample,
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


def _prompt_seed(seed: int, prompt: int, sample: int) -> int:
    """The rows of one prompt share their random numbers, sample by sample."""
    key = [seed, 2, prompt] if sample == 0 else [seed, 2, prompt, sample]
    return int(np.random.SeedSequence(key).generate_state(1)[0])
