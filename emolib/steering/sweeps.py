"""Residual patching: sweeps over layers, emotions and strengths, with control directions of the same norm beside them.

A sweep table has one row per generation: row_id, scenario, split, emotion, layer, alpha, unit, kind, index, seed,
text, then sample, delta_ratio, n_tokens, finish_reason and the metric columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.base.parameters import check_layers
from emolib.base.signatures import told
from emolib.directions.vectors import EmotionVectors
from emolib.engine.generation import Generation, generate
from emolib.engine.read_generation import generate_and_read
from emolib.engine.sampling import Decoding
from emolib.models.language_model import LanguageModel, checked_model
from emolib.scoring import score_texts, version_of
from emolib.scoring.cache import ScoreCache
from emolib.scoring.fluency import score_fluency
from emolib.steering.cells import Cell, Controls, SweepSettings, baseline_cell, control_cells, steer_cell

KEY_COLUMNS = ["row_id", "scenario", "split", "emotion", "layer", "alpha", "unit", "kind", "index", "seed", "text"]
CONTROLS_PER_SHARD = 20
Shard = tuple[str, Sequence[Cell]]


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


@told
def residual_sweep(
    lm: LanguageModel,
    prompts: pd.DataFrame | Sequence[str],
    vecs: EmotionVectors,
    *,
    layers: Sequence[int],
    alphas: Sequence[float],
    n_controls: int | None = None,
    controls: Controls | None = None,
    settings: SweepSettings | None = None,
    run: ShardStore | None = None,
) -> pd.DataFrame:
    """Steers every prompt with every emotion at every layer and strength, and scores what the model writes.

    Args:
        prompts: neutral texts with columns scenario, split, text; or bare strings, each its own scenario.
        layers: blocks whose input is patched.
        alphas: strengths; negative ones suppress. 0 is the baseline, which is always there.
        n_controls: short for `controls=Controls(n_controls)`: that many isotropic directions.
        controls: the control directions and other controls that run beside the emotions' vectors.
        run: finds and stores shards (one for the baseline, one per layer, one per twenty controls); None keeps all
            in memory.

    Returns:
        The sweep table.

    Raises:
        UserError: layers out of range, alphas not finite, prompts without the columns, vectors of another model, both
            `n_controls` and `controls`.

    Example:
        >>> import emolib
        >>> lm, data = emolib.load_model("smollm2_135m"), emolib.load_dataset()
        >>> train = data[data["scenario"].isin(data["scenario"].unique()[:3])]
        >>> vecs = emolib.fit_emotion_vectors(emolib.extract_activations(lm, train, positions="mean"))
        >>> from emolib.steering.cells import SweepSettings
        >>> given = {"layers": [10], "alphas": [0.4], "settings": SweepSettings(max_new_tokens=4, batch_size=16)}
        >>> prompts = ["The train leaves at noon.", "The meeting is on Monday."]
        >>> sweep = emolib.residual_sweep(lm, prompts, vecs, n_controls=2, **given)
        >>> sweep.groupby("kind").size().to_dict()
        {'baseline': 2, 'emotion': 6, 'isotropic': 4}
    """
    if n_controls is not None and controls is not None:
        raise UserError("expected n_controls or controls, got both; say Controls(count=…)")
    checked_model(lm)
    arguments.instance("vecs", vecs, EmotionVectors, "fit_emotion_vectors")
    count = 0 if n_controls is None else arguments.whole_number("n_controls", n_controls, least=0)
    controls = (
        Controls(count) if controls is None else arguments.instance("controls", controls, Controls, "Controls(…)")
    )
    settings = SweepSettings() if settings is None else settings
    arguments.instance("settings", settings, SweepSettings, "SweepSettings(…)").check()
    layers = arguments.whole_numbers("layers", layers)
    alphas = arguments.finite_numbers("alphas", alphas)
    check_layers(tuple(layers), lm.n_layers)
    if (vecs.model, vecs.revision) != (lm.spec.name, lm.revision):
        raise UserError(f"expected vectors of {lm.spec.name} {lm.revision[:12]}, got {vecs.model} {vecs.revision[:12]}")
    strengths = [alpha for alpha in alphas if alpha != 0]
    shards = _shards(vecs, layers, strengths, controls, settings)
    return sweep_cells(lm, prompts, shards, settings=settings, run=run)


def sweep_cells(
    lm: LanguageModel,
    prompts: pd.DataFrame | Sequence[str],
    shards: Sequence[Shard],
    *,
    settings: SweepSettings,
    run: ShardStore | None = None,
) -> pd.DataFrame:
    """Generates and scores every cell for every prompt, shard by shard; `residual_sweep` for cells of any kind.

    Args:
        shards: a name and its cells each; a run stores every shard as an artifact of its own.
    """
    prompts = _as_table(prompts)
    settings.check()
    parts, scorers = [], version_of(settings.backend)
    per_cell = len(prompts) * settings.n_samples
    if run:
        run.begin(sum(len(cells) for _, cells in shards) * per_cell)
    for name, cells in shards:
        matched = {
            "prompts": prompts[["scenario", "text"]].to_dict("list"),
            "cells": [cell.described() for cell in cells],
            "acts": fingerprint_of_cells(cells),
            "settings": settings.fingerprint(),
            "scorers": scorers,
        }
        compute = partial(_sweep_rows, lm, prompts, cells, settings, run.scores if run else None)
        parts.append(run.shard(name, matched, compute, len(cells) * per_cell) if run else compute())
    return pd.concat(parts, ignore_index=True)


def _as_table(prompts: pd.DataFrame | Sequence[str]) -> pd.DataFrame:
    if not isinstance(prompts, pd.DataFrame):
        texts = arguments.texts(prompts, "prompts")
        names = [f"prompt-{i}" for i in range(len(texts))]
        prompts = pd.DataFrame({"scenario": names, "split": "unspecified", "text": texts})
    for name in ("scenario", "split", "text"):
        if name not in prompts:
            raise UserError(f"expected prompts with a column {shown(name)}, got {', '.join(map(str, prompts))}")
    if prompts.empty:
        raise UserError("expected at least one prompt, got none")
    arguments.texts(prompts["text"], "prompts")
    return prompts


def fingerprint_of_cells(cells: Sequence[Cell]) -> str:
    """What the cells do, in their order, as one hash."""
    total = hashlib.sha256()
    for cell in cells:
        total.update(cell.fingerprint().encode())
    return total.hexdigest()


# which cells, in the order in which they run


def _shards(
    vecs: EmotionVectors,
    layers: Sequence[int],
    strengths: Sequence[float],
    controls: Controls,
    settings: SweepSettings,
) -> list[Shard]:
    shards: list[Shard] = [("baseline", [baseline_cell(settings)])]
    for layer in layers:
        cells = [steer_cell("emotion", vecs, e, layer, alpha, settings) for alpha in strengths for e in vecs]
        shards.append((f"layer{layer:03d}", cells))
    if controls.direct_path:
        last = vecs.n_layers
        cells = [steer_cell("direct_path", vecs, e, last, alpha, settings) for alpha in strengths for e in vecs]
        shards.append(("direct_path", cells))
    if controls.zero:
        shards.append(("zero", [steer_cell("zero", vecs, vecs.emotions[0], at, 0.0, settings) for at in layers]))
    shards += _control_shards(vecs, layers, strengths, controls, settings)
    return [(name, cells) for name, cells in shards if cells]


def _control_shards(
    vecs: EmotionVectors,
    layers: Sequence[int],
    strengths: Sequence[float],
    controls: Controls,
    settings: SweepSettings,
) -> list[Shard]:
    shards = []
    for family in controls.families:
        for layer in layers:
            for start in range(0, controls.count, CONTROLS_PER_SHARD):
                cells = [
                    cell
                    for index in range(start, min(start + CONTROLS_PER_SHARD, controls.count))
                    for alpha in strengths
                    for cell in control_cells(vecs, layer, alpha, index, settings, family, controls.source)
                ]
                shards.append((f"{family}_layer{layer:03d}_{start:04d}", cells))
    return shards


# rows


def _sweep_rows(
    lm: LanguageModel, prompts: pd.DataFrame, cells: Sequence[Cell], settings: SweepSettings, kept: ScoreCache | None
) -> pd.DataFrame:
    plain = prompts["text"].tolist()
    samples = range(settings.n_samples)
    jobs = [(cell, i, sample) for cell in cells for sample in samples for i in range(len(prompts))]
    texts = [(cell.template or settings.template).replace("{text}", plain[i]) for cell, i, _ in jobs]
    acts = [cell.act for cell, _, _ in jobs]
    decoding = Decoding(settings.max_new_tokens, settings.temperature, settings.top_p)
    seeds = [_prompt_seed(settings.seed, i, sample) for _, i, sample in jobs]
    tables = []
    if settings.nll_limit is None:
        outs = generate(lm, texts, acts, decoding=decoding, seeds=seeds, batch_size=settings.batch_size)
    else:
        outs, nll = generate_and_read(lm, texts, acts, decoding=decoding, seeds=seeds, batch_size=settings.batch_size)
        tables.append(score_fluency([out.text for out in outs], texts, lm, nll_limit=settings.nll_limit, nll=nll))
    rows = [
        _row(cell, prompts.iloc[i], sample, out, settings.unit)
        for (cell, i, sample), out in zip(jobs, outs, strict=True)
    ]
    scores = score_texts([out.text for out in outs], backend=settings.backend, cache=kept)
    return pd.concat([pd.DataFrame(rows), scores, *tables], axis=1)


def _row(cell: Cell, prompt: pd.Series, sample: int, out: Generation, unit: str) -> dict[str, Any]:
    name = f"{prompt.scenario}|{cell.kind}|{cell.emotion}|{cell.layer}|{cell.alpha:g}|{cell.index}"
    return {
        "row_id": name if sample == 0 else f"{name}|{sample}",
        "scenario": prompt.scenario,
        "split": prompt.split,
        "emotion": cell.emotion,
        "layer": cell.layer,
        "alpha": cell.alpha,
        "unit": unit,
        "kind": cell.kind,
        "index": cell.index,
        "seed": cell.seed,
        "text": out.text,
        "sample": sample,
        "delta_ratio": out.delta_ratio,
        "n_tokens": len(out.token_ids),
        "finish_reason": out.finish_reason,
    }


def _prompt_seed(seed: int, prompt: int, sample: int) -> int:
    """The rows of one prompt share their random numbers, sample by sample."""
    key = [seed, 2, prompt] if sample == 0 else [seed, 2, prompt, sample]
    return int(np.random.SeedSequence(key).generate_state(1)[0])
